"""Ensembles with their cost, beside one network and one that is trained for longer."""

import pandas as pd

from kdpipe.analysis.dataframe import filter_rows, group_rows, normalize_frame
from kdpipe.analysis.eval_point import get_other_error_column
from kdpipe.report.table import (
    HOW_TO_READ,
    TableData,
    TableSpec,
    build_table_data,
    get_scratch_errors,
    summarize_cell,
)


def build_ensembles_table(frame: pd.DataFrame) -> TableData:
    """Build a row for each ensemble, and for the scratch runs of its network."""
    frame = normalize_frame(frame)
    scratch = get_scratch_errors(frame)
    other_error = get_other_error_column(frame)
    measures = [other_error, "test_nll", "test_ece"]
    path = ("method", "teacher", "stop")  # of the block whose generations are averaged
    rows = []
    for key, ensembles in group_rows(filter_rows(frame, kind="ensemble"), "student"):
        is_mixed = key["student"] == ""  # an ensemble of several networks has no partner
        base = None if is_mixed else scratch[key["student"]]
        single_networks = (
            ensembles.head(0)
            if is_mixed
            else filter_rows(frame, kind=["scratch", "scratch_long"], **key)
        )
        for arm, cell in group_rows(
            single_networks.sort_values(["kind", "epochs"]), "kind", "epochs"
        ):
            longer = {"vs_scratch": base} if arm["kind"] == "scratch_long" else {}
            name = {"ensemble": arm["kind"].replace("_", " "), "size": 1}
            rows.append(key | name | arm | summarize_cell(cell, measures, **longer))
        ensembles = ensembles.sort_values("size", kind="stable")
        for ensemble_key, cell in group_rows(ensembles, "ensemble", "size", "of", *path):
            rows.append(key | ensemble_key | summarize_cell(cell, measures, vs_scratch=base))
    columns = (
        "student ensemble method teacher size parameters multiply_adds epochs "
        f"train_macs error {other_error} vs_scratch test_nll test_ece"
    )
    caption = f"{HOW_TO_READ} Operations: multiply-adds for one image; training: of a whole run."
    return build_table_data(
        caption,
        rows,
        columns,
        multiply_adds="operations",
        train_macs="training operations",
    )


TABLE = TableSpec("Ensembles", 120, build_ensembles_table)
