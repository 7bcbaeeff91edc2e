"""TODO evidence.claims.c6_eskd, from teaching."""

import pandas as pd

from kdpipe.evidence import choices as of
from kdpipe.evidence.choices import (
    Evidence,
    chosen,
    finding,
    pick,
    pool,
    taught,
    trade_off_contrasts,
)
from kdpipe.evidence.selections import direct, groups, networks, weights, where, wide
from kdpipe.evidence.verdicts import Contrast, Finding, Untested


def eskd_against_full_kd(evidence: Evidence) -> Finding:
    """C6: for every teacher, err(full KD) - err(ESKD) > 0, the stop chosen on validation."""
    full = where(taught(evidence, "kd"), stop_kind="full")
    settings = {name: full.iloc[0][name] for name in (*weights(full), "temperature")}
    stopped = where(networks(direct(evidence.frame)), method_kind="eskd", stop_kind="full")
    stopped = where(stopped, **settings)
    if stopped.empty:
        raise Untested(f"no ESKD method shares temperature and weights with {full.method.iloc[0]}")
    alone = of.scratch(evidence.frame)
    columns = {"test_error": "", "val_error": "", "train_nll": "", "train_kl": ""}
    kd = {c: wide(full, "student", "teacher", column=c) for c in columns}
    needed, gains, lines = [], {}, {"train_nll": {}, "train_kl": {}}
    for pair, cell in groups(stopped, "student", "teacher"):
        key = (pair["student"], pair["teacher"])
        if key not in kd["test_error"]:
            continue
        arms = {c: wide(cell, "method", column=c) for c in columns}
        choice = chosen(arms["val_error"], arms["test_error"])
        errors = pick(arms["test_error"], choice)
        text = f"error of {key[0]} from {key[1]}: full KD - ESKD"
        gain = (kd["test_error"][key] - errors).dropna()
        needed.append(Contrast(text, gain, "above", evidence.delta))
        gains[key] = alone[key[0]] - errors
        for column, line in lines.items():
            line[key] = kd[column][key] - pick(arms[column], choice)
    below = [
        Contrast("error, scratch - ESKD", pool(gains), "above", evidence.delta, needed=False),
        *trade_off_contrasts(lines, needed=False),
    ]
    how = f"{full.method.iloc[0]} against {_listed(stopped.method)}, fully trained teachers"
    return finding(needed + below, how, pd.concat([full, stopped]))


def _listed(names: pd.Series) -> str:
    return ", ".join(names.unique())
