"""KD stopped early against KD to the end, alike in all but the stop (Table 3)."""

import pandas as pd

from kdpipe.evidence import published
from kdpipe.evidence.reading import beside
from kdpipe.evidence.selections import by_seed, direct, groups, tidy, weights, where
from kdpipe.report.rows import row, scratch_of
from kdpipe.report.table import HOW_TO_READ, Grid, Table, made


def eskd(frame: pd.DataFrame) -> Grid:
    frame = tidy(frame)
    scratch = scratch_of(frame)
    taught = where(direct(frame), method_kind=["kd", "eskd"])
    also = beside(frame)
    measures = [also, "train_nll", "train_kl", "test_kl"]
    rows = []
    alike = ("temperature", *weights(frame))
    for key, cells in groups(taught, "student", "teacher", "stop", *alike):
        full, stopped = where(cells, method_kind="kd"), where(cells, method_kind="eskd")
        if stopped.empty:
            continue
        for arm, cell in groups(full, "method", "kd_epochs"):
            arm |= {"published": published.beside(cell)}
            rows.append(key | arm | row(cell, measures, vs_scratch=scratch[key["student"]]))
        stopped = stopped.sort_values(["kd_epochs", "ce_weight_after_stop"], kind="stable")
        for arm, cell in groups(stopped, "method", "kd_epochs", "ce_weight_after_stop"):
            against = {"vs_scratch": scratch[key["student"]], "vs_full_kd": by_seed(full)}
            arm |= {"published": published.beside(cell)}
            rows.append(key | arm | row(cell, measures, **against))
    columns = (
        f"student teacher stop method kd_epochs ce_weight_after_stop error {also} vs_full_kd "
        "vs_scratch train_nll train_kl test_kl"
    )
    caption = f"{HOW_TO_READ} CE without its weight; KL times T^2, whether or not still trained on."
    return made(
        caption,
        rows,
        columns,
        kd_epochs="KD epochs",
        ce_weight_after_stop="CE weight after",
    )


TABLE = Table("Full KD and KD stopped early", 30, eskd)
