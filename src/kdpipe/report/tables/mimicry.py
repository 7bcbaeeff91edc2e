"""How far students stay from their fully trained teachers (Table 2)."""

import pandas as pd

from kdpipe.evidence.selections import direct, groups, tidy, where
from kdpipe.report.rows import row, scratch_of
from kdpipe.report.table import Grid, Table, made

_ENDS = ("train", "test")


def mimicry(frame: pd.DataFrame) -> Grid:
    frame = tidy(frame)
    scratch = scratch_of(frame)
    taught = where(direct(frame), stop_kind="full").sort_values(
        ["student_rank", "student", "method"], kind="stable"
    )
    measures = [f"{s}_{loss}" for loss in ("kd_error", "kl", "cross_entropy") for s in _ENDS]
    rows = []
    for key, cell in groups(taught, "student", "method", "method_kind", "temperature", "teacher"):
        rows.append(key | row(cell, measures, vs_scratch=scratch[key["student"]]))
    columns = f"student method teacher {' '.join(measures)} error vs_scratch"
    caption = (
        "KD error: points of images that student and teacher classify differently. KL and "
        "cross-entropy to the teacher carry T^2, in nat: compare them at one temperature only."
    )
    return made(
        caption,
        rows,
        columns,
        train_kd_error="KD error, train",
        test_kd_error="KD error, test",
    )


TABLE = Table("Mimicry of the teacher", 20, mimicry)
