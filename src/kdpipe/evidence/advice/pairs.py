"""A or B: teacher against teacher, stop against stop, method against method, for one student.

Two teachers are compared over the cells that agree in everything else (stop, method, ...): the
difference of a seed is the mean over these of error(A) - error(B), so negative is for A. Untrained
teachers are controls: a stop to be compared with, and in no other question. All pairs of one
student and question hold together (Bonferroni over their number) at all looks, and the wider of the
two intervals gives the mark. Where there are more than `MOST` pairs each of the others stands
against the one with the lowest validation error over the cells that it shares with them.
"""

from dataclasses import dataclass
from itertools import combinations
from statistics import mean

import pandas as pd

from kdpipe.evidence.advice.answer import OPTION, Gain, ends, together
from kdpipe.evidence.selections import UNTRAINED, groups, tidy, traced, where, wide
from kdpipe.statistics.intervals import mark, summary
from kdpipe.statistics.looks import ONLY, Look
from kdpipe.statistics.ranks import Rank, ranks
from kdpipe.statistics.traced import Wrong

MOST = 15  # pairs: of six


@dataclass(frozen=True)
class Pair:
    """Two levels of one factor; `cells`: how many were compared. `gain`: A less B."""

    student: str
    factor: str  # teacher, stop or method
    a: str
    b: str
    cells: int
    gain: Gain
    of: int  # pairs that hold together with it
    place: Rank | None = None  # of b on validation, where it is what all others stand against


def pairs(frame: pd.DataFrame, wrong: Wrong | None = None, look: Look = ONLY) -> list[Pair]:
    """Every question of A or B that the taught students of a study can answer, by student."""
    taught = where(ends(traced(tidy(frame)), controls=True), status="done")
    found = []
    for key, rows in groups(taught, "student"):
        knowing = rows.loc[rows.stop != UNTRAINED]  # the others are controls
        for factor in ("teacher", "stop", "method"):
            asked = rows if factor == "stop" else knowing
            found += _of(key["student"], factor, asked, wrong, look)
    return found


def _of(
    student: str, factor: str, rows: pd.DataFrame, wrong: Wrong | None, look: Look
) -> list[Pair]:
    rest = [name for name in OPTION if name != factor]
    test, validation = wide(rows, factor, *rest), wide(rows, factor, *rest, column="val_error")
    levels = list(dict.fromkeys(key[0] for key in test.columns))
    known = {level: {key[1:] for key in test.columns if key[0] == level} for level in levels}
    place = None
    every = [(a, b) for a, b in combinations(levels, 2) if known[a] & known[b]]
    if len(every) > MOST:
        best = _best(levels, known, validation)
        place = ranks(_relative(levels, known, validation)).get(best)
        asked = [(level, best) for level in levels if level != best and known[level] & known[best]]
    else:
        asked = every
    made, cells = [], []
    for a, b in asked:
        values, count = _difference(test, a, b, [k for k in test.columns if k[0] == a])
        if len(values):
            s = summary(values)
            made.append(Gain(f"{a} against {b}", s, mark(s), values))
            cells.append((a, b, count))
    held = together(made, wrong, look, of=len(every))
    return [
        Pair(student, factor, a, b, count, gain, len(every), place)
        for (a, b, count), gain in zip(cells, held, strict=True)
    ]


def _difference(test: pd.DataFrame, a: str, b: str, columns: list[tuple]) -> tuple[pd.Series, int]:
    """A - B by seed, the mean over the cells that both have; only seeds that have them all."""
    shared = [key for key in columns if (b, *key[1:]) in test.columns]
    total = sum(test[key] - test[(b, *key[1:])] for key in shared)
    assert isinstance(total, pd.Series)
    values = total.dropna()
    return pd.Series([one / len(shared) for one in values], values.index, dtype=object), len(shared)


def _best(levels: list[str], known: dict[str, set], validation: pd.DataFrame) -> str:
    """The level with the lowest mean validation error, relative to the cells that it is in."""
    means = {key: float(validation[key].mean()) for key in validation.columns}  # of what is there
    of_cell: dict[tuple, list[float]] = {}
    for key, error in means.items():
        of_cell.setdefault(key[1:], []).append(error)
    apart = {
        level: mean(means[(level, *cell)] - mean(of_cell[cell]) for cell in known[level])
        for level in levels
    }
    return min(levels, key=lambda level: (apart[level] != apart[level], apart[level]))


def _relative(levels: list[str], known: dict[str, set], validation: pd.DataFrame) -> pd.DataFrame:
    """(seeds, levels): the same for each seed."""
    of_cell = {
        cell: validation[[key for key in validation.columns if key[1:] == cell]].mean(axis=1)
        for cell in {key[1:] for key in validation.columns}
    }
    return pd.DataFrame(
        {
            level: sum(validation[(level, *cell)] - of_cell[cell] for cell in known[level])
            / len(known[level])
            for level in levels
        }
    )
