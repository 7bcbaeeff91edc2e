"""The statistics of one row of a table: means, intervals, paired differences, and what is missing.

Every number has its own column: `error`, `error_sd`, `error_low`, `error_high`, and for a
difference also its number of pairs and its mark; the differences of a table are then held together
(see differences). A cell without results keeps its row, with the
reason in its notes.
"""

from collections import Counter
from collections.abc import Sequence

import numpy as np
import pandas as pd

from kdpipe.evidence import selections
from kdpipe.evidence.selections import by_seed, notes
from kdpipe.statistics.intervals import Summary, choose, mark, summaries, summary
from kdpipe.statistics.ranks import ranks

PRICES = ("parameters", "multiply_adds", "train_macs", "teacher_macs", "teacher_parameters")


def row(cell: pd.DataFrame, measures: Sequence[str] = (), /, **against: pd.Series | None) -> dict:
    """All numbers of one cell: sizes, error, other measures, and differences of the error.

    measures: columns of the frame; against: a name for each difference and the errors by seed of
    its partner (None: there can be no partner).
    """
    done = selections.done(cell)
    sizes = np.fmax.reduce(cell[list(PRICES)].to_numpy(float), axis=0, initial=np.nan)
    found = dict(zip(PRICES, sizes.tolist(), strict=True))
    found |= estimate("teacher_error", selections.teacher_errors(cell))
    found |= _errors(selections.values(cell, "test_error", done), **against)
    if measures:
        several = cell[list(measures)].to_numpy(float)[done]
        of = cell.seed.to_numpy(float)[done]
        for column, s in zip(measures, summaries(several, of=of), strict=True):
            found |= _columns(column, s)
    return found | {"notes": notes(cell)}


def chosen_row(lengths: dict[str, pd.DataFrame], **against: pd.Series) -> dict:
    """The row of an early-stopped teacher at the length that the other seeds' validation chose."""
    validation = pd.DataFrame({stop: by_seed(c, "val_error") for stop, c in lengths.items()})
    test = pd.DataFrame({stop: by_seed(c) for stop, c in lengths.items()})
    chosen, errors = choose(validation, test)
    counts = Counter(chosen[seed] for seed in chosen.index)
    text = "; ".join(f"{stop} for {counts[stop]} seeds" for stop in lengths if stop in counts)
    return _errors(dict(zip(errors.index, errors, strict=True)), **against) | {
        "notes": "; ".join(filter(None, (text, first(validation))))
        or "nothing to choose by: fewer than two seeds with validation errors"
    }


def first(validation: pd.DataFrame) -> str:
    """How sure it is which of several options is the best: `kd first in 81 % of draws of ...`.

    validation: errors, (seeds, options). Empty for one option, or too few seeds to draw from.
    """
    found = ranks(validation)
    if len(found) < 2:
        return ""
    name, place = min(found.items(), key=lambda one: one[1].rank)
    known = place.best == place.best  # not nan
    return f"{name} first in {place.best:.0%} of draws of the seeds" if known else ""


def estimate(name: str, values: dict[float, float]) -> dict:
    """A mean over seeds with its spread and interval, as columns of that name."""
    return _columns(name, summary(values))


def difference(name: str, values: dict[float, float], partner: pd.Series | dict) -> dict:
    """values - partner, paired by seed, as columns of that name; marked by the 95 % interval.

    `<name>_values` has them by seed, until they are held together with the others of their table.
    """
    known = dict(partner.items())  # Series.to_dict would make plain floats of errors that know runs
    paired = {seed: values[seed] - known[seed] for seed in values if seed in known}
    s = summary(paired)
    found = {"n": s.n, "df": s.df, "mark": mark(s), "values": paired}
    return _columns(name, s) | {f"{name}_{part}": value for part, value in found.items()}


def scratch_of(frame: pd.DataFrame) -> dict[str, pd.Series]:
    """The errors by seed of the runs on labels alone, by student."""
    scratch = selections.where(frame, kind="scratch")
    found = {key["student"]: by_seed(cell) for key, cell in selections.groups(scratch, "student")}
    return dict.fromkeys(frame.student, pd.Series(dtype=float)) | found


def _errors(errors: dict[float, float], **against: pd.Series | None) -> dict:
    s = summary(errors)
    found = {"n": len(errors), **_columns("error", s), "error_median": s.median}
    for name, partner in against.items():
        if partner is not None:
            found |= difference(name, errors, partner)
    return found


def _columns(name: str, s: Summary) -> dict:
    return {name: s.mean, f"{name}_sd": s.sd, f"{name}_low": s.low, f"{name}_high": s.high}
