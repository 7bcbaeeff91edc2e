"""What unlabelled images add: each method with some in every batch, and without any."""

import pandas as pd

from kdpipe.analysis.dataframe import (
    get_series_by_seed,
    group_rows,
    list_weight_columns,
    normalize_frame,
    select_direct_students,
)
from kdpipe.analysis.eval_point import get_other_error_column
from kdpipe.report.table import (
    HOW_TO_READ,
    TableData,
    TableSpec,
    build_table_data,
    get_scratch_errors,
    summarize_cell,
)


def build_unlabelled_table(frame: pd.DataFrame) -> TableData:
    """Build a row for each method that is also trained with unlabelled images, and for these."""
    frame = normalize_frame(frame)
    if "unlabelled" not in frame:
        frame = frame.assign(unlabelled=0.0, unlabelled_images=0.0)
    frame["unlabelled"] = frame.unlabelled.fillna(0)
    scratch = get_scratch_errors(frame)
    measures = [get_other_error_column(frame), "test_kd_error"]
    alike = ("temperature", *list_weight_columns(frame), "kd_epochs", "ce_weight_after_stop")
    rows = []
    for key, cells in group_rows(
        select_direct_students(frame), "student", "teacher", "stop", *alike
    ):
        without = cells.loc[cells.unlabelled == 0]
        with_unlabelled = cells.loc[cells.unlabelled > 0].sort_values("unlabelled", kind="stable")
        if with_unlabelled.empty:
            continue
        partners: dict[str, pd.Series] = {"vs_scratch": scratch[key["student"]]}
        for arm, cell in group_rows(without, "method", "method_kind", "unlabelled"):
            rows.append(key | arm | _summarize_with_operations(cell, measures, partners))
        if len(without):
            partners["vs_without"] = get_series_by_seed(without)
        for arm, cell in group_rows(
            with_unlabelled, "method", "method_kind", "unlabelled", "unlabelled_images"
        ):
            rows.append(key | arm | _summarize_with_operations(cell, measures, partners))
    columns = (
        f"student teacher stop method unlabelled unlabelled_images error {measures[0]} "
        "vs_without vs_scratch test_kd_error operations"
    )
    caption = (
        f"{HOW_TO_READ} Methods with unlabelled images against the same ones without, at equal "
        "steps; their batches are larger by so many images, of which cross-entropy sees none, and "
        "so are their operations: multiply-adds of a run with what its teacher answers. KD error: "
        "in how many points a student disagrees with its teacher."
    )
    return build_table_data(
        caption,
        rows,
        columns,
        unlabelled="unlabelled beside a batch",
        unlabelled_images="unlabelled in all",
        vs_without="against without",
        test_kd_error="KD error, test",
        operations="operations to train",
    )


def _summarize_with_operations(
    cell: pd.DataFrame, measures: list[str], partners: dict[str, pd.Series]
) -> dict:
    """Return the numbers of one cell, and the operations of a run with its teacher."""
    fields = summarize_cell(cell, measures, **partners)
    return fields | {"operations": fields["train_macs"] + fields["teacher_macs"]}


TABLE = TableSpec("With and without unlabelled images", 66, build_unlabelled_table)
