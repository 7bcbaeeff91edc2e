"""Chains with a method for each step, against one method all along and against direct."""

import pandas as pd

from kdpipe.evidence.selections import STEP, by_seed, direct, groups, path_of, tidy, where
from kdpipe.report.rows import row, scratch_of
from kdpipe.report.table import HOW_TO_READ, Grid, Table, made


def staged(frame: pd.DataFrame) -> Grid:
    frame = tidy(frame)
    scratch = scratch_of(frame)
    taught = where(frame, kind="student")
    mixed = taught.loc[taught.method.str.contains(STEP, regex=False)]
    mixed = mixed.loc[(mixed.via != "") | (mixed.generation > 1)]
    rows = {}  # by path, since staged chains share their partners
    for key, cell in groups(mixed, "student", "teacher", "stop", "via", "generation", "method"):
        base = scratch[key["student"]]
        chain = key | {"method": key["method"].split(STEP)[-1]}
        short = chain | {"via": "", "generation": 1}
        plain, straight = where(taught, **chain), where(direct(taught), **short)
        for path, part in ((short, straight), (chain, plain)):
            rows[tuple(path.values())] = path_of(path) | row(part, vs_scratch=base)
        against = {"vs_plain": by_seed(plain), "vs_direct": by_seed(straight)}
        rows[tuple(key.values())] = path_of(key) | row(cell, vs_scratch=base, **against)
    columns = "path stop generation method error vs_plain vs_direct vs_scratch"
    caption = f"{HOW_TO_READ} The plain chain and the direct student use the last step's method."
    return made(caption, list(rows.values()), columns)


TABLE = Table("Chains with a method for each step", 110, staged)
