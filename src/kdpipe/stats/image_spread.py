"""How much a finite number of images moves the errors of options apart.

All seeds of an option are evaluated on the same images, so their mean deviates from the error on
the population of images by an amount that no further seed takes away. Its variance is

    cov(images of seed r, images of seed s) / number of images,    r != s

where the covariance is over images, of the outcomes of two different seeds: what one seed alone
does on an image has no part in it. What all options share cancels in their differences, so with the
mean covariance of two runs of one option (A), of two options of one teacher (B) and of options of
different teachers (C), the images add A - B to an option and B - C to a teacher.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from scipy import sparse

from kdpipe.stats import replicates
from kdpipe.stats.error_provenance import (
    ErrorMaskLookup,
    ErrorWithProvenance,
    ImageQuantity,
    get_test_run,
)

CHUNK = 1_000  # images at once


@dataclass(frozen=True)
class ImageSpread:
    """Variances of mean errors from the finite number of images, in points squared.

    Attributes
    ----------
    teacher, option : float
        What the images add to all options of a teacher, and to each of them.
    is_by_split : bool
        Whether each split has images of its own.
    source : {"validation", "test", ""}
        The images whose outcomes it is from. Test stands for validation where the outcomes on
        validation were not kept. Empty: no outcomes are known, and images count for nothing.
    """

    teacher: float = 0.0
    option: float = 0.0
    is_by_split: bool = False
    source: Literal["validation", "test", ""] = ""

    @property
    def total(self) -> float:
        """Return what the images add to the error of an option."""
        return self.teacher + self.option


NO_IMAGES = ImageSpread()


def find_image_spread(
    errors: pd.DataFrame,
    groups: Sequence[Hashable],
    outcomes: ErrorMaskLookup | None,
    n_validation: float = np.nan,
) -> ImageSpread:
    """Find the variances of options' errors from the outcomes on single images.

    Parameters
    ----------
    errors : DataFrame, shape (replicates, options)
        Errors with provenance, of test or of validation; nan is none.
    groups : sequence of hashable, shape (options,)
        The teacher of each option.
    outcomes : callable or None
        Returns what a run did on single images (see `stats.error_provenance`).
    n_validation : float
        Number of validation images; only for runs whose outcomes on validation were not kept: those
        on test are taken then, as those of so many images.

    Returns
    -------
    ImageSpread
        `NO_IMAGES` where no outcomes are known.
    """
    values = list(errors.to_numpy(object).T.ravel())
    if outcomes is None or not any(isinstance(value, ErrorWithProvenance) for value in values):
        return NO_IMAGES
    seeds, splits = (
        np.tile(of(errors.index), errors.shape[1])
        for of in (replicates.get_seeds, replicates.get_splits)
    )
    options = np.repeat(np.arange(errors.shape[1]), len(errors))
    known = [i for i, value in enumerate(values) if isinstance(value, ErrorWithProvenance)]
    teachers = pd.factorize(pd.Series(list(groups), dtype=object))[0][options[known]]
    is_validation = any(get_test_run(part) is None for i in known[:1] for part in values[i].parts)
    keys = (options[known], np.asarray(teachers), seeds[known], splits[known])
    own = _load_outcomes([values[i] for i in known], outcomes, as_test=False)
    if own is not None:
        source = "validation" if is_validation else "test"
        return estimate_image_spread(own, *keys, len(own[0]), is_validation, source)
    if not is_validation or not n_validation > 0:
        return NO_IMAGES
    instead = _load_outcomes([values[i] for i in known], outcomes, as_test=True)
    if instead is None:
        return NO_IMAGES
    return estimate_image_spread(instead, *keys, n_validation, True, "test")


def estimate_image_spread(
    outcomes: Sequence[np.ndarray],
    options: np.ndarray,
    teachers: np.ndarray,
    seeds: np.ndarray,
    splits: np.ndarray,
    n_images: float,
    is_by_split: bool = False,
    source: Literal["validation", "test"] = "validation",
) -> ImageSpread:
    """Estimate the variances of options' errors from the outcomes on single images.

    Parameters
    ----------
    outcomes : sequence of ndarray of float, shape (runs, images)
        What each run did on each image, in points.
    options, teachers, seeds, splits : ndarray, shape (runs,)
        Numbers of the option, of its teacher, of the seed and of the split of each run.
    n_images : float
        Number of images on which the errors are measured.
    is_by_split, source : bool, str
        Those of the `ImageSpread`.

    Returns
    -------
    ImageSpread
        Negative estimates are 0.
    """
    sums, counts = np.zeros(3), np.zeros(3)
    for split in np.unique(splits).tolist():
        at = np.flatnonzero(splits == split).tolist()
        own_sums, own_counts = _sum_products(
            [outcomes[i] for i in at], options[at], teachers[at], seeds[at]
        )
        sums, counts = sums + own_sums, counts + own_counts
    # From nested sums to those of pairs of one option, of one teacher only, and of neither.
    sums, counts = np.diff(sums, prepend=0), np.diff(counts, prepend=0)
    same, teacher, apart = np.divide(sums, counts, out=np.full(3, np.nan), where=counts > 0)
    if np.isnan(same):
        return NO_IMAGES
    if np.isnan(apart):  # one teacher, or one option
        apart = teacher
    if np.isnan(teacher):  # each option has a teacher of its own
        teacher = apart
    if np.isnan(teacher):
        return NO_IMAGES
    return ImageSpread(
        max(0.0, float(teacher - apart)) / n_images,
        max(0.0, float(same - teacher)) / n_images,
        is_by_split,
        source,
    )


def _sum_products(
    outcomes: list[np.ndarray], options: np.ndarray, teachers: np.ndarray, seeds: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Sum covariances over images of all pairs of runs with different seeds, and count the pairs.

    Of one option, of one teacher, and of all.
    """
    n_runs, n_images = len(outcomes), len(outcomes[0])
    means = np.array([values.mean() for values in outcomes])
    nested = (options, teachers, np.zeros(n_runs, int))
    pairs = [(_indicate(key), _indicate(_join(key, seeds))) for key in nested]
    sums = np.zeros(3)
    for start in range(0, n_images, CHUNK):
        chunk = np.array([values[start : start + CHUNK] for values in outcomes], float)
        chunk -= means[:, None]
        for i, (all_seeds, one_seed) in enumerate(pairs):
            sums[i] += ((all_seeds @ chunk) ** 2).sum() - ((one_seed @ chunk) ** 2).sum()
    counts = [
        float((all_seeds.sum(axis=1) ** 2).sum() - (one_seed.sum(axis=1) ** 2).sum())
        for all_seeds, one_seed in pairs
    ]
    return sums / (n_images - 1), np.array(counts)


def _join(key: np.ndarray, seeds: np.ndarray) -> np.ndarray:
    """Return a number for each pair of a key and a seed."""
    return pd.factorize(pd.MultiIndex.from_arrays([key, seeds]))[0]


def _indicate(key: np.ndarray) -> sparse.csr_array:
    """Return a matrix that sums rows by a key."""
    codes = pd.factorize(key)[0]
    shape = (codes.max() + 1, len(codes))
    return sparse.csr_array((np.ones(len(codes)), (codes, np.arange(len(codes)))), shape)


def _load_outcomes(
    errors: list[ErrorWithProvenance], outcomes: ErrorMaskLookup, as_test: bool
) -> list[np.ndarray] | None:
    """Return the outcomes of errors image by image, in points; None if some are not known.

    `as_test`: those on test images of the runs whose validation errors these are.
    """
    loaded = []
    for error in errors:
        total: np.ndarray | None = None
        for part, weight in error.parts.items():
            key = part.run if as_test and isinstance(part, ImageQuantity) else part
            values = outcomes(key)
            if values is None:
                return None
            scale = weight * (100.0 if values.dtype == bool else 1.0)
            total = scale * values if total is None else total + scale * values
        if total is None or (loaded and len(total) != len(loaded[0])):
            return None
        loaded.append(total)
    return loaded or None
