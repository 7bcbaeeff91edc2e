"""Claims about the size of the teacher: C1, C3, C4, C7 and C18.

The largest teacher is compared with the smaller one that the validation errors of the other seeds
prefer; over several students an effect is their mean, seed by seed. Each claim is a function of
the evidence to a finding; it raises Untested where a premise fails.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from kdpipe import evidence as of
from kdpipe.cells import WEIGHTS, direct, groups, networks, where, wide
from kdpipe.evidence import Evidence, chosen, finding, pick, pool, taught
from kdpipe.statistics import FEWEST_SEEDS, one_sided, summary
from kdpipe.verdicts import LEVEL, Contrast, Finding, Untested


@dataclass(frozen=True)
class Sizes:
    """The largest teacher of each student, and for each seed the best smaller one."""

    rows: pd.DataFrame
    largest: dict[str, str]  # by student
    choices: dict[str, pd.Series]  # by student: seed -> smaller teacher
    why: list[str]  # students that do not take part

    def effect(self, column: str) -> pd.Series:
        """largest - smaller in a column, mean over students, by seed."""
        return pool({student: self.of(student, column) for student in self.largest})

    def of(self, student: str, column: str) -> pd.Series:
        values = wide(where(self.rows, student=student), "teacher", column=column)
        return values[self.largest[student]] - pick(values, self.choices[student])

    @property
    def how(self) -> str:
        parts = list(self.why)
        parts += [
            f"for {student} the largest teacher is {self.largest[student]}, the best smaller one "
            f"on validation {of.said(self.choices[student])}"
            for student in self.largest
        ]
        return "; ".join(parts)


def sizes(rows: pd.DataFrame, premise: bool = True) -> Sizes:
    """Largest and best smaller teacher of each student. premise: the largest is the better one."""
    full = where(rows, stop_kind="full")
    largest, choices, why = {}, {}, []
    for key, cell in groups(full, "student"):
        ranks = cell.drop_duplicates("teacher").set_index("teacher").teacher_rank
        top = ranks.idxmax() if len(ranks) else None
        smaller = list(ranks.index[ranks < ranks.max()])
        student = key["student"]
        if top is None or not smaller:
            why.append(f"{student} has no two teachers of different size")
            continue
        test = wide(cell, "teacher")
        if len(smaller) > 1 and test[smaller].isna().all(axis=None):
            why.append(f"no smaller teacher of {student} has a result ({', '.join(smaller)})")
            continue
        choice = chosen(wide(cell, "teacher", column="val_error")[smaller], test[smaller])
        errors = wide(cell, "teacher", column="teacher_test_error")
        better = (pick(errors, choice) - errors[top]).dropna()
        if premise and len(better) and better.mean() <= 0:
            why.append(
                f"the largest teacher of {student}, {top}, is not the more accurate one (its error "
                f"is higher by {-better.mean():.2g} points)"
            )
            continue
        largest[student], choices[student] = top, choice
    if not largest:
        raise Untested("; ".join(why) or "no student has a fully trained teacher")
    return Sizes(full, largest, choices, why)


def larger_teacher(evidence: Evidence) -> Finding:
    """C1: err_S(L) - err_S(m) > -delta; below, whether it is even worse."""
    return _not_better(evidence, taught(evidence, "kd"))


def larger_teacher_eskd(evidence: Evidence) -> Finding:
    """C7: C1(a) with ESKD."""
    return _not_better(evidence, taught(evidence, "eskd"))


def _not_better(evidence: Evidence, rows: pd.DataFrame) -> Finding:
    found = sizes(rows)
    text = "error with the largest teacher - with the best smaller one"
    effect, delta = found.effect("test_error"), evidence.delta
    contrasts = [
        Contrast(f"(a) not better: {text}", effect, "not better", delta),
        Contrast(f"(b) worse: {text}", effect, "above", delta, needed=False),
    ]
    if len(found.largest) > 1:
        contrasts += [
            Contrast(
                f"{text}, {student}", found.of(student, "test_error"), "not better", delta, False
            )
            for student in found.largest
        ]
    return finding(contrasts, f"{rows.method.iloc[0]}: {found.how}", found.rows)


def temperature(evidence: Evidence) -> Finding:
    """C3: C1(b) at every temperature of the sweep; a premise is that it holds at T = 4."""
    base = taught(evidence, "kd")
    first = base.iloc[0]
    alike = {name: first[name] for name in (*WEIGHTS, "method_kind")}
    sweep = where(networks(direct(evidence.frame)), **alike)
    if sweep.temperature.nunique() < 2:
        raise Untested("no two methods of this study differ in temperature alone")
    at_base = sizes(base).effect("test_error")
    p = one_sided(at_base)
    if len(at_base) < FEWEST_SEEDS:
        raise Untested(
            f"{FEWEST_SEEDS} seeds at T = {first.temperature:g} are needed, "
            f"{len(at_base)} are there"
        )
    if not p < LEVEL:
        raise Untested(
            f"the largest teacher is not shown to be worse at T = {first.temperature:g} "
            f"(effect {summary(at_base).mean:+.2g} points, p {p:.2g}): there is nothing to remove"
        )
    contrasts, used = [], [base]
    for key, rows in groups(sweep.sort_values("temperature", kind="stable"), "temperature"):
        if key["temperature"] == first.temperature:
            continue
        found = sizes(where(rows, method=rows.method.iloc[0]))
        used.append(found.rows)
        text = f"T = {key['temperature']:g}: error with the largest teacher - the best smaller one"
        contrasts.append(Contrast(text, found.effect("test_error"), "above", evidence.delta))
    return finding(contrasts, f"it holds at T = {first.temperature:g}, p {p:.2g}", pd.concat(used))


def mimicry(evidence: Evidence) -> Finding:
    """C4: KD error with L - with m > 0 on train and on test, full teachers only."""
    found = sizes(taught(evidence, "kd"), premise=False)
    text = "{} on {} with the largest teacher - with the best smaller one"
    contrasts = [
        Contrast(text.format("KD error", s), found.effect(f"{s}_kd_error"), "above", evidence.delta)
        for s in ("train", "test")
    ]
    contrasts += [
        Contrast(text.format("KL", s), found.effect(f"{s}_kl"), needed=False, unit="nat")
        for s in ("train", "test")
    ]
    return finding(contrasts, found.how, found.rows)


def confidence(evidence: Evidence) -> Finding:
    """C18: the entropy of the teacher on train falls with its size: minus the slope, by seed."""
    rows = networks(where(evidence.frame, kind="teacher", stop_kind="full"))
    entropy = wide(rows, "teacher", column="train_entropy").dropna()
    size = rows.drop_duplicates("teacher").set_index("teacher").teacher_multiply_adds
    doublings = np.log2(size.reindex(entropy.columns).to_numpy(float))
    if len(set(doublings)) < 2:
        raise Untested("it needs fully trained teachers of two sizes")
    slopes = np.polyfit(doublings, entropy.to_numpy(float).T, 1)[0] if len(entropy) else []
    text = "fall of the teacher's entropy on train for twice the operations"
    effect = pd.Series(-np.asarray(slopes), index=entropy.index, dtype=float)
    how = f"{len(size)} fully trained teachers, least squares for each seed"
    return finding([Contrast(text, effect, unit="nat")], how, rows)
