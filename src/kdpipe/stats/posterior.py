"""A mixed model of cells' errors that were seen unequally often, and its posterior.

A cell that was seen once is informative about others: those of one teacher are alike, and a good
teacher has good students. So the error of cell c, of teacher g, at seed s is modelled as

    y[c, s] = seed[s] + slope * x[g] + teacher[g] + cell[c] + images[c] + teacher_at_seed[g, s]
              + noise[c, s]

with a free level for every seed, x what is known of a teacher without its students, and normal
effects of mean 0 for the rest (a linear mixed model; Patterson and Thompson, 1971, for the
restricted likelihood by which the variances are found; Henderson, 1975, for the prediction of the
effects). With few cells the likeliest variance is often 0, which would be overconfident; so the
likelihood is weighted by the standard deviations (Chung, Rabe-Hesketh, Dorie, Gelman and Liu,
2013). What is known of a cell does not depend on why others were dropped: the errors by which they
were dropped are in the model (Rubin, 1976).

What is predicted is the error on the population of images, teacher + cell: `images` is what these
images add to a cell, of a variance that is known from outcomes on single images (`image_spread`)
and that no seed takes away. Of several splits there are effects of a cell in a split and of a cell
at a seed in all splits too, and validation images are others in each.

The noise differs by cell, since what learns badly varies most: from the spread of each cell's own
errors, shrunk towards that of all (Smyth, 2004).

Cells of different teachers share nothing but the levels, so the covariance of all errors is one
block for each teacher.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
from numpy.typing import ArrayLike
from scipy import linalg, optimize, special

from kdpipe.stats.image_spread import NO_IMAGES, ImageSpread

N_DRAWS = 20_000
MIN_VARIANCE_SHARE = 1e-6  # a variance, as a share of that of the errors: below it is none
MIN_REPEATED_CELLS = 2  # cells seen twice
MIN_NOISE_CELLS = 4  # cells seen twice, from which on the noise differs by cell
NOISE_ROUNDS = 5  # of levels of seeds and cells by turns
CONFIDENCE = 0.9  # the confidence that is stated
N_SCENARIOS = 200  # draws of what more seeds would show


@dataclass(frozen=True)
class CellSpread:
    """Variances of the effects of the model, in points squared.

    Attributes
    ----------
    teacher, cell : float
        Of teachers, and of the cells of one.
    teacher_at_seed, noise : float
        Of a teacher at one seed, and of a single run.
    """

    teacher: float
    cell: float
    teacher_at_seed: float
    noise: float


@dataclass(frozen=True)
class Posterior:
    """Posterior of every cell's error, less the level that all cells share, in points.

    Attributes
    ----------
    mean : ndarray of float, shape (cells,)
        Posterior mean, over the population of images.
    covariance : ndarray of float, shape (cells, cells)
        Posterior covariance.
    noise : ndarray of float, shape (cells, cells)
        Covariance of errors at one seed beyond effects of cells, of images and of the seed.
    df : float
        Degrees of freedom of the variances: errors less fixed levels.
    with_images, of_images : ndarray of float, shape (cells, cells), or None
        Covariance of the errors with those on these images, and of those on these images. None
        where images have no effect: they are `covariance` then.
    spread : CellSpread or None
        The variances by which it was computed.
    """

    mean: np.ndarray
    covariance: np.ndarray
    noise: np.ndarray
    df: float = np.inf
    with_images: np.ndarray | None = None
    of_images: np.ndarray | None = None
    spread: CellSpread | None = None

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

    def forecast_likely_best(self, cells: list[int], seeds: int) -> float:
        """Return how many cells may be the best after more seeds of some cells, on average.

        Parameters
        ----------
        cells : list of int
            Indices of the cells that are trained with more seeds.
        seeds : int
            Number of new seeds.

        Returns
        -------
        float
            Mean size of `find_likely_best` over scenarios of what the new seeds would show.
        """
        # Of new seeds the levels are free: their errors tell the differences between cells alone,
        # and only on these images.
        centering = np.eye(len(cells)) - 1 / len(cells)
        joint = self.covariance if self.with_images is None else self.with_images
        seen = self.covariance if self.of_images is None else self.of_images
        rows = centering @ joint[:, cells].T
        noise = (seen + self.noise / seeds)[np.ix_(cells, cells)]
        learned = rows.T @ linalg.pinvh(centering @ noise @ centering) @ rows
        posterior = Posterior(self.mean, self.covariance - learned, self.noise, self.df)
        spread = posterior.draw_errors(N_DRAWS // 10) - self.mean
        means = Posterior(self.mean, learned, self.noise, self.df).draw_errors(N_SCENARIOS, seed=1)
        return float(np.mean([len(find_likely_best(mean + spread)) for mean in means]))


def compute_p_best(draws: np.ndarray) -> np.ndarray:
    """Compute the share of draws in which each cell has the lowest error; ties share it.

    Parameters
    ----------
    draws : ndarray of float, shape (draws, cells)
        Draws of the errors.

    Returns
    -------
    ndarray of float, shape (cells,)
        Their sum is 1.
    """
    is_best = draws == draws.min(axis=1, keepdims=True)
    return (is_best / is_best.sum(axis=1, keepdims=True)).mean(axis=0)


def find_likely_best(draws: np.ndarray) -> list[int]:
    """Find the fewest cells that hold the best of all with a probability of `CONFIDENCE`.

    Parameters
    ----------
    draws : ndarray of float, shape (draws, cells)
        Draws of the errors.

    Returns
    -------
    list of int
        Indices of the cells, the likeliest first.
    """
    p_best = compute_p_best(draws)
    order = np.argsort(-p_best, kind="stable")
    count = int(np.searchsorted(np.cumsum(p_best[order]), CONFIDENCE - 1e-9)) + 1
    return order[:count].tolist()


def fit_posterior(
    errors: ArrayLike,
    teachers: ArrayLike,
    teacher_scores: ArrayLike | None = None,
    images: ImageSpread = NO_IMAGES,
    splits: ArrayLike | None = None,
) -> Posterior | None:
    """Fit the mixed model to the errors that were seen, for every cell, also unseen ones.

    Parameters
    ----------
    errors : array-like of float, shape (cells, replicates)
        Errors in points; nan where a cell was not seen with a seed.
    teachers : array-like of int, shape (cells,)
        A number for the teacher of each cell. Where each has one of its own, or all have the same,
        teachers have no effects.
    teacher_scores : array-like of float, shape (cells,), optional
        What is known of each cell's teacher without its students, x above; nan if unknown.
    images : ImageSpread
        What these images add to the errors.
    splits : array-like of int, shape (replicates,), optional
        The split of each replicate; those of one seed have the same place within their split.

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
    G. K. Smyth, Linear models and empirical Bayes methods for assessing differential expression in
    microarray experiments, Statistical Applications in Genetics and Molecular Biology, 2004.
    """
    y, groups = np.asarray(errors, float), np.asarray(teachers, int)
    is_seen = np.isfinite(y)
    if (is_seen[:, is_seen.sum(axis=0) >= 2].sum(axis=1) >= 2).sum() < MIN_REPEATED_CELLS:
        return None
    used = np.flatnonzero(is_seen.any(axis=0))
    split = np.zeros(y.shape[1], int) if splits is None else np.asarray(splits, int)
    # The place of each replicate within its split is that of its seed.
    seed = np.array([int((split[:i] == split[i]).sum()) for i in range(len(split))])
    x = _standardize(teacher_scores, groups, np.asarray(is_seen.any(axis=1)))
    n_splits = len(set(split[used]))
    is_grouped = 1 < len(set(groups)) < len(groups)
    factors = _estimate_noise_factors(y[:, used])
    blocks = [
        _make_block(
            np.flatnonzero(groups == group), y, used, seed, split, x, images, is_grouped, factors
        )
        for group in dict.fromkeys(groups.tolist())
    ]
    fixed = np.concatenate([block.fixed for block in blocks])
    values = np.concatenate([block.values for block in blocks])
    scale = max(float(np.var(values - fixed @ np.linalg.lstsq(fixed, values)[0])), 1e-12)
    variances = _fit_variances(blocks, scale)
    inverses = [np.linalg.inv(block.compute_covariance(variances)) for block in blocks]
    parts = list(zip(blocks, inverses, strict=True))
    spread = np.asarray(
        linalg.pinvh(np.sum([b.fixed.T @ inverse @ b.fixed for b, inverse in parts], axis=0))
    )
    estimate = spread @ np.sum([b.fixed.T @ inverse @ b.values for b, inverse in parts], axis=0)
    count = len(y)
    mean, noise = np.empty(count), np.zeros((count, count))
    # Of every cell its error, and after those its error on these images.
    covariance = np.zeros((2 * count, 2 * count))
    design = np.empty((2 * count, fixed.shape[1]))
    for block, inverse in parts:
        cells = block.cells
        prior, cross = block.compute_prior(variances, images, n_splits)
        gain = cross @ inverse
        at = np.concatenate([cells, cells + count])
        own_design = np.zeros((len(at), fixed.shape[1]))
        if x is not None:
            own_design[:, -1] = x[cells[0]]
        residuals = block.values - block.fixed @ estimate
        mean[cells] = (own_design @ estimate + gain @ residuals)[: len(cells)]
        covariance[np.ix_(at, at)] = prior - gain @ cross.T
        design[at] = own_design - gain @ block.fixed
        noise[np.ix_(cells, cells)] = block.compute_noise(variances)
    covariance += design @ spread @ design.T
    covariance = (covariance + covariance.T) / 2
    df = len(values) - fixed.shape[1]
    teacher, cell, at_seed = variances[:3] if is_grouped else (0.0, variances[0], 0.0)
    fitted = CellSpread(*map(float, (teacher, cell, at_seed, variances[-1])))
    own = covariance[:count, :count]
    if not images.total:
        return Posterior(mean, own, noise, df, spread=fitted)
    joint, of_images = covariance[:count, count:], covariance[count:, count:]
    return Posterior(mean, own, noise, df, joint, of_images, fitted)


@dataclass(frozen=True)
class _Block:
    """The errors of all cells of one teacher, which share no effect with others but the levels.

    Attributes
    ----------
    cells : ndarray of int, shape (cells,)
        Indices of the cells.
    values : ndarray of float, shape (errors,)
        The errors that were seen.
    fixed : ndarray of float, shape (errors, levels)
        Design of the levels.
    structures : ndarray of float, shape (variances, errors, errors)
        Covariance of the errors for a variance of 1 each.
    known : ndarray of float, shape (errors, errors)
        Covariance that images add.
    of_cell : ndarray of float, shape (cells, errors)
        Whether an error is that of a cell.
    is_grouped : bool
        Whether teachers have effects: the first variance and the third are theirs.
    noise_factors : ndarray of float, shape (cells,)
        The variance of a cell's noise, as a multiple of the last variance.
    """

    cells: np.ndarray
    values: np.ndarray
    fixed: np.ndarray
    structures: np.ndarray
    known: np.ndarray
    of_cell: np.ndarray
    is_grouped: bool
    noise_factors: np.ndarray

    def compute_covariance(self, variances: np.ndarray) -> np.ndarray:
        """Return the covariance of the errors."""
        return np.tensordot(variances, self.structures, 1) + self.known

    def compute_prior(
        self, variances: np.ndarray, images: ImageSpread, n_splits: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the covariance of the cells and of the cells on these images, and with errors."""
        teacher, cell = (variances[0], variances[1]) if self.is_grouped else (0.0, variances[0])
        shares = np.array([teacher, cell])
        # Each split has images of its own: what they add to the mean of all splits.
        image_shares = np.array([images.teacher, images.option])
        image_shares = image_shares / (n_splits if images.is_by_split else 1)
        same = np.array([np.ones((len(self.cells),) * 2), np.eye(len(self.cells))])
        with_errors = np.array([np.ones_like(self.of_cell), self.of_cell])
        own, of_images = (np.tensordot(one, same, 1) for one in (shares, image_shares))
        cross, image_cross = (np.tensordot(one, with_errors, 1) for one in (shares, image_shares))
        prior = np.block([[own, own], [own, own + of_images]])
        return prior, np.concatenate([cross, cross + image_cross])

    def compute_noise(self, variances: np.ndarray) -> np.ndarray:
        """Return the covariance of the cells' errors at one seed beyond effects of cells."""
        at_seed = variances[2] if self.is_grouped else 0.0
        return at_seed + variances[-1] * np.diag(self.noise_factors)


def _make_block(
    cells: np.ndarray,
    y: np.ndarray,
    used: np.ndarray,
    seed: np.ndarray,
    split: np.ndarray,
    x: np.ndarray | None,
    images: ImageSpread,
    is_grouped: bool,
    factors: np.ndarray,
) -> _Block:
    """Return the errors of the cells of one teacher."""
    row, column = np.nonzero(np.isfinite(y[cells]))
    same_cell = (row[:, None] == row).astype(float)
    same_split = (split[column][:, None] == split[column]).astype(float)
    same_seed = (seed[column][:, None] == seed[column]).astype(float)
    ones, own_noise = np.ones_like(same_cell), np.diag(factors[cells[row]])
    structures = [ones, same_cell, same_seed * same_split] if is_grouped else [same_cell]
    if len(set(split[used])) > 1:
        structures += [same_cell * same_split, same_cell * same_seed]
    fixed = (used == column[:, None]).astype(float)
    if x is not None:
        fixed = np.column_stack([fixed, x[cells[row]]])
    known = images.teacher * ones + images.option * same_cell
    return _Block(
        cells,
        y[cells][row, column],
        fixed,
        np.array([*structures, own_noise]),
        known * same_split if images.is_by_split else known,
        (np.arange(len(cells))[:, None] == row).astype(float),
        is_grouped,
        factors[cells],
    )


def _estimate_noise_factors(y: np.ndarray) -> np.ndarray:
    """Return the variance of each cell's noise as a multiple of the common one."""
    is_seen = np.isfinite(y)
    df = np.maximum(is_seen.sum(axis=1) - 1.0, 0.0)
    repeated = df > 0
    factors = np.ones(len(y))
    if repeated.sum() < MIN_NOISE_CELLS:
        return factors
    values = np.where(is_seen, y, 0.0)
    for _ in range(NOISE_ROUNDS):
        weights = is_seen / factors[:, None]
        levels = np.zeros(y.shape[1])
        for _ in range(NOISE_ROUNDS):  # the cells' means, and the levels of seeds
            means = ((values - levels) * is_seen).sum(axis=1) / np.maximum(is_seen.sum(axis=1), 1)
            levels = ((values - means[:, None]) * weights).sum(axis=0) / weights.sum(axis=0)
        residuals = (values - means[:, None] - levels) * is_seen
        squares = (residuals**2).sum(axis=1)[repeated] / df[repeated]
        factors = np.ones(len(y))
        factors[repeated] = _shrink_variances(squares, df[repeated])
    return factors


# Log trigamma, ascending, and the logarithm of its argument.
_LOGS = np.linspace(12.0, -6.0, 2_000)
_TRIGAMMA_OF_LOGS = (np.log(special.polygamma(1, np.exp(_LOGS))), _LOGS)


def _shrink_variances(variances: np.ndarray, df: np.ndarray) -> np.ndarray:
    """Return variances shrunk towards a common one, as multiples of that (Smyth, 2004)."""
    variances = np.maximum(variances, max(0.01 * float(np.median(variances)), 1e-12))
    logs = np.log(variances) - special.digamma(df / 2) + np.log(df / 2)
    excess = float(logs.var(ddof=1) - special.polygamma(1, df / 2).mean())
    if excess <= 0:
        return np.ones(len(df))
    # The degrees of freedom of the common variance: trigamma(df / 2) is the excess.
    prior_df = 2 * np.exp(
        np.interp(np.log(excess), *_TRIGAMMA_OF_LOGS)  # within its range, to four digits
    )
    common = np.exp(logs.mean() + special.digamma(prior_df / 2) - np.log(prior_df / 2))
    return (prior_df + df * variances / common) / (prior_df + df)


@dataclass(frozen=True)
class _Stack:
    """Blocks with as many errors each, which are solved at once."""

    structures: np.ndarray  # (variances, blocks, errors, errors)
    known: np.ndarray  # (blocks, errors, errors)
    sides: np.ndarray  # (blocks, errors, levels + 1): the design, and the errors


def _stack_blocks(blocks: Sequence[_Block]) -> list[_Stack]:
    """Return the blocks by their number of errors; those without any are left out."""
    ordered = sorted((b for b in blocks if len(b.values)), key=lambda block: len(block.values))
    stacks = []
    for _, same in groupby(ordered, key=lambda block: len(block.values)):
        members = list(same)
        stacks.append(
            _Stack(
                np.stack([block.structures for block in members], axis=1),
                np.stack([block.known for block in members]),
                np.stack([np.column_stack([b.fixed, b.values]) for b in members]),
            )
        )
    return stacks


def _fit_variances(blocks: Sequence[_Block], scale: float) -> np.ndarray:
    """Fit the variances by the restricted likelihood, weighted as the module says."""
    stacks = _stack_blocks(blocks)
    count = len(blocks[0].structures)

    def cost(logs: np.ndarray) -> float:
        variances = scale * np.exp(logs)
        log_det, products = 0.0, np.zeros((stacks[0].sides.shape[2],) * 2)
        for stack in stacks:
            covariance = np.tensordot(variances, stack.structures, 1) + stack.known
            try:
                lower = np.linalg.cholesky(covariance)
            except np.linalg.LinAlgError:
                return np.inf
            log_det += 2 * float(np.log(np.diagonal(lower, axis1=1, axis2=2)).sum())
            solved = np.linalg.solve(covariance, stack.sides)
            products += np.einsum("bip,biq->pq", stack.sides, solved)
        precision, with_values = products[:-1, :-1], products[:-1, -1]
        sign, fixed_log_det = np.linalg.slogdet(precision)
        if sign <= 0:
            return np.inf
        squares = products[-1, -1] - with_values @ np.linalg.solve(precision, with_values)
        likelihood = -(log_det + fixed_log_det + squares) / 2
        return float(-likelihood - logs.sum() / 2)

    lowest = np.log(MIN_VARIANCE_SHARE)
    result = optimize.minimize(
        cost, np.full(count, np.log(0.25)), method="L-BFGS-B", bounds=[(lowest, 5.0)] * count
    )
    variances = scale * np.exp(result.x)
    variances = np.where(result.x <= lowest, 0.0, variances)
    variances[-1] += scale * MIN_VARIANCE_SHARE
    return variances


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
