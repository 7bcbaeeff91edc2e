"""What is known of cells of which few were seen, and those not equally often.

A cell that was seen once says something of the others: those of one teacher are alike, and a good
teacher has good students. So the error of cell c, of teacher g, at seed s is modelled as

    y[c, s] = seed[s] + slope * x[g] + teacher[g] + cell[c] + teacher_at_seed[g, s] + noise[c, s]

with a free level for every seed, x what is known of a teacher without its students, and normal
effects of mean 0 for the rest (a linear mixed model; Patterson and Thompson, 1971, for the
restricted likelihood by which the variances are found; Henderson, 1975, for what is known of the
effects then). Of few cells the likeliest variance is often 0, which would be too sure of itself; so
the likelihood is weighed by the four standard deviations (Chung, Rabe-Hesketh,
Dorie, Gelman and Liu, 2013). What is known of a cell does not depend on why others were dropped:
the errors by which they were dropped are in the model (Rubin, 1976).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import linalg, optimize

DRAWS = 20_000
SMALLEST = 1e-6  # a variance, as a share of that of the errors: below it is none
FEWEST = 3  # cells seen twice
PARTS = 4  # variances: teachers, cells, teachers at a seed, noise
SURE = 0.9  # the confidence that is stated
# What the model takes for it: what it calls 90 % itself was true of a search's choice in 86 to 91 %
# of simulated studies, since its variances are estimates (benchmarks/search.md).
QUANTILE = 0.95
WORLDS = 200  # draws of what more seeds would show


@dataclass(frozen=True)
class Belief:
    """Normal knowledge of every cell's error, less the level that all cells share, in points."""

    mean: np.ndarray  # (cells,)
    covariance: np.ndarray  # (cells, cells)
    noise: np.ndarray  # (cells, cells): of errors at one seed, less those of cells and the seed
    free: float = np.inf  # errors more than levels: by so many the variances are known

    def draws(self, count: int = DRAWS, seed: int = 0) -> np.ndarray:
        """Errors that all cells may have, (count, cells), by a t distribution of `free`."""
        rng = np.random.default_rng(seed)
        apart = rng.multivariate_normal(
            np.zeros(len(self.mean)), self.covariance, count, check_valid="ignore", method="eigh"
        )
        if np.isfinite(self.free):
            apart *= np.sqrt(self.free / rng.chisquare(self.free, (count, 1)))
        return self.mean + apart

    def within(self, chosen: int, draws: np.ndarray | None = None) -> float:
        """In so many points of the best of all is the chosen cell, with a chance of SURE."""
        draws = self.draws() if draws is None else draws
        return float(np.quantile(draws[:, chosen] - draws.min(axis=1), QUANTILE))

    def after(self, cells: list[int], seeds: int) -> float:
        """`within` of what is then best, on average, after more seeds of some cells."""
        # Of new seeds the levels are free: their errors tell the differences between cells alone.
        apart = np.eye(len(cells)) - 1 / len(cells)
        rows = apart @ self.covariance[cells]
        noise = apart @ self.noise[np.ix_(cells, cells)] @ apart / seeds
        learnt = rows.T @ linalg.pinvh(rows[:, cells] @ apart + noise) @ rows
        left = Belief(self.mean, self.covariance - learnt, self.noise, self.free)
        spread = left.draws(DRAWS // 10) - self.mean
        means = Belief(self.mean, learnt, self.noise, self.free).draws(WORLDS, seed=1)
        return float(np.mean([self.within(int(m.argmin()), m + spread) for m in means]))


def believe(
    errors: ArrayLike, teachers: ArrayLike, known: ArrayLike | None = None
) -> Belief | None:
    """What the errors that were seen say of every cell, also of those never seen.

    errors: (cells, seeds), nan where it was not seen; teachers: (cells,), a number for each
    teacher; known: (cells,), x above, nan where it is not known, or None. None where fewer than
    FEWEST cells were seen with two seeds beside another one: noise and cells cannot be told apart.
    """
    y, groups = np.asarray(errors, float), np.asarray(teachers, int)
    seen = np.isfinite(y)
    if (seen[:, seen.sum(axis=0) >= 2].sum(axis=1) >= 2).sum() < FEWEST:
        return None
    cell, at = np.nonzero(seen)
    values = y[cell, at]
    levels = np.unique(at, return_inverse=True)[1]
    fixed = np.eye(levels.max() + 1)[levels]
    x = _standard(known, groups, np.asarray(np.isfinite(y).any(axis=1)))
    if x is not None:
        fixed = np.column_stack([fixed, x[cell]])
    same_cell = (cell[:, None] == cell).astype(float)
    same_teacher = (groups[cell][:, None] == groups[cell]).astype(float)
    at_seed = same_teacher * (at[:, None] == at)
    shared = [same_teacher, same_cell, at_seed, np.eye(len(values))]
    scale = max(float(np.var(values - fixed @ np.linalg.lstsq(fixed, values)[0])), 1e-12)
    variances = _likeliest(values, fixed, shared, scale)
    whole = sum(v * one for v, one in zip(variances, shared, strict=True))
    inverse = linalg.inv(whole)
    # Of every cell with what was seen, and with every cell.
    to_seen = variances[0] * (groups[:, None] == groups[cell])
    to_seen = to_seen + variances[1] * (np.arange(len(y))[:, None] == cell)
    among = variances[0] * (groups[:, None] == groups) + variances[1] * np.eye(len(y))
    design = np.zeros((len(y), fixed.shape[1]))
    if x is not None:
        design[:, -1] = x
    precision = fixed.T @ inverse @ fixed
    spread = linalg.pinvh(precision)
    estimate = spread @ fixed.T @ inverse @ values
    gain = to_seen @ inverse
    mean = design @ estimate + gain @ (values - fixed @ estimate)
    open_ = design - gain @ fixed
    covariance = among - gain @ to_seen.T + open_ @ spread @ open_.T
    free = len(values) - fixed.shape[1]
    noise = variances[2] * (groups[:, None] == groups) + variances[3] * np.eye(len(y))
    return Belief(mean, (covariance + covariance.T) / 2, noise, free)


def _likeliest(
    values: np.ndarray, fixed: np.ndarray, shared: list[np.ndarray], scale: float
) -> np.ndarray:
    """The variances under which the errors, less what is fixed, are likeliest, (PARTS,).

    Weighed as said above.
    """
    # Contrasts of the errors in which nothing fixed is left.
    contrasts = linalg.null_space(fixed.T)
    seen = contrasts.T @ values
    parts = [contrasts.T @ one @ contrasts for one in shared]

    def cost(logs: np.ndarray) -> float:
        whole = sum(scale * np.exp(log) * one for log, one in zip(logs, parts, strict=True))
        try:
            lower = linalg.cholesky(whole, lower=True)
        except linalg.LinAlgError:
            return np.inf
        left = linalg.solve_triangular(lower, seen, lower=True)
        likelihood = -np.log(np.diag(lower)).sum() - left @ left / 2
        return float(-likelihood - logs.sum() / 2)

    lowest = np.log(SMALLEST)
    found = optimize.minimize(
        cost, np.full(PARTS, np.log(0.25)), method="L-BFGS-B", bounds=[(lowest, 5.0)] * PARTS
    )
    variances = scale * np.exp(found.x)
    return np.where(found.x <= lowest, 0.0, variances) + np.r_[0, 0, 0, scale * SMALLEST]


def _standard(known: ArrayLike | None, groups: np.ndarray, seen: np.ndarray) -> np.ndarray | None:
    """What is known of teachers, with mean 0 and spread 1; of the others the mean."""
    if known is None:
        return None
    x = np.asarray(known, float)
    # A line through nearly all that was seen would tell nothing.
    if len(set(groups[np.isfinite(x) & seen])) < 4 or np.nanstd(x) == 0:
        return None
    x = (x - np.nanmean(x)) / np.nanstd(x)
    return np.where(np.isfinite(x), x, 0.0)
