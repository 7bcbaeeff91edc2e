"""Errors that remember which runs they come from, for intervals over test images.

The t interval over seeds holds for this test set; a second interval also accounts for other test
images. All seeds answer the same images, so their values are crossed: the variance has components
of the seed, of the image and of both together (see `variance_components`). It is computed from the
images that each run gets wrong, so a difference of errors has to know its runs and their weights.
An `ErrorWithProvenance` is a float that does, so that claims, tables and choices subtract and
average errors as plain pandas columns. Choices made on validation are held fixed.

Losses, disagreement with a teacher and validation errors are means over images too: an
`ImageQuantity` names one of a run, and a sum of them has the same second interval. Validation
images of several splits are others in each, which the crossed model covers: what images add is then
an interaction with the split. What is measured on training images has no such interval, for these
are no sample of new ones.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from kdpipe.errors import StoreError
from kdpipe.stats import replicates
from kdpipe.stats.intervals import MIN_SEEDS, Summary
from kdpipe.stats.variance_components import CrossedMean, decompose_variance

# Losses of single images are stored with 8 bits (`runs.per_image`), and a teacher's outputs may
# have been computed twice: their means may be off by this share, and by this much.
LOSS_TOLERANCE = 0.035, 1e-3  # nat
KD_ERROR_TOLERANCE = 0.2  # points


class ImageQuantity(NamedTuple):
    """What is measured of a run on single images, besides its test error.

    Attributes
    ----------
    run : str
        The name of the run.
    metric : str
        The column of the results frame that is its mean over images: `test_kd_error`, `val_nll`,
        `val_kl`, `val_entropy`, `val_error`, or a `test_error` that is not top-1.
    epochs : tuple of int
        Of `val_error`: the epochs over which it is a mean; empty for that of the evaluation point.
    eval_point : str
        `last` for what is read at the last epoch whatever the study reads, as teachers are; else
        empty.
    """

    run: str
    metric: str
    epochs: tuple[int, ...] = ()
    eval_point: str = ""

    def bound_rounding(self, values: np.ndarray) -> float:
        """Return by how much the mean of stored values may differ from the recorded one."""
        if self.metric.endswith("_kd_error"):
            return KD_ERROR_TOLERANCE
        share, least = LOSS_TOLERANCE
        return 0.0 if self.metric.endswith("_error") else share * float(values.mean()) + least


# A part of a sum: the name of a run stands for its test error.
Part = str | ImageQuantity


def get_test_run(part: Part) -> str | None:
    """Return the run whose test error a part is; None for another quantity."""
    if not isinstance(part, ImageQuantity):
        return part
    return part.run if part.metric == "test_error" else None


# Returns a part image by image: (images,) bool for the name of a run, which test images it gets
# wrong; (images,) float for an `ImageQuantity`, in the unit of its metric; None if unknown. A
# lookup that is asked for test errors alone may take names alone.
ErrorMaskLookup = Callable[[Any], np.ndarray | None]


class ErrorWithProvenance(float):
    """A test error or another mean over images, or a linear combination, that knows its runs.

    Its value is the weighted sum of the parts plus `constant`. What is not linear in them gives a
    plain float without provenance.

    Parameters
    ----------
    value : float
        The error, in points, or another mean in its unit.
    parts : dict of str or ImageQuantity to float
        Weight of each part; the name of a run stands for its test error.
    constant : float
        What no image changes, in the same unit.
    """

    __slots__ = ("constant", "parts")
    parts: dict[Part, float]
    constant: float

    def __new__(cls, value: float, parts: Mapping[Any, float], constant: float = 0.0):
        """Make an error; the parameters are those of the class."""
        error = super().__new__(cls, value)
        error.parts = dict(parts)
        error.constant = constant
        return error

    def __reduce__(self):
        """Return how another process makes the same error."""
        return ErrorWithProvenance, (float(self), self.parts, self.constant)

    def _add_scaled(self, other: Any, sign: int) -> float:
        """Return self + sign * other; a plain float if other has no provenance."""
        total = float(self) + sign * float(other)
        if not isinstance(other, ErrorWithProvenance):
            return ErrorWithProvenance(total, self.parts, self.constant) if other == 0 else total
        parts = dict(self.parts)
        for name, weight in other.parts.items():
            parts[name] = parts.get(name, 0.0) + sign * weight
        return ErrorWithProvenance(total, parts, self.constant + sign * other.constant)

    def _scale(self, factor: float) -> "ErrorWithProvenance":
        """Return the error times a constant."""
        parts = {name: factor * weight for name, weight in self.parts.items()}
        return ErrorWithProvenance(float(self) * factor, parts, self.constant * factor)

    def __add__(self, other):
        """Return the sum, with its provenance if the other error has one."""
        return self._add_scaled(other, 1)

    __radd__ = __add__

    def __sub__(self, other):
        """Return the difference, with its provenance if the other error has one."""
        return self._add_scaled(other, -1)

    def __rsub__(self, other):
        """Return the other error minus this one."""
        return self._scale(-1)._add_scaled(other, 1)

    def __neg__(self):
        """Return the negated error with its provenance."""
        return self._scale(-1)

    def __mul__(self, other):
        """Return the product, with its provenance if the factor is a constant."""
        has_provenance = isinstance(other, ErrorWithProvenance)
        return float(self) * float(other) if has_provenance else self._scale(float(other))

    __rmul__ = __mul__

    def __truediv__(self, other):
        """Return the quotient, with its provenance if the divisor is a constant."""
        has_provenance = isinstance(other, ErrorWithProvenance)
        return float(self) / float(other) if has_provenance else self._scale(1 / float(other))


@dataclass(frozen=True)
class ImageLevelEstimate:
    """A mean difference over seeds and test images, or why there is none.

    Attributes
    ----------
    estimate : CrossedMean or None
        The mean over seeds (and splits) and images, in points.
    why : str
        What is missing if there is no estimate.
    """

    estimate: CrossedMean | None = None
    why: str = ""

    def to_json(self, level: float) -> dict:
        """Return the interval and its variance components in plain values, or why there is none.

        Parameters
        ----------
        level : float
            Confidence level.

        Returns
        -------
        dict
            Keys `low`, `high`, `level`, `df`, `levels` and `components`, or `why` alone.
        """
        estimate = self.estimate
        if estimate is None:
            return {"why": self.why}
        low, high = estimate.compute_interval(level)
        parts = {" x ".join(factors): value for factors, value in estimate.components.items()}
        facts = {
            "low": low,
            "high": high,
            "level": level,
            "df": estimate.df,
            "levels": estimate.levels,
        }
        return facts | {"components": parts}


def estimate_image_level(
    values: pd.Series, error_masks: ErrorMaskLookup | None, halves: replicates.Halves | None = None
) -> ImageLevelEstimate:
    """Estimate the mean of a difference over seeds and test images.

    Parameters
    ----------
    values : Series
        Differences by replicate, in points, with provenance; nan is no value.
    error_masks : callable or None
        Returns the images that a run gets wrong, by its name; None if no images are known at all.
    halves : mapping of float to int, optional
        The half of each seed, where two halves chose for each other: the variance of seeds is that
        within the halves.

    Returns
    -------
    ImageLevelEstimate
        The estimate, or why there is none.

    Raises
    ------
    StoreError
        If the images disagree with the errors.
    """
    known_values = values.loc[values.notna()]
    differences = compute_image_differences(known_values, error_masks)
    if isinstance(differences, str):
        return ImageLevelEstimate(why=differences)
    return estimate_from_images(differences, known_values.index, halves)


def estimate_from_images(
    differences: np.ndarray, index: pd.Index, halves: replicates.Halves | None = None
) -> ImageLevelEstimate:
    """Estimate the mean of what is known of single images.

    Parameters
    ----------
    differences : ndarray of float, shape (replicates, images)
        One value for each replicate and image.
    index : Index
        The replicates.
    halves : mapping of float to int, optional
        As in `estimate_image_level`.

    Returns
    -------
    ImageLevelEstimate
        The estimate, or why there is none.
    """
    by_seed = replicates.to_grid(pd.Series(range(len(differences)), index=index))
    positions = by_seed.to_numpy(int)
    grid = differences[positions]  # seeds, splits, images; what there is one of is no factor
    factors = zip(("seed", "split", "image"), grid.shape, strict=True)
    levels = {name: size for name, size in factors if size > 1}
    min_levels = min(levels.get("split", MIN_SEEDS), grid.shape[0])
    if min_levels < MIN_SEEDS:
        return ImageLevelEstimate(why=f"{MIN_SEEDS} seeds are needed, {min_levels} are there")
    groups = replicates.find_groups(by_seed.index, halves)
    crossed = grid.reshape(tuple(levels.values()))
    return ImageLevelEstimate(decompose_variance(crossed, *levels, groups=groups))


def compute_image_differences(
    values: pd.Series, error_masks: ErrorMaskLookup | None
) -> np.ndarray | str:
    """Compute the difference on each image.

    Parameters
    ----------
    values : Series
        Differences by replicate, with provenance.
    error_masks : callable or None
        Returns a part of the differences image by image; None if no images are known at all.

    Returns
    -------
    ndarray of float, shape (replicates, images), or str
        Differences in the unit of the values, or why there are none. Their mean is the value:
        rounding of stored losses is spread over the images.

    Raises
    ------
    StoreError
        If the images disagree with the errors.
    """
    errors = list(values)
    if not errors:
        return "no seed has it"
    if not all(isinstance(value, ErrorWithProvenance) for value in errors):
        return "not a mean over test or validation images"
    first = next(iter(errors[0].parts), "")
    if error_masks is None or (
        isinstance(first, str) and all(error_masks(name) is None for name in errors[0].parts)
    ):
        return "the folder of results holds no outputs"
    per_replicate = []
    for value in errors:
        parts = {part: error_masks(part) for part in value.parts}
        missing = [part for part, by_image in parts.items() if by_image is None]
        if missing:
            return _explain_missing(missing[0])
        quantities = {part: weight for part, weight in value.parts.items() if _is_quantity(part)}
        errors_by_image = sum(
            weight * parts[name] for name, weight in value.parts.items() if name not in quantities
        )  # type: ignore
        total = 100 * np.asarray(errors_by_image, dtype=float) + value.constant
        rounding = 0.0
        for part, weight in quantities.items():
            total = total + weight * parts[part]
            rounding += abs(weight) * part.bound_rounding(parts[part])
        gap = float(value) - float(total.mean())
        if not math.isclose(gap, 0.0, abs_tol=1e-3 + rounding):
            runs = dict.fromkeys(map(_get_run, value.parts))
            raise StoreError(
                f"the outcomes of {', '.join(runs)} are not those of their records (error "
                f"{total.mean():.4g}, {float(value):.4g}): restore both from one place"
            )
        per_replicate.append(total + gap if rounding else total)
    if len({len(by_image) for by_image in per_replicate}) > 1:
        return "its runs have different numbers of images"
    return np.stack(per_replicate)


METRIC_NAMES = {
    "test_error": "the class that is predicted for single test images",
    "test_kd_error": "disagreement with the teacher on single test images",
    "val_error": "the error on single validation images",
    "val_nll": "the cross-entropy of single validation images",
    "val_kl": "the KL to the teacher on single validation images",
    "val_entropy": "the entropy on single validation images",
}


def _is_quantity(part: Part) -> bool:
    """Return whether a part is another one than a test error."""
    return isinstance(part, ImageQuantity)


def _explain_missing(part: Part) -> str:
    """Return that a part is not known image by image."""
    if isinstance(part, ImageQuantity):
        epochs = ", epoch by epoch," if part.epochs else ""
        return f"{METRIC_NAMES[part.metric]}{epochs} is not known of {part.run}"
    return f"no outputs of {part}"


def _get_run(part: Part) -> str:
    """Return the run of a part."""
    return part.run if isinstance(part, ImageQuantity) else part


def choose_wider_interval(
    seeds: Summary, images: ImageLevelEstimate, level: float
) -> tuple[float, float]:
    """Return the wider of the intervals over seeds and over seeds and images.

    Parameters
    ----------
    seeds : Summary
        The difference over seeds, with an interval of the same level.
    images : ImageLevelEstimate
        The difference over seeds and images; if it has no estimate that over seeds decides.
    level : float
        Confidence level.

    Returns
    -------
    low, high : float
        The interval that decides, in points.
    """
    if images.estimate is None:
        return seeds.low, seeds.high
    low, high = images.estimate.compute_interval(level)
    return min(low, seeds.low), max(high, seeds.high)
