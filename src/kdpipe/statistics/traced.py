"""Errors that know their runs, so that a difference of errors can be told image by image.

The t interval over seeds holds for this test set; a second one also asks what other test images
would have given. All seeds answer the same images, so their values are crossed: its variance has
components of the seed, of the image and of both together (see components). It is made from the
single images that each run gets wrong, so a difference has to know which runs it is made of: a
`TracedError` is a number that does. Choices made on validation are held.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from kdpipe.errors import StoreError
from kdpipe.statistics import units
from kdpipe.statistics.components import Crossed, crossed
from kdpipe.statistics.intervals import FEWEST_SEEDS, Summary

# Of a run, by its name, which test images it gets wrong: (images,) bool, None where not known.
Wrong = Callable[[str], np.ndarray | None]


@dataclass(frozen=True)
class Second:
    """A mean difference over seeds and test images; without one `why` says what it lacks."""

    estimate: Crossed | None = None
    why: str = ""

    def facts(self, level: float) -> dict:
        """The interval and what it is made of in plain values, or why there is none."""
        one = self.estimate
        if one is None:
            return {"why": self.why}
        low, high = one.interval(level)
        parts = {" x ".join(factors): value for factors, value in one.components.items()}
        facts = {"low": low, "high": high, "level": level, "df": one.df, "levels": one.levels}
        return facts | {"components": parts}


class TracedError(float):
    """A test error, or a sum of errors, that knows its runs: `parts` are their weights by name.

    Its value is the weighted sum of their errors plus `constant`, which no image changes. Whatever
    is not linear in errors gives a plain float, which knows nothing.
    """

    __slots__ = ("constant", "parts")
    parts: dict[str, float]
    constant: float

    def __new__(cls, value: float, parts: dict[str, float], constant: float = 0.0):
        made = super().__new__(cls, value)
        made.parts = parts
        made.constant = constant
        return made

    def _plus(self, other: Any, sign: int) -> float:
        total = float(self) + sign * float(other)
        if not isinstance(other, TracedError):
            return TracedError(total, self.parts, self.constant) if other == 0 else total
        parts = dict(self.parts)
        for name, weight in other.parts.items():
            parts[name] = parts.get(name, 0.0) + sign * weight
        return TracedError(total, parts, self.constant + sign * other.constant)

    def _times(self, factor: float) -> "TracedError":
        parts = {name: factor * weight for name, weight in self.parts.items()}
        return TracedError(float(self) * factor, parts, self.constant * factor)

    def __add__(self, other):
        return self._plus(other, 1)

    __radd__ = __add__

    def __sub__(self, other):
        return self._plus(other, -1)

    def __rsub__(self, other):
        return self._times(-1)._plus(other, 1)

    def __neg__(self):
        return self._times(-1)

    def __mul__(self, other):
        known = isinstance(other, TracedError)
        return float(self) * float(other) if known else self._times(float(other))

    __rmul__ = __mul__

    def __truediv__(self, other):
        known = isinstance(other, TracedError)
        return float(self) / float(other) if known else self._times(1 / float(other))


def second(values: pd.Series, wrong: Wrong | None) -> Second:
    """The second estimate of the mean of a difference by seed, from the images of its runs.

    wrong: None where no images are known at all. Raises StoreError if the images disagree with the
    errors.
    """
    known = values.loc[values.notna()]
    rows = by_image(known, wrong)
    if isinstance(rows, str):
        return Second(why=rows)
    places = units.grid(pd.Series(range(len(rows)), index=known.index)).to_numpy(int)
    grid = rows[places]  # seeds, splits, images; what there is one of is no factor
    factors = zip(("seed", "split", "image"), grid.shape, strict=True)
    levels = {name: size for name, size in factors if size > 1}
    fewest = min(levels.get("split", FEWEST_SEEDS), grid.shape[0])
    if fewest < FEWEST_SEEDS:
        return Second(why=f"{FEWEST_SEEDS} seeds are needed, {fewest} are there")
    return Second(crossed(grid.reshape(tuple(levels.values())), *levels))


def wider(seeds: Summary, images: Second, level: float) -> tuple[float, float]:
    """Low and high of the wider one of the two intervals of a mean, which decides.

    seeds: its interval is that of the level; without a second one it is the only one.
    """
    if images.estimate is None:
        return seeds.low, seeds.high
    low, high = images.estimate.interval(level)
    return min(low, seeds.low), max(high, seeds.high)


def by_image(values: pd.Series, wrong: Wrong | None) -> np.ndarray | str:
    """(seeds, images): the difference on each image in points; or why there is none."""
    known = list(values)
    if not known:
        return "no seed has it"
    if not all(isinstance(value, TracedError) for value in known):
        return "not a sum of test errors"
    if wrong is None or all(wrong(name) is None for name in known[0].parts):
        return "the folder of results holds no outputs"
    grid = []
    for value in known:
        rows = {name: wrong(name) for name in value.parts}
        lacking = [name for name, row in rows.items() if row is None]
        if lacking:
            return f"no outputs of {lacking[0]}"
        total = sum(weight * rows[name] for name, weight in value.parts.items())  # type: ignore
        total = 100 * np.asarray(total, dtype=float) + value.constant
        if not math.isclose(total.mean(), value, abs_tol=1e-3):
            raise StoreError(
                f"the outcomes of {', '.join(rows)} are not those of their records (error "
                f"{total.mean():.4g}, {float(value):.4g}): restore both from one place"
            )
        grid.append(total)
    return np.stack(grid)
