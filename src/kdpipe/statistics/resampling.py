"""A second interval of a difference of errors: seeds and test images are resampled.

The t interval over seeds holds for this test set; this one also asks what another draw of test
images would have given. Seeds and images are crossed (every run answers the same images), so both
are drawn with replacement, independently (the pigeonhole bootstrap; Owen, 2007), and an interval
holds the percentiles of the means. It is made from the single images that a run gets wrong, so a
difference has to know which runs it is made of: a `TracedError` is a number that does. Choices
made on validation are held. With few seeds percentiles are narrow: it stands beside the t interval
and decides nothing.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from kdpipe.errors import StoreError

RESAMPLES = 5_000
FEWEST = 5  # seeds: of four there are only 35 different resamples
SEED = 0  # of the resampling: a report rendered again is the same

# Of a run, by its name, which test images it gets wrong: (images,) bool, None where not known.
Wrong = Callable[[str], np.ndarray | None]


@dataclass(frozen=True)
class Resampled:
    """An interval in points, or `why` there is none (low and high are then nan)."""

    low: float = math.nan
    high: float = math.nan
    level: float = 0.95
    seeds: int = 0
    images: int = 0
    resamples: int = 0
    why: str = ""


class TracedError(float):
    """A test error, or a sum of errors, that knows its runs: `parts` are their weights by name.

    Whatever is not linear in errors gives a plain float, which knows nothing.
    """

    __slots__ = ("parts",)
    parts: dict[str, float]

    def __new__(cls, value: float, parts: dict[str, float]):
        made = super().__new__(cls, value)
        made.parts = parts
        return made

    def _plus(self, other: Any, sign: int) -> float:
        total = float(self) + sign * float(other)
        if not isinstance(other, TracedError):
            return TracedError(total, self.parts) if other == 0 else total
        parts = dict(self.parts)
        for name, weight in other.parts.items():
            parts[name] = parts.get(name, 0.0) + sign * weight
        return TracedError(total, parts)

    def _times(self, factor: float) -> "TracedError":
        parts = {name: factor * weight for name, weight in self.parts.items()}
        return TracedError(float(self) * factor, parts)

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


def intervals(
    differences: Sequence[tuple[pd.Series, float]],
    wrong: Wrong | None,
    resamples: int = RESAMPLES,
) -> list[Resampled]:
    """The second interval of each (difference by seed, level), all on the same resamples.

    wrong: None where no images are known at all. A difference without an interval says why.
    Raises StoreError if the images disagree with the errors.
    """
    made = [_by_image(values, wrong) for values, _ in differences]
    grids = [grid for grid in made if not isinstance(grid, str)]
    if not grids:
        return [Resampled(why=str(why)) for why in made]
    random = np.random.default_rng(SEED)
    means = _over_images(np.concatenate(grids), resamples, random)
    drawn: dict[int, np.ndarray] = {}  # one draw of seeds for every difference of as many
    found, first = [], 0
    for grid, (_, level) in zip(made, differences, strict=True):
        if isinstance(grid, str):
            found.append(Resampled(why=grid))
            continue
        seeds, images = grid.shape
        if seeds not in drawn:
            drawn[seeds] = random.multinomial(seeds, [1 / seeds] * seeds, size=resamples) / seeds
        draws = np.einsum("bs,sb->b", drawn[seeds], means[first : first + seeds])
        first += seeds
        low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
        low, high = round(float(low), 6), round(float(high), 6)
        found.append(Resampled(low, high, level, seeds, images, resamples))
    return found


def _by_image(values: pd.Series, wrong: Wrong | None) -> np.ndarray | str:
    """(seeds, images): the difference on each image in points; or why there is none."""
    known = [value for value in values if value == value]  # not nan
    if not known:
        return "no seed has it"
    if not all(isinstance(value, TracedError) for value in known):
        return "not a sum of test errors"
    if wrong is None or all(wrong(name) is None for name in known[0].parts):
        return "the folder of results holds no outputs"
    if len(known) < FEWEST:
        return f"{FEWEST} seeds are needed, {len(known)} are there"
    grid = []
    for value in known:
        rows = {name: wrong(name) for name in value.parts}
        lacking = [name for name, row in rows.items() if row is None]
        if lacking:
            return f"no outputs of {lacking[0]}"
        total = sum(weight * rows[name] for name, weight in value.parts.items())  # type: ignore
        total = 100 * np.asarray(total, dtype=np.float32)
        if not math.isclose(total.mean(dtype=float), value, abs_tol=1e-3):
            raise StoreError(
                f"the outcomes of {', '.join(rows)} are not those of their records (error "
                f"{total.mean(dtype=float):.4g}, {float(value):.4g}): restore both from one place"
            )
        grid.append(total)
    return np.stack(grid)


def _over_images(grid: np.ndarray, resamples: int, random: np.random.Generator) -> np.ndarray:
    """(rows, resamples): the mean of each row over one draw of images after another."""
    images = grid.shape[1]
    means = np.empty((len(grid), resamples))
    at_a_time = max(1, min(resamples, 4_000_000 // images))
    for start in range(0, resamples, at_a_time):
        count = min(at_a_time, resamples - start)
        picks = random.integers(images, size=(count, images))
        picks += images * np.arange(count)[:, None]
        counts = np.bincount(picks.ravel(), minlength=count * images).reshape(count, images)
        means[:, start : start + count] = grid @ counts.T.astype(np.float32) / images
    return means
