"""A mixed model of cells' errors that were seen unequally often, and its posterior.

A cell that was seen once is informative about others: those of one teacher are alike, and a good
teacher has good students. So the error of cell c, of teacher g, at seed s is modelled as

    y[c, s] = seed[s] + slope * x[g] + teacher[g] + cell[c] + teacher_at_seed[g, s] + noise[c, s]

with a free level for every seed, x what is known of a teacher without its students, and normal
effects of mean 0 for the rest (a linear mixed model; Patterson and Thompson, 1971, for the
restricted likelihood by which the variances are found; Henderson, 1975, for the prediction of the
effects). With few cells the likeliest variance is often 0, which would be overconfident; so the
likelihood is weighted by the four standard deviations (Chung, Rabe-Hesketh, Dorie, Gelman and Liu,
2013). What is known of a cell does not depend on why others were dropped: the errors by which they
were dropped are in the model (Rubin, 1976).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import linalg, optimize

N_DRAWS = 20_000
MIN_VARIANCE_SHARE = 1e-6  # a variance, as a share of that of the errors: below it is none
MIN_REPEATED_CELLS = 3  # cells seen twice
N_VARIANCES = 4  # variances: teachers, cells, teachers at a seed, noise
CONFIDENCE = 0.9  # the confidence that is stated
# What the model takes for it: what it calls 90 % itself was true of a search's choice in 86 to 91 %
# of simulated studies, since its variances are estimates (benchmarks/search.md).
MODEL_QUANTILE = 0.95
N_SCENARIOS = 200  # draws of what more seeds would show


@dataclass(frozen=True)
class Posterior:
    """Posterior of every cell's error, less the level that all cells share, in points.

    Attributes
    ----------
    mean : ndarray of float, shape (cells,)
        Posterior mean.
    covariance : ndarray of float, shape (cells, cells)
        Posterior covariance.
    noise : ndarray of float, shape (cells, cells)
        Covariance of errors at one seed beyond effects of cells and of the seed.
    df : float
        Degrees of freedom of the variances: errors less fixed levels.
    """

    mean: np.ndarray  # (cells,)
    covariance: np.ndarray  # (cells, cells)
    noise: np.ndarray  # (cells, cells): of errors at one seed, less those of cells and the seed
    df: float = np.inf  # errors more than levels: by so many the variances are known

    def draw_errors(self, count: int = N_DRAWS, seed: int = 0) -> np.ndarray:
        """Draw errors of all cells from a t distribution with `df` degrees of freedom.

        Parameters
        ----------
        count : int
            Number of draws.
        seed : int
            Seed of the random generator.

        Returns
        -------
        ndarray of float, shape (count, cells)
            Errors, in points.
        """
        rng = np.random.default_rng(seed)
        deviations = rng.multivariate_normal(
            np.zeros(len(self.mean)), self.covariance, count, check_valid="ignore", method="eigh"
        )
        if np.isfinite(self.df):
            deviations *= np.sqrt(self.df / rng.chisquare(self.df, (count, 1)))
        return self.mean + deviations

    def bound_regret(self, chosen: int, draws: np.ndarray | None = None) -> float:
        """Return how far the chosen cell is from the best of all, with probability `CONFIDENCE`.

        Parameters
        ----------
        chosen : int
            Index of the chosen cell.
        draws : ndarray of float, shape (draws, cells), optional
            Draws of the errors; by default `draw_errors`.

        Returns
        -------
        float
            Upper bound of the regret, in points.
        """
        draws = self.draw_errors() if draws is None else draws
        return float(np.quantile(draws[:, chosen] - draws.min(axis=1), MODEL_QUANTILE))

    def forecast_regret(self, cells: list[int], seeds: int) -> float:
        """Return the expected regret bound of the then best cell after more seeds of some cells.

        Parameters
        ----------
        cells : list of int
            Indices of the cells that are trained with more seeds.
        seeds : int
            Number of new seeds.

        Returns
        -------
        float
            Mean of `bound_regret` over scenarios of what the new seeds would show, in points.
        """
        # Of new seeds the levels are free: their errors tell the differences between cells alone.
        centering = np.eye(len(cells)) - 1 / len(cells)
        rows = centering @ self.covariance[cells]
        noise = centering @ self.noise[np.ix_(cells, cells)] @ centering / seeds
        learned = rows.T @ linalg.pinvh(rows[:, cells] @ centering + noise) @ rows
        posterior = Posterior(self.mean, self.covariance - learned, self.noise, self.df)
        spread = posterior.draw_errors(N_DRAWS // 10) - self.mean
        means = Posterior(self.mean, learned, self.noise, self.df).draw_errors(N_SCENARIOS, seed=1)
        return float(
            np.mean([self.bound_regret(int(mean.argmin()), mean + spread) for mean in means])
        )


def fit_posterior(
    errors: ArrayLike, teachers: ArrayLike, teacher_scores: ArrayLike | None = None
) -> Posterior | None:
    """Fit the mixed model to the errors that were seen, for every cell, also unseen ones.

    Parameters
    ----------
    errors : array-like of float, shape (cells, seeds)
        Errors in points; nan where a cell was not seen with a seed.
    teachers : array-like of int, shape (cells,)
        A number for the teacher of each cell.
    teacher_scores : array-like of float, shape (cells,), optional
        What is known of each cell's teacher without its students, x above; nan if unknown.

    Returns
    -------
    Posterior or None
        None if fewer than `MIN_REPEATED_CELLS` cells were seen with two seeds that another cell has
        too: noise and cells cannot be told apart then.

    References
    ----------
    H. D. Patterson and R. Thompson, Recovery of inter-block information when block sizes are
    unequal,
    Biometrika, 1971.
    C. R. Henderson, Best linear unbiased estimation and prediction under a selection model,
    Biometrics, 1975.
    Y. Chung, S. Rabe-Hesketh, V. Dorie, A. Gelman and J. Liu, A nondegenerate penalized likelihood
    estimator for variance parameters in multilevel models, Psychometrika, 2013.
    """
    y, groups = np.asarray(errors, float), np.asarray(teachers, int)
    is_seen = np.isfinite(y)
    if (is_seen[:, is_seen.sum(axis=0) >= 2].sum(axis=1) >= 2).sum() < MIN_REPEATED_CELLS:
        return None
    cell, seed = np.nonzero(is_seen)
    values = y[cell, seed]
    levels = np.unique(seed, return_inverse=True)[1]
    fixed = np.eye(levels.max() + 1)[levels]
    x = _standardize(teacher_scores, groups, np.asarray(np.isfinite(y).any(axis=1)))
    if x is not None:
        fixed = np.column_stack([fixed, x[cell]])
    same_cell = (cell[:, None] == cell).astype(float)
    same_teacher = (groups[cell][:, None] == groups[cell]).astype(float)
    at_seed = same_teacher * (seed[:, None] == seed)
    structures = [same_teacher, same_cell, at_seed, np.eye(len(values))]
    scale = max(float(np.var(values - fixed @ np.linalg.lstsq(fixed, values)[0])), 1e-12)
    variances = _fit_variances(values, fixed, structures, scale)
    total_covariance = sum(
        variance * part for variance, part in zip(variances, structures, strict=True)
    )
    inverse = linalg.inv(total_covariance)
    # Of every cell with what was seen, and with every cell.
    cross_covariance = variances[0] * (groups[:, None] == groups[cell])
    cross_covariance = cross_covariance + variances[1] * (np.arange(len(y))[:, None] == cell)
    cell_covariance = variances[0] * (groups[:, None] == groups) + variances[1] * np.eye(len(y))
    design = np.zeros((len(y), fixed.shape[1]))
    if x is not None:
        design[:, -1] = x
    precision = fixed.T @ inverse @ fixed
    spread = linalg.pinvh(precision)
    estimate = spread @ fixed.T @ inverse @ values
    gain = cross_covariance @ inverse
    mean = design @ estimate + gain @ (values - fixed @ estimate)
    residual_design = design - gain @ fixed
    covariance = (
        cell_covariance - gain @ cross_covariance.T + residual_design @ spread @ residual_design.T
    )
    df = len(values) - fixed.shape[1]
    noise = variances[2] * (groups[:, None] == groups) + variances[3] * np.eye(len(y))
    return Posterior(mean, (covariance + covariance.T) / 2, noise, df)


def _fit_variances(
    values: np.ndarray, fixed: np.ndarray, structures: list[np.ndarray], scale: float
) -> np.ndarray:
    """Fit the variances by the restricted likelihood, weighted as the module says."""
    # Contrasts of the errors in which nothing fixed is left.
    contrasts = linalg.null_space(fixed.T)
    seen = contrasts.T @ values
    parts = [contrasts.T @ part @ contrasts for part in structures]

    def cost(logs: np.ndarray) -> float:
        covariance = sum(scale * np.exp(log) * part for log, part in zip(logs, parts, strict=True))
        try:
            lower = linalg.cholesky(covariance, lower=True)
        except linalg.LinAlgError:
            return np.inf
        residuals = linalg.solve_triangular(lower, seen, lower=True)
        likelihood = -np.log(np.diag(lower)).sum() - residuals @ residuals / 2
        return float(-likelihood - logs.sum() / 2)

    lowest = np.log(MIN_VARIANCE_SHARE)
    result = optimize.minimize(
        cost,
        np.full(N_VARIANCES, np.log(0.25)),
        method="L-BFGS-B",
        bounds=[(lowest, 5.0)] * N_VARIANCES,
    )
    variances = scale * np.exp(result.x)
    return np.where(result.x <= lowest, 0.0, variances) + np.r_[0, 0, 0, scale * MIN_VARIANCE_SHARE]


def _standardize(
    teacher_scores: ArrayLike | None, groups: np.ndarray, seen: np.ndarray
) -> np.ndarray | None:
    """Standardise teacher scores; unknown ones are the mean. None if they are of no use."""
    if teacher_scores is None:
        return None
    x = np.asarray(teacher_scores, float)
    # A line through nearly all that was seen would tell nothing.
    if len(set(groups[np.isfinite(x) & seen])) < 4 or np.nanstd(x) == 0:
        return None
    x = (x - np.nanmean(x)) / np.nanstd(x)
    return np.where(np.isfinite(x), x, 0.0)
