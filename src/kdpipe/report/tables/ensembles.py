"""Every ensemble with its price, beside one network and one trained for longer."""

import pandas as pd

from kdpipe.evidence.reading import beside
from kdpipe.evidence.selections import groups, tidy, where
from kdpipe.report.rows import row, scratch_of
from kdpipe.report.table import HOW_TO_READ, Grid, Table, made


def ensembles(frame: pd.DataFrame) -> Grid:
    frame = tidy(frame)
    scratch = scratch_of(frame)
    also = beside(frame)
    measures = [also, "test_nll", "test_ece"]
    path = ("method", "teacher", "stop")  # of the block whose generations are averaged
    rows = []
    for key, teams in groups(where(frame, kind="ensemble"), "student"):
        several = key["student"] == ""  # an ensemble of several networks has no partner
        base = None if several else scratch[key["student"]]
        alone = teams.head(0) if several else where(frame, kind=["scratch", "scratch_long"], **key)
        for arm, cell in groups(alone.sort_values(["kind", "epochs"]), "kind", "epochs"):
            longer = {"vs_scratch": base} if arm["kind"] == "scratch_long" else {}
            name = {"ensemble": arm["kind"].replace("_", " "), "size": 1}
            rows.append(key | name | arm | row(cell, measures, **longer))
        teams = teams.sort_values("size", kind="stable")
        for team, cell in groups(teams, "ensemble", "size", "of", *path):
            rows.append(key | team | row(cell, measures, vs_scratch=base))
    columns = (
        "student ensemble method teacher size parameters multiply_adds epochs "
        f"train_macs error {also} vs_scratch test_nll test_ece"
    )
    caption = f"{HOW_TO_READ} Operations: multiply-adds for one image; training: of a whole run."
    return made(
        caption,
        rows,
        columns,
        multiply_adds="operations",
        train_macs="training operations",
    )


TABLE = Table("Ensembles", 120, ensembles)
