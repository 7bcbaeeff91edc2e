"""Claims about what distilling does to a student: C2, C5, C6, C15 and C16.

Each is a function of the evidence to a finding; it raises Untested where a premise fails. A claim
about every teacher has one contrast for each, and all must hold.
"""

import itertools

import pandas as pd

from kdpipe import evidence as of
from kdpipe.cells import WEIGHTS, direct, groups, networks, where, wide
from kdpipe.evidence import Evidence, chosen, finding, pick, pool, taught
from kdpipe.verdicts import Contrast, Finding, Untested


def full_kd_against_scratch(evidence: Evidence) -> Finding:
    """C2: for every teacher, err_S(KD, T) - err_S(scratch) > 0."""
    rows = where(taught(evidence, "kd"), stop_kind="full")
    alone = of.scratch(evidence.frame)
    contrasts = [
        Contrast(
            f"error of {s} from {t} - scratch", (e - alone[s]).dropna(), "above", evidence.delta
        )
        for (s, t), e in wide(rows, "student", "teacher").items()
    ]
    return finding(contrasts, f"every fully trained teacher, {rows.method.iloc[0]}", rows)


def early_and_late(evidence: Evidence) -> Finding:
    """C5: KD's validation error is below scratch's before the second drop, above it at the end."""
    curves = evidence.curves
    if curves.empty or curves.val_error.isna().all():
        raise Untested("the folder holds no curves with validation errors")
    rows = where(taught(evidence, "kd"), stop_kind="full")
    lines = curves.pivot(index="epoch", columns="run", values="val_error")
    rates = curves.pivot(index="epoch", columns="run", values="lr")
    alone = where(evidence.frame, kind="scratch").drop_duplicates(["student", "seed"])
    scratch = alone.set_index(["student", "seed"]).run
    early: dict[tuple, dict] = {}
    late: dict[tuple, dict] = {}
    for row in (
        where(rows, status="done").drop_duplicates(["student", "teacher", "seed"]).itertuples()
    ):
        base = scratch.get((row.student, row.seed))
        if base not in lines or row.run not in lines:
            continue
        gain = (lines[base] - lines[row.run]).dropna()
        steps = rates[base].dropna().round(12)
        drops = [epoch for epoch in steps.index[1:] if steps[epoch] != steps[epoch - 1]]
        if len(drops) < 2:
            raise Untested(f"the learning rate drops {len(drops)} times; the claim needs two drops")
        pair = (row.student, row.teacher)
        early.setdefault(pair, {})[row.seed] = gain[gain.index < drops[1]].mean()
        late.setdefault(pair, {})[row.seed] = -gain[gain.index >= drops[-1]].mean()
    series = [{pair: pd.Series(by) for pair, by in part.items()} for part in (early, late)]
    texts = ("before the second drop: scratch - KD", "after the last drop: KD - scratch")
    contrasts = [
        Contrast(f"mean validation error over epochs, {text}", pool(part), "above", evidence.delta)
        for text, part in zip(texts, series, strict=True)
    ]
    how = f"{rows.method.iloc[0]}, mean over {len(early)} pairs of student and full teacher"
    return finding(contrasts, how, rows)


def eskd_against_full_kd(evidence: Evidence) -> Finding:
    """C6: for every teacher, err(full KD) - err(ESKD) > 0, the stop chosen on validation."""
    full = where(taught(evidence, "kd"), stop_kind="full")
    settings = {name: full.iloc[0][name] for name in (*WEIGHTS, "temperature")}
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
        *_losses(lines, needed=False),
    ]
    how = f"{full.method.iloc[0]} against {_listed(stopped.method)}, fully trained teachers"
    return finding(needed + below, how, pd.concat([full, stopped]))


def capacity(evidence: Evidence) -> Finding:
    """C15: errors spread more over students at one teacher than over teachers at one student."""
    rows = where(taught(evidence, "kd"), stop_kind="full")
    errors = wide(rows, "student", "teacher").astype(float)
    students, both = _grid([pair for pair in errors])
    if len(students) < 2 or len(both) < 2:
        raise Untested("it needs two students that share two teachers")
    cube = {t: errors[[(s, t) for s in students]].std(axis=1, skipna=False) for t in both}
    other = {s: errors[[(s, t) for t in both]].std(axis=1, skipna=False) for s in students}
    text = "sd of the error over students at one teacher - over teachers at one student"
    effect = (pool(cube) - pool(other)).dropna()
    how = f"{len(students)} students x {len(both)} teachers, {rows.method.iloc[0]}"
    return finding([Contrast(text, effect, "above", evidence.delta)], how, rows)


def _grid(pairs: list[tuple[str, str]]) -> tuple[list[str], list[str]]:
    """The largest complete grid of two and more students and the teachers they share."""
    teachers: dict[str, list[str]] = {}
    for student, teacher in pairs:
        teachers.setdefault(student, []).append(teacher)
    best: tuple[list[str], list[str]] = ([], [])
    for size in range(2, len(teachers) + 1):
        for students in itertools.combinations(teachers, size):
            shared = [t for t in teachers[students[0]] if all(t in teachers[s] for s in students)]
            if len(shared) > 1 and size * len(shared) > len(best[0]) * len(best[1]):
                best = (list(students), shared)
    return best


def trade_off(evidence: Evidence) -> Finding:
    """C16: from full KD to ESKD the CE on train falls and the KD loss rises."""
    full = where(taught(evidence, "kd"), stop_kind="full")
    stopped = where(taught(evidence, "eskd"), stop_kind="full")
    parts = {"train_nll": {}, "train_kl": {}}
    for column, part in parts.items():
        kd, eskd = (wide(r, "student", "teacher", column=column) for r in (full, stopped))
        part |= {pair: kd[pair] - eskd[pair] for pair in kd if pair in eskd}
    pairs = len(parts["train_kl"])
    how = f"{full.method.iloc[0]} to {stopped.method.iloc[0]}, mean over {pairs} pairs"
    return finding(_losses(parts, needed=True), how, pd.concat([full, stopped]))


def _losses(parts: dict[str, dict], needed: bool) -> list[Contrast]:
    """CE and KD loss on train from full KD to ESKD, by pair."""
    ce, kd = pool(parts["train_nll"]), -pool(parts["train_kl"])
    return [
        Contrast("CE on train, full KD - ESKD", ce, needed=needed, unit="nat"),
        Contrast("KD loss on train, ESKD - full KD", kd, needed=needed, unit="nat"),
    ]


def _listed(names: pd.Series) -> str:
    return ", ".join(names.unique())
