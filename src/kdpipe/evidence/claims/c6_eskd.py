"""C6. For every fully trained teacher: err(full KD) - err(ESKD) > 0.

Where ESKD stops is chosen on validation. Beside it: against scratch, and the trade of CE for the
KD loss on train.
"""

import pandas as pd

from kdpipe.evidence.choices import (
    chosen,
    finding,
    pick,
    pool,
    scratch,
    taught_in_full,
    trade_off_contrasts,
)
from kdpipe.evidence.claim import Claim, Evidence
from kdpipe.evidence.contrasts import Contrast
from kdpipe.evidence.selections import direct, groups, networks, weights, where, wide
from kdpipe.evidence.verdicts import Finding, Untested


def eskd_against_full_kd(evidence: Evidence) -> Finding:
    full = taught_in_full(evidence, "kd")
    settings = {name: full.iloc[0][name] for name in (*weights(full), "temperature")}
    stopped = where(networks(direct(evidence.frame)), method_kind="eskd", stop_kind="full")
    stopped = where(stopped, **settings)
    if stopped.empty:
        raise Untested(f"no ESKD method shares temperature and weights with {full.method.iloc[0]}")
    alone = scratch(evidence.frame)
    columns = ("test_error", "val_error", "train_nll", "train_kl")
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
        *trade_off_contrasts(lines, "train", needed=False),
    ]
    how = f"{full.method.iloc[0]} against {_listed(stopped.method)}, fully trained teachers"
    return finding(needed + below, how, pd.concat([full, stopped]))


def _listed(names: pd.Series) -> str:
    return ", ".join(names.unique())


CLAIM = Claim("KD stopped early (ESKD) beats KD to the end", eskd_against_full_kd, primary=True)
