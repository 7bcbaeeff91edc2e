"""What the features of students and teachers are worth on other data (Section 5.6)."""

import pandas as pd

from kdpipe.evidence.selections import groups, tidy, where
from kdpipe.report.rows import row, scratch_of
from kdpipe.report.table import HOW_TO_READ, Grid, Table, made


def transfer(frame: pd.DataFrame) -> Grid:
    probes = frame.loc[frame.kind == "probe"]
    rows = []
    for name, asked in groups(probes, "transfer", "data") if len(probes) else ():
        asked = tidy(asked.assign(kind=asked["of"]))
        scratch = scratch_of(asked)
        taught = where(asked, kind=["scratch", "student"])
        for key, cells in groups(taught, "student"):
            alone = where(cells, kind="scratch")
            rows.append(name | key | {"features": "scratch"} | _probed(alone))
            path = ("teacher", "stop", "via", "generation", "method")
            for arm, cell in groups(where(cells, kind="student"), *path):
                found = _probed(cell, vs_scratch=scratch[key["student"]])
                rows.append(name | key | {"features": "student"} | arm | found)
        for arm, cell in groups(where(asked, kind="teacher"), "teacher", "stop"):
            rows.append(name | {"features": "teacher"} | arm | _probed(cell))
    columns = "data features student teacher stop via generation method error vs_scratch own_error"
    caption = (
        f"{HOW_TO_READ} The errors are those of a linear classifier on the features of a finished "
        "network, on other data than it was trained on; its own is the network's on the study's "
        "data."
    )
    return made(caption, rows, columns, own_error="its own error")


def _probed(cell: pd.DataFrame, **against: pd.Series) -> dict:
    """The row of a probe; says how many of the chosen classifiers had not converged."""
    found = row(cell, ["own_error"], **against)
    short = cell.drop_duplicates("run").converged.astype(str).eq("False").sum()
    notes = [found["notes"], f"{short} classifiers had not converged" if short else ""]
    return found | {"notes": "; ".join(note for note in notes if note)}


TABLE = Table("Features on other data", 140, transfer, at_the_end=True)
