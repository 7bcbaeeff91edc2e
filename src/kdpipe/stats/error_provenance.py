"""Errors that remember which runs they come from, for intervals over test images.

The t interval over seeds holds for this test set; a second interval also accounts for other test
images. All seeds answer the same images, so their values are crossed: the variance has components
of the seed, of the image and of both together (see `variance_components`). It is computed from the
images that each run gets wrong, so a difference of errors has to know its runs and their weights.
An `ErrorWithProvenance` is a float that does, so that claims, tables and choices subtract and
average errors as plain pandas columns. Choices made on validation are held fixed.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from kdpipe.errors import StoreError
from kdpipe.stats import replicates
from kdpipe.stats.intervals import MIN_SEEDS, Summary
from kdpipe.stats.variance_components import CrossedMean, decompose_variance

# Returns which test images a run gets wrong, by its name: (images,) bool; None if unknown.
ErrorMaskLookup = Callable[[str], np.ndarray | None]


class ErrorWithProvenance(float):
    """A test error, or a linear combination of test errors, that knows its runs.

    Its value is the weighted sum of the runs' errors plus `constant`. What is not linear in errors
    gives a plain float without provenance.

    Parameters
    ----------
    value : float
        The error, in points.
    parts : dict of str to float
        Weight of each run's error, by the name of the run.
    constant : float
        What no test image changes, in points.
    """

    __slots__ = ("constant", "parts")
    parts: dict[str, float]
    constant: float

    def __new__(cls, value: float, parts: dict[str, float], constant: float = 0.0):
        """Make an error; the parameters are those of the class."""
        error = super().__new__(cls, value)
        error.parts = parts
        error.constant = constant
        return error

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
    """Compute the difference on each test image.

    Parameters
    ----------
    values : Series
        Differences by replicate, in points, with provenance.
    error_masks : callable or None
        Returns the images that a run gets wrong, by its name; None if no images are known at all.

    Returns
    -------
    ndarray of float, shape (replicates, images), or str
        Differences in points, or why there are none.

    Raises
    ------
    StoreError
        If the images disagree with the errors.
    """
    errors = list(values)
    if not errors:
        return "no seed has it"
    if not all(isinstance(value, ErrorWithProvenance) for value in errors):
        return "not a sum of test errors"
    if error_masks is None or all(error_masks(name) is None for name in errors[0].parts):
        return "the folder of results holds no outputs"
    per_replicate = []
    for value in errors:
        masks = {name: error_masks(name) for name in value.parts}
        missing = [name for name, mask in masks.items() if mask is None]
        if missing:
            return f"no outputs of {missing[0]}"
        total = sum(weight * masks[name] for name, weight in value.parts.items())  # type: ignore
        total = 100 * np.asarray(total, dtype=float) + value.constant
        if not math.isclose(total.mean(), value, abs_tol=1e-3):
            raise StoreError(
                f"the outcomes of {', '.join(masks)} are not those of their records (error "
                f"{total.mean():.4g}, {float(value):.4g}): restore both from one place"
            )
        per_replicate.append(total)
    return np.stack(per_replicate)


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
