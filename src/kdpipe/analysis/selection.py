"""What claims share: the cells that a claim rests on, choices on validation, and holes.

Everything here is decided by names and settings, never by test errors: which method counts as the
study's KD, which teacher is the largest, and, for each seed, the option that the validation errors
of other seeds prefer.

A method of the field is a kind: its loss terms, to the end or stopped. What a study tries of one
kind (weights, temperatures, when it stops) are its settings, and a `MethodArm` is the method at the
one that validation chose. So each, plain KD included, comes with its own best weights, and none
gains by having tried many.
"""

import functools
import math
import operator
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace

import pandas as pd

from kdpipe.analysis.claim import Evidence, Finding, UntestableClaim
from kdpipe.analysis.contrasts import Contrast
from kdpipe.analysis.dataframe import (
    PATH_SEPARATOR,
    SHARED_TEACHER_NOTE,
    describe_gaps,
    filter_rows,
    get_halves,
    get_series_by_seed,
    group_rows,
    list_weight_columns,
    pivot_by_seed,
    select_direct_students,
    select_label_trained_teachers,
)
from kdpipe.losses.method import long_label
from kdpipe.stats.intervals import Choice, select_options
from kdpipe.stats.replicates import Halves

PAPER_SETTINGS = {"temperature": 4.0, "ce_weight": 0.1, "kd_weight": 0.9}  # section 3
FIRST_LR_DROP = 0.3  # the share of the epochs after which the paper's ESKD stops (inferred)


def find_main_method(frame: pd.DataFrame, kind: str) -> str:
    """Return the study's main method of a kind: the one whose settings are nearest to the paper's.

    For ESKD also by where KD stops (0.3 of the epochs) and the weight of CE after it (1).

    Raises
    ------
    UntestableClaim
        If no student is trained by a method of that kind.
    """
    students = frame.loc[(frame.kind == "student") & (frame.method_kind == kind)]
    students = students.loc[~students.method.str.contains(PATH_SEPARATOR, regex=False)]
    if students.empty:
        raise UntestableClaim(f"no student of this study is trained by {long_label(kind)}")
    columns = [*PAPER_SETTINGS, "label_smoothing", "kd_epochs", "epochs", "ce_weight_after_stop"]
    settings = students[["method", "method_kind", *columns]].drop_duplicates("method")
    return min(settings.itertuples(), key=_measure_distance_to_paper).method


def get_method_settings(rows: pd.DataFrame) -> dict[str, float]:
    """Return the temperature and the weights of the first of some rows; none of no rows."""
    columns = (*list_weight_columns(rows), "temperature")
    return {name: rows.iloc[0][name] for name in columns} if len(rows) else {}


@functools.lru_cache(maxsize=8)
def select_students(evidence: Evidence, kind: str) -> pd.DataFrame:
    """Select the direct students of networks trained on labels by one method; all stops.

    Parameters
    ----------
    evidence : Evidence
        The data of the study.
    kind : str
        Of methods, the main one of which is selected.

    Raises
    ------
    UntestableClaim
        If there is none.
    """
    frame = evidence.frame
    label = find_main_method(frame, kind)
    students = select_label_trained_teachers(select_direct_students(frame))
    students = students.loc[students.method == label]
    if students.empty:
        raise UntestableClaim(f"no student is taught directly by a network with {label}")
    return students


def select_students_of_full_teachers(evidence: Evidence, kind: str) -> pd.DataFrame:
    """Select those of `select_students` whose teacher was trained to its end.

    Raises
    ------
    UntestableClaim
        If there is none.
    """
    students = filter_rows(select_students(evidence, kind), stop_kind="full")
    if students.empty:
        raise UntestableClaim(
            f"no student is taught by a fully trained teacher with {long_label(kind)}"
        )
    return students


def pivot_scratch_errors(frame: pd.DataFrame) -> pd.DataFrame:
    """Return test errors of runs on labels alone, of shape (n_seeds, n_students)."""
    errors = pivot_by_seed(frame.loc[frame.kind == "scratch"], "student")
    return errors.reindex(columns=sorted(set(frame.student) - {""}))


def choose_on_validation(
    rows: pd.DataFrame, validation: pd.DataFrame, test: pd.DataFrame
) -> Choice:
    """Return for each seed the option with the lowest mean validation error of other seeds.

    One option is no choice.

    Parameters
    ----------
    rows : DataFrame
        The rows of the options, which say in which half each seed is.
    validation, test : DataFrame of shape (n_seeds, n_options)
        Errors.

    Raises
    ------
    UntestableClaim
        If there are no validation errors to choose by.
    """
    if len(test.columns) == 1:
        return Choice(pd.Series(test.columns[0], index=test.index), test.iloc[:, 0])
    if validation.isna().to_numpy().all():
        raise UntestableClaim("there are no validation errors to choose by")
    return select_options(validation, test, get_halves(rows))


def take_choice(values: pd.DataFrame, choice: Choice) -> pd.Series:
    """Return the values of each seed's chosen option."""
    chosen = choice.chosen
    chosen_values = {seed: values.at[seed, chosen[seed]] for seed in chosen.index}
    has_objects = any(dtype.hasobject for dtype in values.dtypes)  # errors that know their runs
    return pd.Series(chosen_values, dtype=object if has_objects else float)


def average_parts(parts: Mapping) -> pd.Series:
    """Return the mean over parts (students, pairs) by seed, of seeds that have all of them."""
    if not parts:
        return pd.Series(dtype=float)
    table = pd.DataFrame(dict(enumerate(parts.values()))).dropna()
    return functools.reduce(operator.add, (part for _, part in table.items())) / len(parts)


def describe_choice(choice: Choice) -> str:
    """Return a choice in words: `wrn10-1 for 4 seeds, wrn16-1 for 1`."""
    counts = Counter(choice.chosen)
    if len(counts) == 1:
        return str(next(iter(counts)))
    return ", ".join(
        f"{option} for {count} seed{'s' * (count != 1)}" for option, count in counts.most_common()
    )


def build_finding(contrasts: list, description: str, rows: pd.DataFrame) -> Finding:
    """Build a finding with the holes of the cells that it used.

    Parameters
    ----------
    contrasts : list of Contrast
        Its effects.
    description : str
        How they were made.
    rows : DataFrame
        All rows that they rest on.
    """
    missing, one_teacher = [], False
    keys = ("kind", "student", "teacher", "stop", "via", "generation", "method", "ensemble")
    runs, teachers = (rows[column].tolist() for column in ("run", "teacher_run"))
    is_complete = ((rows.status == "done") & rows.test_error.notna()).tolist()
    positions_by_cell: dict[tuple, list[int]] = {}
    for position, key in enumerate(zip(*(rows[key].tolist() for key in keys), strict=True)):
        positions_by_cell.setdefault(key, []).append(position)
    for key, cell in positions_by_cell.items():
        if all(
            is_complete[position] for position in cell
        ):  # nearly every cell, and notes take their time
            has_several_runs = len({runs[position] for position in cell}) > 1
            one_teacher |= (
                has_several_runs and len({teachers[position] for position in cell} - {""}) == 1
            )
            continue
        cell_notes = [note for note in describe_gaps(rows.iloc[cell]).split("; ") if note]
        one_teacher |= SHARED_TEACHER_NOTE in cell_notes
        gaps = [note for note in cell_notes if note != SHARED_TEACHER_NOTE and "mixes" not in note]
        if gaps:
            missing.append(
                f"{_describe_cell(dict(zip(keys, key, strict=True)))}: {'; '.join(gaps)}"
            )
    return Finding(contrasts, description, missing, one_teacher)


def _describe_cell(key: dict) -> str:
    """Return a cell in words."""
    if key["kind"] == "ensemble":
        return f"ensemble {key['ensemble']}"
    path = [key["teacher"], *key["via"].split(PATH_SEPARATOR), key["student"]]
    name = PATH_SEPARATOR.join(part for part in path if part) or key["kind"]
    extra = [key["stop"] if key["stop"] != "full" else "", key["method"]]
    if key["generation"] > 1:
        extra.append(f"generation {key['generation']:g}")
    if key["kind"] != "student":
        extra.append(key["kind"])
    return f"{name} ({', '.join(part for part in extra if part)})"


def _measure_distance_to_paper(row) -> tuple:
    """Return a sort key: how far the settings of a method are from the paper's."""
    distance = abs(math.log(row.temperature / PAPER_SETTINGS["temperature"]))
    distance += abs(row.ce_weight - PAPER_SETTINGS["ce_weight"]) + abs(
        row.kd_weight - PAPER_SETTINGS["kd_weight"]
    )
    distance += row.label_smoothing if not math.isnan(row.label_smoothing) else 0
    if row.method_kind == "eskd":
        distance += abs(row.kd_epochs / row.epochs - FIRST_LR_DROP)
        distance += abs(row.ce_weight_after_stop - 1)
    return (math.inf if math.isnan(distance) else round(distance, 9), row.method)


def build_trade_off_contrasts(
    evidence: Evidence,
    parts: dict[str, dict],
    split: str,
    is_needed: bool,
    halves: Halves | None = None,
) -> list[Contrast]:
    """Build the contrasts of CE and KD loss on one split, from full KD to ESKD.

    Parameters
    ----------
    evidence : Evidence
        The data of the study.
    parts : dict of dict
        `<split>_nll` and `<split>_kl` of full KD less ESKD, by pair.
    split : {"train", "val"}
        The split.
    is_needed : bool
        Whether the claim rests on them.
    halves : mapping of float to int, or None
        The half of each seed, where two halves chose for each other.
    """
    ce_difference, kd_difference = (
        average_parts(parts[f"{split}_nll"]),
        -average_parts(parts[f"{split}_kl"]),
    )
    split_name = {"train": "train", "val": "validation"}[split]
    return [
        Contrast(
            f"CE on {split_name}, full KD - ESKD",
            ce_difference,
            delta=evidence.smallest.nll,
            is_needed=is_needed,
            halves=halves,
            unit="nat",
        ),
        Contrast(
            f"KD loss on {split_name}, ESKD - full KD",
            kd_difference,
            delta=evidence.smallest.kl,
            is_needed=is_needed,
            halves=halves,
            unit="nat",
        ),
    ]


@dataclass(frozen=True)
class MethodArm:
    """One method from one teacher, for each seed at the setting that validation chose.

    Attributes
    ----------
    kind : str
        The kind of the method.
    label : str
        Its label in the study; several where seeds choose differently.
    settings : list of str
        All settings that were tried.
    cell, rows : DataFrame
        The rows of the chosen settings, and those of all.
    name : str
        The same at every stop: the kind, or the label where settings stand apart.
    halves : mapping of float to int, or None
        The half of each seed, where two halves chose the setting for each other.
    """

    kind: str
    label: str  # of the study; several where seeds choose differently
    settings: list[str]  # all settings
    cell: pd.DataFrame
    rows: pd.DataFrame  # of all settings
    name: str = ""  # the same at every stop: the kind, or the label where settings stand apart
    halves: Halves | None = None

    @property
    def errors(self) -> pd.Series:
        """Return the test errors by seed."""
        return get_series_by_seed(self.cell)


def build_method_arms(rows: pd.DataFrame) -> list[MethodArm]:
    """Build the methods of one student, teacher and stop, in the order of the rows.

    Where there is nothing to choose by (no validation, too few seeds) each setting is an arm.
    """
    arms = []
    for key, cells in group_rows(rows, "method_kind"):
        kind = key["method_kind"]
        try:
            arms.append(select_best_setting(kind, cells))
        except UntestableClaim:
            settings = [select_best_setting(kind, cell) for _, cell in group_rows(cells, "method")]
            arms += [replace(arm, name=arm.label) for arm in settings]
    return arms


def find_plain_kd(arms: list[MethodArm]) -> MethodArm | None:
    """Return plain KD among some arms; of several settings the one nearest to the paper's."""
    kd = [arm for arm in arms if arm.kind == "kd"]
    if len(kd) < 2:
        return kd[0] if kd else None
    main_method = find_main_method(pd.concat([arm.rows for arm in kd]), "kd")
    return next(arm for arm in kd if arm.label == main_method)


def select_best_setting(kind: str, rows: pd.DataFrame) -> MethodArm:
    """Return a method at the setting that validation chose.

    Raises
    ------
    UntestableClaim
        If there are too few seeds to choose by.
    """
    test, validation = (
        pivot_by_seed(rows, "method"),
        pivot_by_seed(rows, "method", column="val_error"),
    )
    choice = choose_on_validation(rows, validation, test)
    if choice.chosen.empty:
        raise UntestableClaim(f"fewer than two seeds to choose among {', '.join(test)}")
    cell = rows.loc[rows.method == rows.seed.map(choice.chosen)]
    return MethodArm(kind, describe_choice(choice), list(test), cell, rows, kind, choice.halves)


def select_full_kd_students(rows: pd.DataFrame) -> pd.DataFrame:
    """Select the students of fully trained teachers that are distilled to the end."""
    return filter_rows(rows.loc[~(rows.kd_epochs < rows.epochs)], stop_kind="full")


def name_methods_without_results(rows: pd.DataFrame) -> str:
    """Return the methods none of whose settings has a result: any of them might be the best."""
    counts = rows.groupby("method_kind", sort=False).test_error.count()
    return ", ".join(long_label(kind) for kind in counts.index[counts == 0])
