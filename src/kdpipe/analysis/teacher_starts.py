"""Teachers of one network that begin in different ways, compared by their students.

A teacher begins at random or from weights. From weights, its classifier alone is trained (probed),
or more than that (fine-tuned). F1 and F2 compare the students of two of these, taught by the
study's KD to the end, from fully trained teachers of one network.
"""

import pandas as pd

from kdpipe.analysis.claim import Evidence, Finding, UntestableClaim
from kdpipe.analysis.contrasts import Contrast
from kdpipe.analysis.dataframe import START_AT_RANDOM, filter_rows, group_rows, pivot_by_seed
from kdpipe.analysis.selection import (
    average_parts,
    build_finding,
    choose_on_validation,
    describe_choice,
    select_full_kd_students,
    select_students,
)
from kdpipe.stats.intervals import Choice
from kdpipe.stats.replicates import merge_halves

NETWORK, START = "teacher_base", "teacher_start"


def build_start_finding(evidence: Evidence, first: str, second: str, hypothesis: str) -> Finding:
    """Build the finding err(student of the first teacher) - err(of the second), of one network.

    It is the mean over students and networks of teachers. Of several teachers that begin in the
    same way, the one counts that validation prefers by the errors of the student.

    Parameters
    ----------
    evidence : Evidence
        The data of the study.
    first, second : {"at random", "fine-tuned", "probed"}
        How the two teachers begin.
    hypothesis : {"above", "not better"}
        What is asked of the difference.

    Raises
    ------
    UntestableClaim
        If no student is taught by one network in both ways.
    """
    students = select_full_kd_students(select_students(evidence, "kd"))
    rows = add_teacher_starts(students, evidence.frame)
    effects, used, parts, halves = {}, [], [], []
    for key, cells in group_rows(rows, "student", NETWORK):
        pair = [filter_rows(cells, **{START: start}) for start in (first, second)]
        if any(teachers.empty for teachers in pair):
            continue
        choices = [_choose_teacher(teachers) for teachers in pair]
        label = f"{key['student']} from {key[NETWORK]}"
        effects[label] = (choices[0].errors - choices[1].errors).dropna()
        halves += [choice.halves for choice in choices]
        used += pair
        parts.append(f"{label} as {' and '.join(describe_choice(choice) for choice in choices)}")
    if not effects:
        raise UntestableClaim(
            f"no student is taught by one network in two ways, {first} and {second}"
        )
    text = f"error of the student, teacher {first} - {second}"
    delta, merged, several = evidence.delta, merge_halves(*halves), len(effects) > 1
    mean_text = f"{text}, mean over cells" if several else f"{text}: {next(iter(effects))}"
    contrasts = [Contrast(mean_text, average_parts(effects), hypothesis, delta, halves=merged)]
    if several:
        contrasts += [
            Contrast(f"{text}: {label}", effect, hypothesis, delta, False, halves=merged)
            for label, effect in effects.items()
        ]
    description = f"{rows.method.iloc[0]}, {'; '.join(parts)}"
    return build_finding(contrasts, description, pd.concat(used))


def add_teacher_starts(rows: pd.DataFrame, frame: pd.DataFrame) -> pd.DataFrame:
    """Return rows of students with the network of each teacher and how it begins.

    A teacher without a start is a network of its own name, at random.

    Parameters
    ----------
    rows : DataFrame
        The rows of students.
    frame : DataFrame
        The normalized results frame, whose rows of teachers have `network` and `start`.
    """
    teachers = frame.loc[frame.kind == "teacher"].drop_duplicates("run").set_index("run")
    teachers = teachers.reindex(columns=["network", "start"])
    networks = rows.teacher_run.map(teachers.network).fillna(rows.teacher_network)
    starts = rows.teacher_run.map(teachers.start).fillna(START_AT_RANDOM)
    return rows.assign(**{NETWORK: networks, START: starts})


def _choose_teacher(cells: pd.DataFrame) -> Choice:
    """Return the teacher that validation prefers for each seed, and the errors of its student."""
    test = pivot_by_seed(cells, "teacher")
    return choose_on_validation(cells, pivot_by_seed(cells, "teacher", column="val_error"), test)
