"""A network taught by itself again and again, and what its generations make together."""

import pandas as pd

from kdpipe.evidence.selections import STEP, by_seed, groups, scratch_ensembles, tidy, where
from kdpipe.report.rows import row
from kdpipe.report.table import HOW_TO_READ, Grid, Table, made


def generations(frame: pd.DataFrame) -> Grid:
    frame = tidy(frame)
    taught = where(frame, kind="student")
    taught = taught.loc[~taught.method.str.contains(STEP, regex=False)]
    measures = ["test_nll", "test_ece"]
    rows = []
    for key, cells in groups(taught, "student", "block", "method", "teacher", "stop", "via"):
        if cells.generation.max() < 2:
            continue
        network = {"student": key["student"]}
        alone = where(frame, kind="scratch", **network)
        base = by_seed(alone)
        rows.append(key | {"what": "scratch"} | row(alone, measures))
        for step, cell in groups(cells.sort_values("generation", kind="stable"), "generation"):
            what = {"what": f"generation {step['generation']:g}"}
            rows.append(key | step | what | row(cell, measures, vs_scratch=base))
        pool = where(frame, kind="ensemble", **network)
        sequences = where(pool, of=[key["block"], f"{key['block']}: {key['student']}"])
        path = {"method": key["method"], "stop": key["stop"]}
        path["teacher"] = cells.teacher_label.iloc[0]
        sequences = where(sequences, size=cells.generation.max(), **path)
        for team, sequence in groups(sequences, "ensemble", "size"):
            equal = where(scratch_ensembles(frame, key["student"]), size=team["size"])
            for name, rival in list(groups(equal, "ensemble", "size")) or [({}, equal)]:
                against = {"vs_scratch": base, "vs_scratch_ensemble": by_seed(rival)}
                if name:
                    what = {"what": f"{name['ensemble']}, {name['size']:g} scratch runs"}
                    rows.append(key | name | what | row(rival, measures, vs_scratch=base))
                what = {"what": f"{team['ensemble']}, {team['size']:g} generations"}
                rows.append(key | team | what | row(sequence, measures, **against))
    columns = "student method teacher what error vs_scratch vs_scratch_ensemble test_nll test_ece"
    return made(HOW_TO_READ, rows, columns, vs_scratch_ensemble="against an equal ensemble")


TABLE = Table("Generations of one network", 80, generations)
