"""How a student's error follows a measure of its teacher: the cells of N1 and N2 and of a figure.

The cells are those of one student, each with another teacher or stop: KD to the end, directly from
one network that was trained on labels (stage 0: not from itself). A teacher that was never trained
is a control and no cell. What is measured of a teacher is read on validation, at the epoch where it
taught.
"""

import functools
import math
import operator

import pandas as pd

from kdpipe.analysis.claim import Evidence, Finding, UntestableClaim
from kdpipe.analysis.contrasts import Contrast
from kdpipe.analysis.dataframe import (
    UNTRAINED_STOP,
    group_rows,
    pivot_by_seed,
    select_direct_students,
    select_label_trained_teachers,
)
from kdpipe.analysis.selection import average_parts, build_finding, find_main_method
from kdpipe.stats.ranks import correlate_ranks_within

MIN_CELLS = 4  # of three, every third order agrees but for two neighbours
MEASURE = "teacher_measure"


def select_taught_cells(frame: pd.DataFrame) -> pd.DataFrame:
    """Select the students of a study's KD to the end, of single networks other than their own.

    Raises
    ------
    UntestableClaim
        If no student is trained by plain KD.
    """
    students = select_label_trained_teachers(select_direct_students(frame))
    students = students.loc[students.method == find_main_method(frame, "kd")]
    is_another = students.teacher_network != students.student_network
    return students.loc[is_another & (students.stop != UNTRAINED_STOP)]


def add_teacher_measure(rows: pd.DataFrame, frame: pd.DataFrame, column: str) -> pd.DataFrame:
    """Return rows of students with a measure of each teacher, at the epoch where it taught.

    Parameters
    ----------
    rows : DataFrame
        The rows of students.
    frame : DataFrame
        The normalized results frame, whose rows of teachers have the measure.
    column : str
        The column of the measure, as `val_nll`; missing where a frame lacks it.
    """
    teachers = frame.loc[frame.kind == "teacher"].drop_duplicates(["run", "stop"])
    values = teachers[column].astype(float) if column in teachers else [math.nan] * len(teachers)
    by_teacher = dict(zip(zip(teachers.run, teachers.stop, strict=True), values, strict=True))
    keys = zip(rows.teacher_run, rows.stop, strict=True)
    measured = [by_teacher.get(key, math.nan) for key in keys]
    return rows.assign(**{MEASURE: pd.Series(measured, index=rows.index, dtype=float)})


def find_teachers_before_drop(rows: pd.DataFrame, curves: pd.DataFrame) -> pd.Series:
    """Return of each row whether its teacher was stopped before its learning rate first fell.

    A run without a curve, or whose rate never falls, has no such teacher.
    """
    rates = curves.loc[curves.run.isin(set(rows.teacher_run))].sort_values(["run", "epoch"])
    falls = rates.loc[
        (rates.lr.astype(float).round(12).diff() < 0) & (rates.run == rates.run.shift())
    ]
    last_epochs = falls.drop_duplicates("run").set_index("run").epoch - 1
    limits = rows.teacher_run.map(last_epochs).astype(float)
    return (rows.stop_kind == "checkpoint") & (rows.stop_epochs <= limits)


def build_following_finding(evidence: Evidence, column: str, measure: str) -> Finding:
    """Build the finding that students' errors rise with a measure of their teachers.

    The rho of each seed is over its teachers and stops, the mean over students is tested. Its
    second interval is that of the rise of the errors along the ranks of the teachers (least
    squares): a sum of errors, over seeds and images. The teachers' measure is taken as it was
    measured.

    Parameters
    ----------
    evidence : Evidence
        The data of the study.
    column : str
        The column of the measure on the rows of teachers.
    measure : str
        Its name.

    Raises
    ------
    UntestableClaim
        If no student has four cells.
    """
    rows = add_teacher_measure(select_taught_cells(evidence.frame), evidence.frame, column)
    is_early = find_teachers_before_drop(rows, evidence.curves)
    used, reasons, rhos, trends, late_rhos, late_trends = [], [], {}, {}, {}, {}
    for key, cells in group_rows(rows, "student"):
        student = key["student"]
        known = _drop_unmeasured(cells)
        n_cells = len(known.drop_duplicates(["teacher", "stop"]))
        if n_cells < MIN_CELLS:
            reasons.append(
                f"{student} has {n_cells} cells (teachers and stops), {MIN_CELLS} are needed"
            )
            continue
        used.append(known)
        rhos[student], trends[student] = correlate_cells(known)
        late = known.loc[~is_early[known.index]]
        n_late = len(late.drop_duplicates(["teacher", "stop"]))
        if MIN_CELLS <= n_late < n_cells:
            late_rhos[student], late_trends[student] = correlate_cells(late)
    if not rhos:
        raise UntestableClaim("; ".join(reasons) or "no student is taught by KD to the end")
    text = f"Spearman's rho of the student's error and its teacher's {measure}"
    build = functools.partial(Contrast, delta=evidence.smallest.rank, unit="rho")
    mean_text = f"{text}{', mean over students' if len(rhos) > 1 else ''}"
    contrasts = [build(mean_text, average_parts(rhos), linear=average_parts(trends))]
    if len(rhos) > 1:
        contrasts += [
            build(f"{text}: {student}", rho, linear=trends[student], is_needed=False)
            for student, rho in rhos.items()
        ]
    if late_rhos:
        mean, trend = average_parts(late_rhos), average_parts(late_trends)
        late_text = f"{mean_text}, without teachers stopped before their first drop"
        contrasts.append(build(late_text, mean, linear=trend, is_needed=False))
    counts = [
        f"{student}: {len(cells.drop_duplicates(['teacher', 'stop']))} teachers and stops"
        for student, cells in zip(rhos, used, strict=True)
    ]
    description = "; ".join(
        [f"{rows.method.iloc[0]} to the end, no untrained teacher", *counts, *reasons]
    )
    return build_finding(contrasts, description, pd.concat(used))


def _drop_unmeasured(cells: pd.DataFrame) -> pd.DataFrame:
    """Leave out the teachers of which no seed has the measure, as pretrained weights."""
    by_stop = [cell for _, cell in group_rows(cells, "teacher", "stop")]
    measured = [cell for cell in by_stop if bool(cell[MEASURE].notna().any())]
    return pd.concat(measured) if measured else cells.iloc[:0]


def correlate_cells(cells: pd.DataFrame) -> tuple[pd.Series, pd.Series]:
    """Return by seed the rho of one student's cells, and the rise of its errors in points per rank.

    Seeds that lack a cell are left out.
    """
    errors = pivot_by_seed(cells, "teacher", "stop")
    measures = pivot_by_seed(cells, "teacher", "stop", column=MEASURE)
    is_complete = errors.astype(float).notna().all(axis=1) & measures.notna().all(axis=1)
    errors, measures = errors.loc[is_complete], measures.loc[is_complete]
    ranks = measures.rank(axis=1).sub(measures.rank(axis=1).mean(axis=1), axis=0)
    squares = (ranks**2).sum(axis=1)
    weights = ranks.div(squares.where(squares > 0, 1.0), axis=0)
    terms = [errors[cell] * weights[cell] for cell in errors]
    return correlate_ranks_within(errors, measures), functools.reduce(operator.add, terms)
