"""The statistics of one row of a table: means, intervals, paired differences, and what is missing.

Every number has its own column: `error`, `error_sd`, `error_low`, `error_high`, and for a
difference also its number of pairs and its mark. A cell without results keeps its row, with the
reason in its notes.
"""

from collections import Counter
from collections.abc import Sequence

import numpy as np
import pandas as pd

from kdpipe.evidence import selections
from kdpipe.evidence.selections import by_seed, notes
from kdpipe.statistics.intervals import Summary, choose, mark, summaries, summary, word
from kdpipe.statistics.looks import ONLY, Look
from kdpipe.statistics.power import LEVEL
from kdpipe.statistics.ranks import ranks
from kdpipe.statistics.student import quantile

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
    first = min(ranks(validation).items(), key=lambda one: one[1].rank, default=None)
    if first and len(lengths) > 1 and first[1].best == first[1].best:  # not nan
        text += f"; {first[0]} first in {first[1].best:.0%} of draws of the seeds"
    return _errors(errors.to_dict(), **against) | {
        "notes": text or "nothing to choose by: fewer than two seeds with validation errors"
    }


def estimate(name: str, values: dict[float, float]) -> dict:
    """A mean over seeds with its spread and interval, as columns of that name."""
    return _columns(name, summary(values))


def difference(name: str, values: dict[float, float], partner: pd.Series | dict) -> dict:
    """values - partner, paired by seed, as columns of that name; marked by the 95 % interval."""
    known = partner.to_dict() if isinstance(partner, pd.Series) else partner
    s = summary({seed: values[seed] - known[seed] for seed in values if seed in known})
    return _columns(name, s) | {f"{name}_n": s.n, f"{name}_df": s.df, f"{name}_mark": mark(s)}


def together(rows: list[dict], look: Look = ONLY) -> tuple[list[dict], int]:
    """Rows whose differences hold together, and how many these are.

    The interval of each of m differences is that of 1 - 0.05 / m (Bonferroni) instead of 95 %, at
    one of several looks what that leaves for it, and its mark is by that; those that have no
    interval do not count. A row that says with how many it is `compared` is held with these alone.
    """
    names = [[key.removesuffix("_mark") for key in row if key.endswith("_mark")] for row in rows]
    lows = [row[f"{name}_low"] for row, of in zip(rows, names, strict=True) for name in of]
    count = sum(low == low for low in lows)  # not nan
    made = []
    for row, of in zip(rows, names, strict=True):
        wider = {}
        for name in of:
            mean, low, df = (row[f"{name}{part}"] for part in ("", "_low", "_df"))
            if low == low:  # not nan
                error = look.level(LEVEL / 2 / row.get("compared", count))
                half = (mean - low) * quantile(1 - error, df) / quantile(0.975, df)
                low, high = mean - half, mean + half
                wider |= {f"{name}_low": low, f"{name}_high": high, f"{name}_mark": word(low, high)}
        made.append(row | wider)
    return made, count


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
