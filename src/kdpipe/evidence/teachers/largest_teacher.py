"""The largest teacher of each student against the best smaller one: what C1, C3, C4 and C7 ask.

Which smaller one is the best is chosen on validation, for each seed by the other seeds, and so is
whether the largest is the more accurate one, a premise of C1.
"""

from dataclasses import dataclass

import pandas as pd

from kdpipe.evidence.choices import chosen, finding, pick, pool, said
from kdpipe.evidence.claim import Evidence
from kdpipe.evidence.contrasts import Contrast
from kdpipe.evidence.selections import groups, where, wide
from kdpipe.evidence.verdicts import Finding, Untested


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
        """largest - smaller in a column, for one student, by seed."""
        values = wide(where(self.rows, student=student), "teacher", column=column)
        return values[self.largest[student]] - pick(values, self.choices[student])

    @property
    def how(self) -> str:
        """Which teachers are compared, and why some students do not take part."""
        parts = list(self.why)
        parts += [
            f"for {student} the largest teacher is {self.largest[student]}, the best smaller one "
            f"on validation {said(self.choices[student])}"
            for student in self.largest
        ]
        return "; ".join(parts)


def sizes(rows: pd.DataFrame, premise: bool = True) -> Sizes:
    """Largest and best smaller teacher of each student. premise: the largest is the better one.

    Raises Untested if no student takes part, or if there is nothing to choose by.
    """
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
        if len(smaller) > 1 and test.loc[:, smaller].isna().to_numpy().all():
            why.append(f"no smaller teacher of {student} has a result ({', '.join(smaller)})")
            continue
        validation = wide(cell, "teacher", column="val_error")
        choice = chosen(validation.loc[:, smaller], test.loc[:, smaller])
        errors = wide(cell, "teacher", column="teacher_val_error")
        better = (pick(errors, choice) - errors[top]).dropna()
        measured = (pick(test, choice) - test[top]).notna().any()
        if premise and measured and better.empty:
            why.append(f"there are no validation errors of {top} to say whether it is the better")
            continue
        if premise and len(better) and better.mean() <= 0:
            why.append(
                f"the largest teacher of {student}, {top}, is not the more accurate one (its "
                f"validation error is higher by {-better.mean():.2g} points)"
            )
            continue
        largest[student], choices[student] = top, choice
    if not largest:
        raise Untested("; ".join(why) or "no student has a fully trained teacher")
    return Sizes(full, largest, choices, why)


def not_better(evidence: Evidence, rows: pd.DataFrame) -> Finding:
    """err_S(L) - err_S(m) > -delta, and beside it whether it is above 0. rows: of one method."""
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
