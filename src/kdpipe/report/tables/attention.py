"""The table of attention transfer: alone and with KD, beside full KD, from the same teachers.

The paper asks whether an early-stopped teacher helps attention transfer (AT) too. Whether its AT
runs also carried KD is not known, so both stand here, each against the full teacher and against
full KD from the very same teacher.
"""

import pandas as pd

from kdpipe.evidence.choices import method_of
from kdpipe.evidence.selections import by_seed, direct, groups, tidy, where
from kdpipe.evidence.verdicts import Untested
from kdpipe.report.rows import row, scratch_of
from kdpipe.report.table import HOW_TO_READ, Grid, Table, made

ORDER = ("kd", "eskd", "at", "at+kd", "at, stopped", "at+kd, stopped")


def attention(frame: pd.DataFrame) -> Grid:
    """Pairs of student and teacher that attention transfer was tried on, by stop and method."""
    frame = tidy(frame)
    scratch = scratch_of(frame)
    taught = direct(frame)
    try:
        kd = method_of(taught, "kd")
    except Untested:
        kd = ""  # no full KD in this study
    tried = taught.loc[taught.method_kind.str.contains(r"(?:^|\+)at(?:\+|,|$)")]
    order = {kind: i for i, kind in enumerate(ORDER)}
    rows = []
    for key, cells in groups(tried, "student", "teacher"):
        pair = where(taught, **key)
        for stop, here in groups(where(pair, stop=list(cells.stop.unique())), "stop"):
            plain = by_seed(where(here, method=kd))
            here = here.sort_values(
                "method_kind", key=lambda kinds: kinds.map(order), kind="stable"
            )
            for arm, cell in groups(here, "method_kind", "method"):
                against = {"vs_scratch": scratch[key["student"]]}
                if stop["stop"] != "full":
                    full = where(pair, stop="full", method=arm["method"])
                    against["vs_full"] = by_seed(full)
                if arm["method"] != kd:
                    against["vs_full_kd"] = plain
                rows.append(key | stop | arm | row(cell, **against))
    columns = "student teacher stop method teacher_error error vs_full vs_full_kd vs_scratch"
    caption = (
        f"{HOW_TO_READ} AT: attention transfer alone; AT + KD: both terms. Against full KD: "
        f"against {kd or 'none here'}, from the same teacher at the same stop."
    )
    return made(caption, rows, columns)


TABLE = Table("Attention transfer", 70, attention)
