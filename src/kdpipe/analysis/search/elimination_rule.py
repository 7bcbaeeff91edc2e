"""The rule by which a search drops cells: numbers in, survivors out. It knows of no study.

Chosen by evidence: benchmarks/search.py replays it, and its alternatives, on full grids and on
simulated ones (the table is in benchmarks/search.md). A change of it raises REVISION.

Before any student is trained, all but the third of the teachers' stops with the lowest negative
log-likelihood (NLL) on validation are set aside. That good teachers have good students is an
assumption, so it is tested: of the stops set aside the middle and the last one have their first
cell trained all the same, and if over all stops that were seen the NLL and the error of the first
cell do not rise together (Spearman's rank correlation), nothing stays set aside. After each seed
the best half of the cells goes on, by the mean of their validation errors: all that compete were
seen with the same seeds. Until revision 2 two fifths went on; a search that was begun by it keeps
it (`rule: 2` in its study).
"""

import math
from collections.abc import Hashable, Mapping, Sequence
from fractions import Fraction
from typing import NamedTuple, TypeVar

REVISION = 3
STOP_SHARE = 1 / 3  # of the teachers' stops, that teach before it is known how well
MIN_STOPS = 4  # of fewer none is set aside
MIN_CORRELATION = 0.5  # the least rank correlation with which stops stay set aside
SURVIVOR_SHARES = {2: Fraction(2, 5), 3: Fraction(1, 2)}  # of the cells, by revision

Key = TypeVar("Key", bound=Hashable)


class StopScreening(NamedTuple):
    """Stops of teachers, by ascending NLL.

    Attributes
    ----------
    selected : list
        Stops that teach at first.
    probed : list
        Stops set aside of which one cell is trained to test the assumption.
    set_aside : list
        The other stops.
    """

    selected: list
    probed: list  # set aside, and one cell of each is trained to test that
    set_aside: list  # the rest


def screen_stops(nll: Mapping[Key, float], share: float = STOP_SHARE) -> StopScreening:
    """Select the stops that teach at first.

    Parameters
    ----------
    nll : mapping
        NLL of each stop on validation; infinite if it diverged.
    share : float
        Share of the stops to select.

    Returns
    -------
    StopScreening
        All stops, if there are fewer than `MIN_STOPS`.
    """
    order = sorted(nll, key=nll.__getitem__)  # stable: as the study has them
    if len(order) < MIN_STOPS:
        return StopScreening(order, [], [])
    count = math.ceil(len(order) * share)
    rest = order[count:]
    probed = list(dict.fromkeys([rest[(len(rest) - 1) // 2], rest[-1]]))
    return StopScreening(order[:count], probed, [stop for stop in rest if stop not in probed])


def compute_rank_correlation(nll: Sequence[float], errors: Sequence[float]) -> float:
    """Compute Spearman's rank correlation of teachers' NLL and their students' errors.

    Parameters
    ----------
    nll, errors : sequence of float
        One value for each stop.

    Returns
    -------
    float
        Rounded to nine digits; nan if it is undefined.
    """
    if len(nll) < 3 or len(set(nll)) < 2 or len(set(errors)) < 2:
        return math.nan
    import numpy as np  # only where there is a search
    from scipy import stats

    # Rounded: of a sum of floats the last digits differ from machine to machine.
    return round(float(np.corrcoef(stats.rankdata(nll), stats.rankdata(errors))[0, 1]), 9)


def is_assumption_met(rank_correlation: float) -> bool:
    """Return whether good teachers have good students, as far as was seen.

    Parameters
    ----------
    rank_correlation : float
        As `compute_rank_correlation` gives it.

    Returns
    -------
    bool
        False if it is undefined.
    """
    return rank_correlation >= MIN_CORRELATION


def get_revision(rule: int | None) -> int:
    """Return the revision of the rule that a study asks for; without one it is the newest."""
    return REVISION if rule is None else rule


def select_survivors(
    means: Mapping[Key, float], maximum: int | None = None, revision: int = REVISION
) -> list[Key]:
    """Select who goes on after a seed.

    Parameters
    ----------
    means : mapping
        Mean error of each cell over the seeds seen.
    maximum : int, optional
        Number of cells that the budget pays for.
    revision : int
        Revision of the rule.

    Returns
    -------
    list
        Survivors, best first; one at least.
    """
    count = count_survivors(len(means), revision)
    return sort_by_mean(means)[: count if maximum is None else max(1, min(count, maximum))]


def sort_by_mean(means: Mapping[Key, float]) -> list[Key]:
    """Sort cells by their mean error.

    Parameters
    ----------
    means : mapping
        Mean error of each cell.

    Returns
    -------
    list
        Cells, lowest error first; ties in the order of the study.
    """
    return sorted(means, key=means.__getitem__)


def count_survivors(cells: int, revision: int = REVISION) -> int:
    """Count how many cells go on after a seed.

    Parameters
    ----------
    cells : int
        Cells that compete.
    revision : int
        Revision of the rule.

    Returns
    -------
    int
        Survivors.
    """
    return math.ceil(cells * SURVIVOR_SHARES[revision])
