"""The differences of one table, held together: the interval and the mark of each.

The interval of each of m differences is that of 1 - 0.05 / m (Bonferroni) instead of 95 %, at one
of several looks what that leaves for it. It is the wider of two, as in claims and in the answer:
Student's t over seeds, and the one over seeds and test images where these are known. The same
difference is marked in the other reading too: of the very same runs, so that what was chosen in
the reading of the table stays chosen.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import pandas as pd

from kdpipe.evidence import reading
from kdpipe.results.readings import Reading, other
from kdpipe.statistics.intervals import mark, summary
from kdpipe.statistics.looks import ONLY, Look
from kdpipe.statistics.power import LEVEL
from kdpipe.statistics.traced import TracedError, Wrong, second, wider

AT: dict[Reading, str] = {"last": "last epoch", "best": "best epoch"}


@dataclass(frozen=True)
class Beside:
    """What is known beside a frame in a reading.

    wrong: the images that each run gets wrong, by reading; errors: those of each run in the other
    reading.
    """

    reading: Reading = "last"
    wrong: Mapping[Reading, Wrong] = field(default_factory=dict)
    errors: Mapping[str, float] = field(default_factory=dict)


NOTHING = Beside()


@dataclass(frozen=True)
class Held:
    """Rows whose differences hold together, and what a caption says of these.

    count: those that have an interval; seeds: those of them that have the one over seeds alone;
    differ: those whose mark is another one in the other reading.
    """

    rows: list[dict]
    count: int
    seeds: int
    differ: int


def beside(frame: pd.DataFrame, wrong: Mapping[Reading, Wrong] | None) -> Beside:
    """Of a frame in a reading, with the test errors of its runs in the other one."""
    column = reading.beside(frame)
    errors = zip(frame.run, frame[column], strict=True) if column in frame else ()
    return Beside(reading.of(frame), wrong or {}, dict(errors))


def together(rows: list[dict], look: Look = ONLY, known: Beside = NOTHING) -> Held:
    """Hold the differences of rows together; those without an interval do not count.

    A row that says with how many it is `compared` is held with these alone. The mark in the other
    reading is `<name>_mark_at_<reading>`.
    """
    names = [[key.removesuffix("_mark") for key in row if key.endswith("_mark")] for row in rows]
    lows = [row[f"{name}_low"] for row, of in zip(rows, names, strict=True) for name in of]
    count = sum(low == low for low in lows)  # not nan
    made, seeds, differ = [], 0, 0
    for row, of in zip(rows, names, strict=True):
        found = {key: value for key, value in row.items() if not key.endswith("_values")}
        level = 1 - 2 * look.level(LEVEL / 2 / max(1, row.get("compared", count)))
        for name in (name for name in of if row[f"{name}_low"] == row[f"{name}_low"]):
            parts = _held(row[f"{name}_values"], level, known)
            found |= {f"{name}_{part}": value for part, value in parts.items()}
            seeds += "images_low" not in parts
            differ += said(found, name) != found[f"{name}_mark"]
        made.append(found)
    return Held(made, count, seeds, differ)


def said(row: dict, name: str) -> str:
    """The mark of a difference, and in brackets that of the other reading if it is another."""
    here = row[f"{name}_mark"]
    others = {at: row.get(f"{name}_mark_at_{reading}") for reading, at in AT.items()}
    differs = [f" ({at}: {mark})" for at, mark in others.items() if mark not in (None, here)]
    return here + "".join(differs)


def _held(values: dict[float, float], level: float, known: Beside) -> dict:
    """Interval, mark, the second interval if there is one, and the mark in the other reading."""
    here = known.reading
    s, images = summary(values, level), second(_series(values), known.wrong.get(here))
    low, high = wider(s, images, level)
    parts = {"low": low, "high": high, "mark": mark(replace(s, low=low, high=high))}
    if images.estimate is not None:
        both = images.estimate.interval(level)
        parts |= {"images_low": both[0], "images_high": both[1]}
    if there := _there(values, known):
        parts[f"mark_at_{other(here)}"] = _mark(there, level, known.wrong.get(other(here)))
    return parts


def _mark(values: dict[float, float], level: float, wrong: Wrong | None) -> str:
    s = summary(values, level)
    if (found := mark(s)) in ("better", "worse"):  # else the wider one says no more
        low, high = wider(s, second(_series(values), wrong), level)
        found = mark(replace(s, low=low, high=high))
    return found


def _there(values: dict[float, float], known: Beside) -> dict[float, float] | None:
    """The same difference in the other reading; None if a run of it has no error there."""
    found = {}
    for seed, value in values.items():
        if not isinstance(value, TracedError):
            return None
        error = sum(weight * known.errors.get(run, math.nan) for run, weight in value.parts.items())
        if error != error:
            return None
        found[seed] = TracedError(error + value.constant, value.parts, value.constant)
    return found


def _series(values: dict[float, float]) -> pd.Series:
    return pd.Series(list(values.values()), list(values), dtype=object)
