"""The rule by which a search drops cells: numbers in, who goes on out. No study in it.

Chosen by evidence: benchmarks/search.py replays it, and what it was chosen over, on full grids and
on simulated ones (the table is in benchmarks/search.md). A change of it raises REVISION.

Before any student is trained, all but the third of the teachers' stops with the lowest negative
log-likelihood (NLL) on validation are set aside. That good teachers have good students is an
assumption, so it is tested: of the stops set aside the middle and the last one have their first
cell trained all the same, and where over all stops that were seen the NLL and the error of the
first cell do not rise together (Spearman's rank correlation), nothing stays set aside. After each
seed the best two fifths of the cells go on, by the mean of their validation errors: all that
compete were seen with the same seeds.
"""

import math
from collections.abc import Hashable, Mapping, Sequence
from fractions import Fraction
from typing import NamedTuple, TypeVar

REVISION = 2
STOPS = 1 / 3  # of the teachers' stops, that teach before it is known how well
FEWEST_STOPS = 4  # of fewer none is set aside
HOLDS = 0.5  # the least rank correlation with which stops stay set aside
CELLS = Fraction(2, 5)  # of the cells, that go on after a seed

Key = TypeVar("Key", bound=Hashable)


class Cut(NamedTuple):
    """Stops by their NLL, lowest first."""

    kept: list
    probed: list  # set aside, and one cell of each is trained to test that
    aside: list  # the rest


def cut(nll: Mapping[Key, float], share: float = STOPS) -> Cut:
    """Which stops teach at first. nll: of each on validation; inf of one that diverged."""
    order = sorted(nll, key=nll.__getitem__)  # stable: as the study has them
    if len(order) < FEWEST_STOPS:
        return Cut(order, [], [])
    count = math.ceil(len(order) * share)
    rest = order[count:]
    probed = list(dict.fromkeys([rest[(len(rest) - 1) // 2], rest[-1]]))
    return Cut(order[:count], probed, [stop for stop in rest if stop not in probed])


def correlation(nll: Sequence[float], errors: Sequence[float]) -> float:
    """Spearman's rank correlation of teachers' NLL and their students' errors; nan if undefined."""
    if len(nll) < 3 or len(set(nll)) < 2 or len(set(errors)) < 2:
        return math.nan
    import numpy as np  # only where there is a search
    from scipy import stats

    # Rounded: of a sum of floats the last digits differ from machine to machine.
    return round(float(np.corrcoef(stats.rankdata(nll), stats.rankdata(errors))[0, 1]), 9)


def holds(rank_correlation: float) -> bool:
    """Whether good teachers have good students, as far as was seen."""
    return rank_correlation >= HOLDS


def best(means: Mapping[Key, float], most: int | None = None) -> list[Key]:
    """Who goes on, best first. means: errors over the seeds seen; most: what can be paid for."""
    count = going_on(len(means))
    return ordered(means)[: count if most is None else max(1, min(count, most))]


def ordered(means: Mapping[Key, float]) -> list[Key]:
    """By their mean error, lowest first; equal ones as the study has them."""
    return sorted(means, key=means.__getitem__)


def going_on(cells: int) -> int:
    """How many of so many cells go on after a seed."""
    return math.ceil(cells * CELLS)
