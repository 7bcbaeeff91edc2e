"""Contrasts of teachers: the largest against smaller ones, early-stopped against full ones.

What C1, C3, C4 and C7 ask of teacher size, and C11 to C14 and C17 of early stopping. Which smaller
teacher is the best one, and how early a teacher stops, is chosen on validation, for each seed by
other seeds; so is whether the largest teacher is the more accurate one, a premise of C1. A
teacher stopped by a schedule of its own and one cut out of the full training are two kinds, which
are never mixed.
"""

import functools
from dataclasses import dataclass, replace

import pandas as pd

from kdpipe.analysis.claim import Evidence, Finding, UntestableClaim
from kdpipe.analysis.contrasts import Contrast
from kdpipe.analysis.dataframe import (
    UNTRAINED_STOP,
    add_image_provenance,
    filter_rows,
    group_rows,
    pivot_by_seed,
)
from kdpipe.analysis.selection import (
    average_parts,
    build_finding,
    choose_on_validation,
    describe_choice,
    select_students,
    take_choice,
)
from kdpipe.stats.intervals import Choice
from kdpipe.stats.replicates import Halves, merge_halves

StudentTeacher = tuple[str, str]  # student, teacher


# --- The largest teacher against smaller ones


@dataclass(frozen=True)
class TeacherSizeEffect:
    """The largest teacher of each student, and for each seed the best smaller one.

    Attributes
    ----------
    rows : DataFrame
        The rows of full teachers.
    largest : dict of str
        By student, its largest teacher.
    choices : dict of Choice
        By student, for each seed the best smaller teacher.
    reasons : list of str
        Why some students do not take part.
    """

    rows: pd.DataFrame
    largest: dict[str, str]  # by student
    choices: dict[str, Choice]  # by student: the smaller teacher
    reasons: list[str]  # students that do not take part

    def compute_mean_effect(self, column: str, by_image: bool = False) -> pd.Series:
        """Return largest - smaller in a column, the mean over students, by seed.

        Parameters
        ----------
        column : str
            The column.
        by_image : bool
            Whether it is a metric of single images besides the test error, which then knows its
            runs.
        """
        return average_parts(
            {student: self.compute_effect(student, column, by_image) for student in self.largest}
        )

    @property
    def halves(self) -> Halves | None:
        """Return the half of each seed, where two halves chose for each other."""
        return merge_halves(*(choice.halves for choice in self.choices.values()))

    def compute_effect(self, student: str, column: str, by_image: bool = False) -> pd.Series:
        """Return largest - smaller in a column, for one student, by seed."""
        rows = filter_rows(self.rows, student=student)
        rows = add_image_provenance(rows, column) if by_image else rows
        values = pivot_by_seed(rows, "teacher", column=column)
        return values[self.largest[student]] - take_choice(values, self.choices[student])

    @property
    def description(self) -> str:
        """Return which teachers are compared, and why some students do not take part."""
        parts = list(self.reasons)
        parts += [
            f"for {student} the largest teacher is {self.largest[student]}, the best smaller one "
            f"on validation {describe_choice(self.choices[student])}"
            for student in self.largest
        ]
        return "; ".join(parts)


def compute_teacher_size_effect(rows: pd.DataFrame, premise: bool = True) -> TeacherSizeEffect:
    """Compare the largest with the best smaller teacher of each student.

    Parameters
    ----------
    rows : DataFrame
        Students of one method.
    premise : bool
        Whether a student takes part only if its largest teacher is the more accurate one.

    Raises
    ------
    UntestableClaim
        If no student takes part, or there is nothing to choose by.
    """
    full_rows = filter_rows(rows, stop_kind="full")
    largest, choices, reasons = {}, {}, []
    for key, cell in group_rows(full_rows, "student"):
        ranks = cell.drop_duplicates("teacher").set_index("teacher").teacher_rank
        largest_name = ranks.idxmax() if len(ranks) else None
        smaller = list(ranks.index[ranks < ranks.max()])
        student = key["student"]
        if largest_name is None or not smaller:
            reasons.append(f"{student} has no two teachers of different size")
            continue
        test = pivot_by_seed(cell, "teacher")
        if len(smaller) > 1 and test.loc[:, smaller].isna().to_numpy().all():
            reasons.append(f"no smaller teacher of {student} has a result ({', '.join(smaller)})")
            continue
        validation = pivot_by_seed(cell, "teacher", column="val_error")
        choice = choose_on_validation(cell, validation.loc[:, smaller], test.loc[:, smaller])
        errors = pivot_by_seed(cell, "teacher", column="teacher_val_error")
        improvement = (take_choice(errors, choice) - errors[largest_name]).dropna()
        measured = (take_choice(test, choice) - test[largest_name]).notna().any()
        if premise and measured and improvement.empty:
            reasons.append(
                f"there are no validation errors of {largest_name} to say whether it is the better"
            )
            continue
        if premise and len(improvement) and improvement.mean() <= 0:
            reasons.append(
                f"the largest teacher of {student}, {largest_name}, is not the more accurate one "
                f"(its validation error is higher by {-improvement.mean():.2g} points)"
            )
            continue
        largest[student], choices[student] = largest_name, choice
    if not largest:
        raise UntestableClaim("; ".join(reasons) or "no student has a fully trained teacher")
    return TeacherSizeEffect(full_rows, largest, choices, reasons)


def build_non_superiority_finding(evidence: Evidence, rows: pd.DataFrame) -> Finding:
    """Build the finding err_S(L) - err_S(m) > -delta, and beside it whether it is above 0.

    Parameters
    ----------
    evidence : Evidence
        The data of the study.
    rows : DataFrame
        Students of one method.
    """
    size_effect = compute_teacher_size_effect(rows)
    text = "error with the largest teacher - with the best smaller one"
    effect, delta = size_effect.compute_mean_effect("test_error"), evidence.delta
    halves = size_effect.halves
    contrasts = [
        Contrast(f"(a) not better: {text}", effect, "not better", delta, halves=halves),
        Contrast(f"(b) worse: {text}", effect, "above", delta, is_needed=False, halves=halves),
    ]
    if len(size_effect.largest) > 1:
        contrasts += [
            Contrast(
                f"{text}, {student}",
                size_effect.compute_effect(student, "test_error"),
                "not better",
                delta,
                False,
                halves=size_effect.choices[student].halves,
            )
            for student in size_effect.largest
        ]
    return build_finding(
        contrasts, f"{rows.method.iloc[0]}: {size_effect.description}", size_effect.rows
    )


# --- Early-stopped teachers against fully trained ones


@dataclass(frozen=True)
class EarlyStoppedErrors:
    """Errors by seed of each pair of student and teacher: full, and early-stopped at its best.

    Attributes
    ----------
    rows : DataFrame
        All rows that they rest on.
    kind : {"schedule", "checkpoint"}
        How the teachers were stopped.
    full, early : dict of Series
        Test errors by pair.
    full_validation, early_validation : dict of Series
        Validation errors by pair.
    choices : dict of Choice
        The chosen lengths by pair.
    """

    rows: pd.DataFrame
    kind: str
    full: dict[StudentTeacher, pd.Series]
    early: dict[StudentTeacher, pd.Series]
    full_validation: dict[StudentTeacher, pd.Series]
    early_validation: dict[StudentTeacher, pd.Series]
    choices: dict[StudentTeacher, Choice]

    @property
    def halves(self) -> Halves | None:
        """Return the half of each seed, where two halves chose a length for each other."""
        return merge_halves(*(choice.halves for choice in self.choices.values()))

    @property
    def gains(self) -> dict[StudentTeacher, pd.Series]:
        """Return err(full) - err(early-stopped) of each pair that has both, by seed."""
        return {pair: self.full[pair] - self.early[pair] for pair in self.early}


@functools.lru_cache(maxsize=8)
def compute_early_stopped_errors(
    evidence: Evidence, kind: str | None = None, method_kind: str = "kd"
) -> EarlyStoppedErrors:
    """Compute the errors of early-stopped teachers, each at the length that validation chose.

    Parameters
    ----------
    evidence : Evidence
        The data of the study.
    kind : {"schedule", "checkpoint"} or None
        How they were stopped; None: by a schedule, or at a checkpoint in a study without any.
    method_kind : str
        The kind of the method of the students.

    Raises
    ------
    UntestableClaim
        If no teacher teaches both fully trained and early-stopped.
    """
    rows = select_students(evidence, method_kind)
    rows = rows.loc[
        rows.stop != UNTRAINED_STOP
    ]  # a control: it was not stopped early, it never began
    if kind is None:
        kind = "schedule" if (rows.stop_kind == "schedule").any() else "checkpoint"
    rows = filter_rows(rows, stop_kind=["full", kind])
    early_stopping = EarlyStoppedErrors(rows, kind, {}, {}, {}, {}, {})
    for key, cell in group_rows(rows, "student", "teacher"):
        pair = (key["student"], key["teacher"])
        test, validation = (
            pivot_by_seed(cell, "stop"),
            pivot_by_seed(cell, "stop", column="val_error"),
        )
        lengths = [stop for stop in test if stop != "full"]
        if "full" in test:
            early_stopping.full[pair] = test.loc[:, "full"]
            early_stopping.full_validation[pair] = validation.loc[:, "full"]
        if lengths and "full" in test:
            choice = choose_on_validation(cell, validation.loc[:, lengths], test.loc[:, lengths])
            early_stopping.choices[pair] = choice
            early_stopping.early[pair] = take_choice(test, choice)
            early_stopping.early_validation[pair] = take_choice(validation, choice)
    if not early_stopping.early:
        raise UntestableClaim(f"no teacher stands there both fully trained and stopped by {kind}")
    return early_stopping


def build_mean_gain_finding(evidence: Evidence, early_stopping: EarlyStoppedErrors) -> Finding:
    """Build the finding that the mean gain over pairs is above 0, with that of each pair."""
    text = "error, full teacher - early-stopped teacher"
    delta, gains = evidence.delta, early_stopping.gains
    mean_text = f"{text}, mean over pairs"
    contrasts = [
        Contrast(mean_text, average_parts(gains), "above", delta, halves=early_stopping.halves)
    ]
    if len(gains) > 1:
        contrasts += [
            Contrast(
                f"{text}: {student} from {teacher}",
                gain.dropna(),
                "above",
                delta,
                False,
                halves=early_stopping.choices[student, teacher].halves,
            )
            for (student, teacher), gain in gains.items()
        ]
    return build_finding(contrasts, describe_early_stopping(early_stopping), early_stopping.rows)


def select_best_teacher_errors(
    rows: pd.DataFrame,
    errors: dict[StudentTeacher, pd.Series],
    validation: dict[StudentTeacher, pd.Series],
    student: str,
) -> Choice:
    """Return the teacher that validation chose among a student's for each seed, and its errors.

    Raises
    ------
    UntestableClaim
        If one of them has no results: it might be the best.
    """
    teachers = [teacher for other_student, teacher in errors if other_student == student]
    test = pd.DataFrame({teacher: errors[student, teacher] for teacher in teachers})
    validation_table = pd.DataFrame({teacher: validation[student, teacher] for teacher in teachers})
    for teacher in teachers:
        if test.loc[:, teacher].isna().all():
            raise UntestableClaim(
                f"the best teacher of {student} is not known: {teacher} has no results"
            )
    choice = choose_on_validation(rows, validation_table, test)
    return replace(choice, errors=take_choice(test, choice))


def describe_early_stopping(early_stopping: EarlyStoppedErrors) -> str:
    """Return by which method, for how many pairs, and where teachers were stopped."""
    lengths = early_stopping.rows[early_stopping.rows.stop_kind != "full"].stop.unique()
    length_text = f"the length chosen on validation among {', '.join(lengths)}"
    stop_text = length_text if len(lengths) > 1 else f"stopped by {lengths[0]}"
    count = len(early_stopping.early)
    pairs = f"{count} pair{'s' if count > 1 else ''} of student and teacher"
    return f"{early_stopping.rows.method.iloc[0]}, {pairs}, {stop_text}"
