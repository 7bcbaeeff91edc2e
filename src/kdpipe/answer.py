"""The answer: for each student the best teacher, stop and method, how sure, and at what price.

Chosen on validation, reported on test. The recommendation uses every seed; an effect is claimed
only for choices that did not see the tested seed (for each seed the option that the validation
errors of the other seeds prefer), so picking the best of many is not counted as a gain.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import pandas as pd

from kdpipe.cells import by_seed, direct, groups, tidy, where, wide
from kdpipe.statistics import Summary, choose, mark, paired, summary

__all__ = ["Answer", "answers"]

OPTION = ("teacher", "stop", "via", "generation", "method")


@dataclass(frozen=True)
class Gain:
    """A paired difference of the chosen students to a rival; negative is better."""

    over: str
    difference: Summary
    mark: str


@dataclass(frozen=True)
class Answer:
    """What to do for one student. `reason` says why there is no answer, or what was set aside."""

    student: str
    options: int
    reason: str = ""
    chosen: dict = field(default_factory=dict)
    validation: Summary | None = None
    test: Summary | None = None
    settings: str = ""  # of the method
    agreed: int = 0  # seeds for which the others choose the same
    gains: list[Gain] = field(default_factory=list)
    costs: list[tuple[str, float, str]] = field(default_factory=list)  # what, how much, unit


def answers(frame: pd.DataFrame) -> list[Answer]:
    """One answer for each network that some experiment ends in, smallest first."""
    frame = tidy(frame)
    taught = where(frame, kind="student")
    ends = taught[taught["last"].astype(str) != "False"] if "last" in taught else taught
    return [_answer(frame, key["student"], rows) for key, rows in groups(ends, "student")]


def _answer(frame: pd.DataFrame, student: str, rows: pd.DataFrame) -> Answer:
    test, validation = wide(rows, *OPTION), wide(rows, *OPTION, column="val_error")
    if validation.isna().all(axis=None):
        why = "no validation errors: the report refuses to choose by test errors"
        return Answer(
            student, len(test.columns), why if test.notna().any(axis=None) else "no result"
        )
    counts = (validation.notna() & test.notna()).sum()
    whole = counts.index[counts == counts.max()]
    validation, test = validation[whole], test[whole]
    set_aside = len(counts) - len(whole)
    best = validation.mean().idxmin()
    chosen, errors = choose(validation, test)
    cell = where(rows, **dict(zip(OPTION, best, strict=True)))
    rivals = dict(_rivals(frame, student, rows))
    gains = [
        Gain(name, difference := paired(errors, rival), mark(difference))
        for name, rival in rivals.items()
    ]
    return Answer(
        student,
        len(counts),
        f"{set_aside} with fewer seeds are set aside" if set_aside else "",
        dict(zip(OPTION, best, strict=True)),
        summary(validation[best]),
        summary(test[best]),
        _settings(cell.iloc[0]),
        int((chosen == best).sum()) if len(chosen) else 0,
        gains,
        list(_costs(cell)),
    )


def _settings(row: pd.Series) -> str:
    text = f"T {row.temperature:g}, {row.kd_weight:g} KD + {row.ce_weight:g} CE"
    if row.get("attention_weight", 0) > 0:
        text += f" + {row.attention_weight:g} attention transfer"
    if row.kd_epochs < row.epochs:
        text += f" until epoch {row.kd_epochs:g} of {row.epochs:g}, then CE alone"
    return text + (
        f", labels smoothed by {row.label_smoothing:g}" if row.label_smoothing > 0 else ""
    )


def _rivals(
    frame: pd.DataFrame, student: str, rows: pd.DataFrame
) -> Iterator[tuple[str, pd.Series]]:
    """What the chosen students are compared with, by name: errors by seed."""
    yield (
        "the same network on labels alone (scratch)",
        by_seed(where(frame, kind="scratch", student=student)),
    )
    full = where(direct(rows), stop_kind="full", method_kind="kd")
    if not full.empty:
        validation, test = (
            wide(full, "teacher", "method", column=c) for c in ("val_error", "test_error")
        )
        if len(test.columns) == 1:
            yield "its fully trained teacher with full KD", test.iloc[:, 0].dropna()
        else:
            yield "the best full teacher with full KD (chosen alike)", choose(validation, test)[1]
    for key, cell in groups(where(frame, kind="scratch_long", student=student), "epochs"):
        name = f"scratch for {key['epochs']:g} epochs, as many operations as distilling takes"
        yield name, by_seed(cell)
    teams = where(frame, kind="ensemble", student=student, of=student)
    for key, cell in groups(teams[teams["size"] > 1].sort_values("size"), "ensemble", "size"):
        name = f"an ensemble of {key['size']:g} scratch runs, {key['size']:g} times the operations"
        yield name, by_seed(cell)


def _costs(cell: pd.DataFrame) -> Iterator[tuple[str, float, str]]:
    """Prices of one chosen student: alone, and with its teacher."""
    row = cell.iloc[0]
    yield "parameters of the student", row.parameters, ""
    yield "multiply-adds for one image", row.multiply_adds, ""
    yield "training, the student alone", row.train_macs, "multiply-adds"
    yield "training, with its teacher's answers", row.train_macs + row.teacher_macs, "multiply-adds"
    with_all = row.train_macs + row.teacher_macs + row.ancestor_macs
    yield "training, with its teacher's own training", with_all, "multiply-adds"
    yield "time of one run here", cell.seconds.mean(), "s"
