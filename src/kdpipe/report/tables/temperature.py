"""Methods that differ in temperature alone."""

import pandas as pd

from kdpipe.evidence.selections import direct, groups, tidy, weights
from kdpipe.report.rows import row, scratch_of
from kdpipe.report.table import HOW_TO_READ, Grid, Table, made


def temperature(frame: pd.DataFrame) -> Grid:
    frame = tidy(frame)
    scratch = scratch_of(frame)
    alike = ("method_kind", *weights(frame), "kd_epochs", "ce_weight_after_stop")
    rows = []
    for key, cells in groups(direct(frame), "student", "teacher", "stop", *alike):
        if cells.temperature.nunique() < 2:
            continue
        sweep = cells.sort_values("temperature", kind="stable")
        for arm, cell in groups(sweep, "temperature", "method"):
            rows.append(key | arm | row(cell, vs_scratch=scratch[key["student"]]))
    columns = "student teacher stop temperature method error vs_scratch"
    return made(HOW_TO_READ, rows, columns)


TABLE = Table("Temperature", 40, temperature)
