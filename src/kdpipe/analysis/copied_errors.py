"""How far a student copies the errors of its teacher: what N3 and N4 compare.

Of one seed let W be the test images that the teacher gets wrong and R the others. One student is
wrong more often than another on W by some points of W, and right more often on R by some points of
R; the difference of the two is how many more errors it copies than what it learned. In each group
it is a mean over images of the group:

    mean over W of (wrong_a - wrong_b) + mean over R of (wrong_a - wrong_b)

Both groups come with the test images, so over other images each mean is a ratio of two sums; its
image values are the linearised ones (Cochran, Sampling Techniques, 1977, chapter 6), whose mean is
the same number.

The images that a teacher gets wrong are known of its last epoch, so of teachers that are whole
runs: trained to the end, or by a schedule of their own.
"""

import functools
from dataclasses import dataclass

import numpy as np
import pandas as pd

from kdpipe.analysis.claim import Evidence, UntestableClaim
from kdpipe.analysis.contrasts import Contrast
from kdpipe.stats.error_provenance import (
    ErrorMaskLookup,
    ErrorWithProvenance,
    estimate_from_images,
    get_test_run,
)
from kdpipe.stats.replicates import Halves

WHOLE_RUNS = ["full", "longer", "schedule"]  # stops of teachers whose wrong images are known
UNIT = "points of a group"  # not of all test images; its smallest effect is that of the KD error


@dataclass(frozen=True)
class CopiedErrors:
    """How one student differs from another on both groups of images, by seed and test image.

    Values are linearised, in points; their mean over images is that of a group.

    Attributes
    ----------
    seeds : Index of shape (n_seeds,)
        The seeds.
    more_wrong : ndarray of shape (n_seeds, n_images)
        By how much it is wrong more often where the teacher is wrong.
    more_right : ndarray of shape (n_seeds, n_images)
        By how much it is right more often where the teacher is right.
    """

    seeds: pd.Index
    more_wrong: np.ndarray
    more_right: np.ndarray


def compare_copied_errors(
    evidence: Evidence, cell: pd.DataFrame, errors: pd.Series, other_errors: pd.Series
) -> CopiedErrors:
    """Compare a student with another on the images that its teacher gets wrong, and on the others.

    Seeds that lack one of the two, or whose teacher gets all images right or all wrong, are left
    out.

    Parameters
    ----------
    evidence : Evidence
        The data of the study.
    cell : DataFrame
        Rows that say from which teacher each seed learned.
    errors, other_errors : Series
        Test errors of both by seed, which know their runs.

    Raises
    ------
    UntestableClaim
        If the images are known of no seed.
    """
    teachers = dict(zip(cell.seed, cell.teacher_run, strict=True))
    seeds = errors.dropna().index.intersection(other_errors.dropna().index)
    known, more_wrong, more_right = [], [], []
    for seed in seeds:
        teacher = evidence.teacher_masks and evidence.teacher_masks(teachers[seed])
        masks = [_load_outcomes(evidence.error_masks, e[seed]) for e in (errors, other_errors)]
        if teacher is None or masks[0] is None or masks[1] is None:
            continue
        if not teacher.any() or teacher.all():
            continue
        difference = 100 * (masks[0] - masks[1])
        known.append(seed)
        more_wrong.append(linearize_group_mean(difference, teacher))
        more_right.append(linearize_group_mean(-difference, ~teacher))
    if len(seeds) and not known:
        raise UntestableClaim(
            "it compares single test images, and of these runs the folder of results holds none"
        )
    index = pd.Index(known, dtype=float)
    return CopiedErrors(index, np.array(more_wrong), np.array(more_right))


def linearize_group_mean(values: np.ndarray, group: np.ndarray) -> np.ndarray:
    """Return values of all images whose mean is that over a group, and varies over images as it.

    Parameters
    ----------
    values : ndarray of float, shape (n_images,)
        One value for each image.
    group : ndarray of bool, shape (n_images,)
        Which images belong to the group; one at least.
    """
    mean = values[group].mean()
    return mean + np.where(group, values - mean, 0.0) / group.mean()


def build_copied_errors_contrasts(
    evidence: Evidence, text: str, parts: dict[str, CopiedErrors], halves: Halves | None = None
) -> list[Contrast]:
    """Build the contrast of the mean over cells, with both groups and each cell beside it.

    Parameters
    ----------
    evidence : Evidence
        The data of the study.
    text : str
        What is compared.
    parts : dict of CopiedErrors
        By cell.
    halves : mapping of float to int, or None
        The half of each seed, where two halves chose for each other.
    """

    mean = _average_cells(list(parts.values()))
    several = len(parts) > 1

    def build(label: str, seeds: pd.Index, images: np.ndarray, is_needed: bool = False) -> Contrast:
        by_seed = images.mean(axis=1) if len(seeds) else []
        return Contrast(
            f"{text}, {label}" if label else text,
            pd.Series(by_seed, index=seeds, dtype=float),
            delta=evidence.smallest.kd_error,
            is_needed=is_needed,
            unit=UNIT,
            image_estimate=estimate_from_images(images, seeds, halves) if len(seeds) else None,
            halves=halves,
        )

    where = "where the teacher is"
    contrasts = [
        build("mean over cells" * several, mean.seeds, mean.more_wrong - mean.more_right, True),
        build(f"more often wrong {where} wrong", mean.seeds, mean.more_wrong),
        build(f"more often right {where} right", mean.seeds, mean.more_right),
    ]
    if several:
        contrasts += [
            build(label, part.seeds, part.more_wrong - part.more_right)
            for label, part in parts.items()
        ]
    return contrasts


def _average_cells(parts: list[CopiedErrors]) -> CopiedErrors:
    """Return the mean over cells, of seeds that have all of them."""
    seeds = functools.reduce(pd.Index.intersection, (part.seeds for part in parts))
    if seeds.empty:
        return CopiedErrors(seeds, np.empty((0, 0)), np.empty((0, 0)))
    positions = [part.seeds.get_indexer(seeds) for part in parts]
    pairs = list(zip(parts, positions, strict=True))
    return CopiedErrors(
        seeds,
        np.mean([part.more_wrong[position] for part, position in pairs], axis=0),
        np.mean([part.more_right[position] for part, position in pairs], axis=0),
    )


def _load_outcomes(error_masks: ErrorMaskLookup | None, error: object) -> np.ndarray | None:
    """Return which images an error counts, whatever the metric; None where that is not known."""
    if error_masks is None or not isinstance(error, ErrorWithProvenance):
        return None
    total = None
    for part, weight in error.parts.items():
        mask = error_masks(get_test_run(part))
        if mask is None:
            return None
        weighted = weight * mask.astype(float)
        total = weighted if total is None else total + weighted
    return total
