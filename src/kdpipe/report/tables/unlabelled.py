"""What images without labels add: each method with some beside every batch, and without any."""

import pandas as pd

from kdpipe.evidence.reading import beside
from kdpipe.evidence.selections import by_seed, direct, groups, tidy, weights
from kdpipe.report.rows import row, scratch_of
from kdpipe.report.table import HOW_TO_READ, Grid, Table, made


def unlabelled(frame: pd.DataFrame) -> Grid:
    """Methods are the same that are alike in all but how many such images a batch has."""
    frame = tidy(frame)
    if "unlabelled" not in frame:
        frame = frame.assign(unlabelled=0.0, unlabelled_images=0.0)
    frame["unlabelled"] = frame.unlabelled.fillna(0)
    scratch = scratch_of(frame)
    measures = [beside(frame), "test_kd_error"]
    alike = ("temperature", *weights(frame), "kd_epochs", "ce_weight_after_stop")
    rows = []
    for key, cells in groups(direct(frame), "student", "teacher", "stop", *alike):
        without = cells.loc[cells.unlabelled == 0]
        more = cells.loc[cells.unlabelled > 0].sort_values("unlabelled", kind="stable")
        if more.empty:
            continue
        against: dict[str, pd.Series] = {"vs_scratch": scratch[key["student"]]}
        for arm, cell in groups(without, "method", "method_kind", "unlabelled"):
            rows.append(key | arm | _measured(cell, measures, against))
        if len(without):
            against["vs_without"] = by_seed(without)
        for arm, cell in groups(more, "method", "method_kind", "unlabelled", "unlabelled_images"):
            rows.append(key | arm | _measured(cell, measures, against))
    columns = (
        f"student teacher stop method unlabelled unlabelled_images error {beside(frame)} "
        "vs_without vs_scratch test_kd_error operations"
    )
    caption = (
        f"{HOW_TO_READ} Methods with unlabelled images against the same ones without, at equal "
        "steps; their batches are larger by so many images, of which cross-entropy sees none, and "
        "so are their operations: multiply-adds of a run with what its teacher answers. KD error: "
        "in how many points a student disagrees with its teacher."
    )
    return made(
        caption,
        rows,
        columns,
        unlabelled="unlabelled beside a batch",
        unlabelled_images="unlabelled in all",
        vs_without="against without",
        test_kd_error="KD error, test",
        operations="operations to train",
    )


def _measured(cell: pd.DataFrame, measures: list[str], against: dict[str, pd.Series]) -> dict:
    """The numbers of one cell, and the operations of a run with what its teacher answers."""
    found = row(cell, measures, **against)
    return found | {"operations": found["train_macs"] + found["teacher_macs"]}


TABLE = Table("With and without unlabelled images", 66, unlabelled)
