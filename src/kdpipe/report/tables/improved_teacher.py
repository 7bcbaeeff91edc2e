"""Students of a teacher that was itself distilled, beside those of its plain network."""

import pandas as pd

from kdpipe.evidence.selections import (
    by_seed,
    direct,
    groups,
    networks,
    teacher_errors,
    tidy,
    where,
)
from kdpipe.report.rows import difference, row, scratch_of
from kdpipe.report.table import HOW_TO_READ, Grid, Table, made


def improved_teacher(frame: pd.DataFrame) -> Grid:
    frame = tidy(frame)
    scratch = scratch_of(frame)
    taught = where(direct(frame), stop_kind="full")
    taught = taught.loc[taught.teacher_network != ""]  # an ensemble is no network
    labels_alone = networks(taught)
    improved = taught.drop(labels_alone.index)
    rows = []
    for key, cells in groups(improved, "student", "method", "teacher_network"):
        base = scratch[key["student"]]
        plain = where(labels_alone, **key)
        label = plain.teacher.iloc[0] if len(plain) else key["teacher_network"]
        plain = where(plain, teacher=label)
        rows.append(key | {"teacher": label} | row(plain, vs_scratch=base))
        for name, cell in groups(cells, "teacher"):
            found = row(cell, vs_scratch=base, vs_plain=by_seed(plain))
            found |= difference("teacher_vs_plain", teacher_errors(cell), teacher_errors(plain))
            rows.append(key | name | found)
    columns = (
        "student method teacher teacher_network teacher_error teacher_vs_plain error vs_plain "
        "vs_scratch"
    )
    return made(
        HOW_TO_READ,
        rows,
        columns,
        teacher_network="its network",
        teacher_vs_plain="teacher against the plain one",
    )


TABLE = Table("Improved teachers", 100, improved_teacher)
