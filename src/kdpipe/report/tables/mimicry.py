"""How far students stay from their fully trained teachers (Table 2)."""

import pandas as pd

from kdpipe.analysis.dataframe import (
    filter_rows,
    group_rows,
    normalize_frame,
    select_direct_students,
)
from kdpipe.report.table import (
    TableData,
    TableSpec,
    build_table_data,
    get_scratch_errors,
    summarize_cell,
)

_SPLITS = ("train", "test")


def build_mimicry_table(frame: pd.DataFrame) -> TableData:
    """Build a row for each method and full teacher of a student."""
    frame = normalize_frame(frame)
    scratch = get_scratch_errors(frame)
    students = filter_rows(select_direct_students(frame), stop_kind="full").sort_values(
        ["student_rank", "student", "method"], kind="stable"
    )
    measures = [f"{s}_{loss}" for loss in ("kd_error", "kl", "cross_entropy") for s in _SPLITS]
    rows = []
    for key, cell in group_rows(
        students, "student", "method", "method_kind", "temperature", "teacher"
    ):
        rows.append(key | summarize_cell(cell, measures, vs_scratch=scratch[key["student"]]))
    columns = f"student method teacher {' '.join(measures)} error vs_scratch"
    caption = (
        "KD error: points of images that student and teacher classify differently. KL and "
        "cross-entropy to the teacher carry T^2, in nat: compare them at one temperature only."
    )
    return build_table_data(
        caption,
        rows,
        columns,
        train_kd_error="KD error, train",
        test_kd_error="KD error, test",
    )


TABLE = TableSpec("Mimicry of the teacher", 20, build_mimicry_table)
