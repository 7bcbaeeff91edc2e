"""What the features of students and teachers are worth on other data (Section 5.6)."""

import pandas as pd

from kdpipe.analysis.dataframe import filter_rows, group_rows, normalize_frame
from kdpipe.report.table import (
    HOW_TO_READ,
    TableData,
    TableSpec,
    build_table_data,
    get_scratch_errors,
    summarize_cell,
)


def build_transfer_table(frame: pd.DataFrame) -> TableData:
    """Build a row for each network that was probed on other data."""
    probes = frame.loc[frame.kind == "probe"]
    rows = []
    for name, probe_rows in group_rows(probes, "transfer", "data") if len(probes) else ():
        probe_rows = normalize_frame(probe_rows.assign(kind=probe_rows["of"]))
        scratch = get_scratch_errors(probe_rows)
        networks = filter_rows(probe_rows, kind=["scratch", "student"])
        for key, cells in group_rows(networks, "student"):
            scratch_cells = filter_rows(cells, kind="scratch")
            rows.append(name | key | {"features": "scratch"} | _summarize_probes(scratch_cells))
            path = ("teacher", "stop", "via", "generation", "method")
            for arm, cell in group_rows(filter_rows(cells, kind="student"), *path):
                fields = _summarize_probes(cell, vs_scratch=scratch[key["student"]])
                rows.append(name | key | {"features": "student"} | arm | fields)
        for arm, cell in group_rows(filter_rows(probe_rows, kind="teacher"), "teacher", "stop"):
            rows.append(name | {"features": "teacher"} | arm | _summarize_probes(cell))
    columns = "data features student teacher stop via generation method error vs_scratch own_error"
    caption = (
        f"{HOW_TO_READ} The errors are those of a linear classifier on the features of a finished "
        "network, on other data than it was trained on; its own is the network's on the study's "
        "data."
    )
    return build_table_data(caption, rows, columns, own_error="its own error")


def _summarize_probes(cell: pd.DataFrame, **partners: pd.Series) -> dict:
    """Return the numbers of one cell, and how many classifiers had not converged."""
    fields = summarize_cell(cell, ["own_error"], **partners)
    n_unconverged = cell.drop_duplicates("run").converged.astype(str).eq("False").sum()
    notes = [
        fields["notes"],
        f"{n_unconverged} classifiers had not converged" if n_unconverged else "",
    ]
    return fields | {"notes": "; ".join(note for note in notes if note)}


TABLE = TableSpec(
    "Features on other data", 140, build_transfer_table, uses_last_epoch=True, uses_top1=True
)
