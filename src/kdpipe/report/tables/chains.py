"""Large to medium to small against large to small and medium to small (Table 6)."""

import pandas as pd

from kdpipe.evidence.selections import STEP, by_seed, direct, groups, path_of, tidy, where
from kdpipe.report.rows import row, scratch_of
from kdpipe.report.table import HOW_TO_READ, Grid, Table, made


def chains(frame: pd.DataFrame) -> Grid:
    frame = tidy(frame)
    scratch = scratch_of(frame)
    plain = frame.loc[~frame.method.str.contains(STEP, regex=False)]
    chained = where(plain, kind="student")
    chained = chained.loc[(chained.via != "") & (chained.generation <= 1)]
    rows = {}  # by path, since chains share their direct students
    for key, cell in groups(chained, "student", "method", "teacher", "stop", "via"):
        base = scratch[key["student"]]
        large = key | {"via": ""}
        block = key["teacher"].removeprefix(cell.teacher_label.iloc[0])  # nearly always ""
        medium = large | {"teacher": key["via"].split(STEP)[-1] + block, "stop": "full"}
        against = {}
        for name, path in (("vs_direct", large), ("vs_medium", medium)):
            part = where(direct(plain), **path)
            rows[tuple(path.values())] = path_of(path) | row(part, vs_scratch=base)
            against[name] = by_seed(part)
        rows[tuple(key.values())] = path_of(key) | row(cell, vs_scratch=base, **against)
    columns = "path stop method error vs_direct vs_medium vs_scratch"
    return made(HOW_TO_READ, list(rows.values()), columns, vs_medium="against medium to small")


TABLE = Table("Chains", 90, chains)
