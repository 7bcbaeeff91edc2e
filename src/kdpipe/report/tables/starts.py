"""What weights to begin from add: networks that do, and the same ones that begin at random."""

import pandas as pd

from kdpipe.evidence.reading import beside
from kdpipe.evidence.selections import by_seed, direct, groups, tidy, where
from kdpipe.report.rows import row, scratch_of
from kdpipe.report.table import HOW_TO_READ, Grid, Table, made

PATH = ("teacher", "stop", "method", "method_kind")


def starts(frame: pd.DataFrame) -> Grid:
    """On labels alone, and taught by the same teacher with the same method."""
    frame = tidy(frame)
    if "network" not in frame:
        frame = frame.assign(network=float("nan"))
    scratch, measures = scratch_of(frame), [beside(frame)]
    alone, taught = where(frame, kind="scratch"), direct(frame)
    rows = []
    begun = frame.loc[frame.network.notna()].drop_duplicates("student")
    for network, names in groups(begun.sort_values("student", kind="stable"), "network"):
        base = network["network"]
        for student in [base, *names.student]:
            begins = "at random" if student == base else "from weights"
            one = {"student": student, "begins": begins}
            random = {} if student == base else {"vs_random": scratch.get(base)}
            if len(cell := where(alone, student=student)):
                rows.append(one | {"method": "scratch"} | row(cell, measures, **random))
            for path, cell in groups(where(taught, student=student), *PATH):
                against = {"vs_scratch": scratch[student]}
                same = where(taught, student=base, **path)
                if student != base and len(same):
                    against["vs_random"] = by_seed(same)
                rows.append(one | path | row(cell, measures, **against))
    columns = (
        f"student begins teacher stop method error {beside(frame)} vs_random vs_scratch parameters"
    )
    caption = (
        f"{HOW_TO_READ} Networks that begin from weights, on labels (scratch) and taught, against "
        "the same network that begins at random and is trained in the same way; and what is taught "
        "against its own scratch run, which begins as it does."
    )
    return made(caption, rows, columns, begins="begins", vs_random="against at random")


TABLE = Table("From weights and at random", 67, starts)
