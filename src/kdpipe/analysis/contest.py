"""The contest of a study: every network that could ship, and which of them validation prefers.

For each network that some experiment ends in, all its ways of training compete: distilled by any
method, at the end of any path, from any teacher; on labels alone, for every length (`scratch`,
`scratch_long`); and begun from weights. A teacher competes too if it is no dearer at inference:
whole runs of it, not checkpoints. Ensembles answer at a multiple of the operations, so they are
compared apart (see `recommendation`).

What competes is an `Entrant`. It has a side: distilled, or trained on labels alone. Entrants are
compared over the same seeds; those with fewer seeds than others of their side are set aside.
"""

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from kdpipe.analysis import eval_point
from kdpipe.analysis.dataframe import (
    UNTRAINED_STOP,
    add_image_provenance,
    filter_rows,
    get_halves,
    get_test_part,
    get_validation_size,
    group_rows,
    pivot_by_seed,
    select_export_rows,
)
from kdpipe.stats.error_provenance import ErrorMaskLookup, ErrorWithProvenance
from kdpipe.stats.intervals import Choice, Summary, select_options, summarize
from kdpipe.stats.ranks import Rank, rank_options

Side = Literal["taught", "labels"]
LABEL_KINDS = ("scratch", "scratch_long")
WHOLE_STOPS = ("full", "schedule", "longer")  # stops of teachers that are whole runs
OPTION_COLUMNS = ("teacher", "stop", "via", "generation", "method")
# What an entrant is; `variant` tells recipes of one length apart.
KEY_COLUMNS = (
    *("kind", "student", *OPTION_COLUMNS),
    *("epochs", "train_size", "variant"),
)


@dataclass(frozen=True)
class Entrant:
    """A network that could ship, trained in one way, over all seeds of the contest.

    Attributes
    ----------
    side : {"taught", "labels"}
        Whether it was distilled, or trained on labels alone.
    key : dict
        What it is, by `KEY_COLUMNS`.
    validation, test : Summary
        Its errors.
    train_macs, teacher_macs, ancestor_macs : float
        Multiply-adds of its training: its own, those of its teacher's answers, and those of
        training all that it learned from.
    multiply_adds : float
        Of one image.
    is_only_length : bool
        Whether all entrants of its side were trained as long.
    """

    side: Side
    key: dict
    validation: Summary
    test: Summary
    train_macs: float
    teacher_macs: float
    ancestor_macs: float
    multiply_adds: float
    is_only_length: bool = True

    @property
    def price(self) -> float:
        """Return the multiply-adds of its training, with all that it learned from."""
        return self.price_with_answers + self.ancestor_macs

    @property
    def price_with_answers(self) -> float:
        """Return the multiply-adds of its training with its teacher's answers."""
        return self.train_macs + self.teacher_macs

    @property
    def is_teacher(self) -> bool:
        """Return whether it competes as a teacher that is no dearer than the student."""
        return self.key["kind"] == "teacher"


@dataclass(frozen=True)
class Entrants:
    """The entrants of one side.

    Attributes
    ----------
    side : {"taught", "labels"}
        The side.
    rows : DataFrame
        Their rows, which say in which half each seed is.
    validation, test : DataFrame of shape (n_seeds, n_entrants)
        Their errors, by the values of `KEY_COLUMNS`.
    n_set_aside : int
        Entrants with fewer seeds than these.
    """

    side: Side
    rows: pd.DataFrame
    validation: pd.DataFrame
    test: pd.DataFrame
    n_set_aside: int = 0

    @functools.cached_property
    def keys(self) -> list[tuple]:
        """Return the keys of the entrants."""
        return list(self.test.columns)

    @functools.cached_property
    def entrants(self) -> dict[tuple, Entrant]:
        """Return the entrants by their keys."""
        return {key: self._describe(key) for key in self.keys}

    @functools.cached_property
    def _cells(self) -> dict[tuple, pd.DataFrame]:
        """Return the rows of each entrant."""
        return {tuple(key.values()): cell for key, cell in group_rows(self.rows, *KEY_COLUMNS)}

    def find_best(self) -> tuple | None:
        """Return the entrant with the lowest mean validation error; None without any error."""
        return find_best_option(self.validation)

    def choose(self) -> Choice:
        """Return the choice of each seed, made without it; one entrant is no choice."""
        if len(self.keys) == 1:
            errors = self.test.iloc[:, 0].dropna()
            return Choice(pd.Series([self.keys[0]] * len(errors), errors.index), errors)
        return select_options(self.validation, self.test, get_halves(self.rows))

    def rank(self, key: tuple, outcomes: ErrorMaskLookup | None = None) -> Rank | None:
        """Return the rank of an entrant on validation.

        Parameters
        ----------
        key : tuple
            The entrant.
        outcomes : callable or None
            Returns what a run did on single images.
        """
        is_teacher = self.rows.kind == "teacher"  # as they taught
        rows = pd.concat(
            [
                add_image_provenance(self.rows.loc[~is_teacher], "val_error"),
                add_image_provenance(self.rows.loc[is_teacher], "val_error", "last"),
            ]
        )
        errors = pivot_by_seed(rows, *KEY_COLUMNS, column="val_error")
        errors = errors.loc[self.validation.index, list(self.validation.columns)]
        teachers = [(key[2], key[3]) for key in errors.columns]
        if not any(teacher for teacher, _ in teachers):
            teachers = None  # on labels alone
        size = get_validation_size(rows)
        return rank_options(errors, teachers, outcomes, size).get(key)

    def get_errors(self, key: tuple) -> tuple[pd.Series, pd.Series]:
        """Return the validation and the test errors of an entrant by seed."""
        position = self.keys.index(key)
        return self.validation.iloc[:, position], self.test.iloc[:, position].dropna()

    def select_cell(self, key: tuple) -> pd.DataFrame:
        """Select the rows of an entrant."""
        return self._cells[key]

    def _describe(self, key: tuple) -> Entrant:
        """Return an entrant with its errors and its price."""
        row = self.select_cell(key).iloc[0]
        macs = ("train_macs", "teacher_macs", "ancestor_macs")
        return Entrant(
            self.side,
            dict(zip(KEY_COLUMNS, key, strict=True)),
            summarize(self.validation[key].astype(float)),
            summarize(self.test[key].astype(float)),
            **{name: 0.0 if pd.isna(row[name]) else float(row[name]) for name in macs},
            multiply_adds=float(row.multiply_adds),
            is_only_length=self.rows.epochs.nunique() == 1,
        )

    def restrict_to_price(self, price: float) -> "Entrants":
        """Return the entrants that cost no more to train."""
        keys = [key for key in self.keys if self.entrants[key].price <= price]
        return Entrants(
            self.side,
            self.rows,
            self.validation.loc[:, keys],
            self.test.loc[:, keys],
            self.n_set_aside,
        )


@dataclass(frozen=True)
class Contest:
    """The contest of one network: both sides, over the same seeds."""

    student: str
    taught: Entrants
    labels: Entrants

    def list_entrants(self) -> list[Entrant]:
        """Return all entrants, the distilled ones first."""
        return [*self.taught.entrants.values(), *self.labels.entrants.values()]

    def get_side(self, side: Side) -> Entrants:
        """Return the entrants of one side."""
        return self.taught if side == "taught" else self.labels


# --- The rows of a contest


def measure_latencies(frame: pd.DataFrame) -> dict[str, float]:
    """Return the median latency in milliseconds of each network that was measured as a file.

    Parameters
    ----------
    frame : DataFrame
        The results frame, not normalized.
    """
    rows = select_export_rows(frame) if "kind" in frame else frame.iloc[:0]
    if not len(rows):
        return {}
    networks = rows.student_network.mask(rows.kind == "teacher", rows.teacher_network)
    medians = rows.assign(exported=networks).groupby("exported").float32_ms.median()
    return {str(name): float(ms) for name, ms in medians.dropna().items()}


def drop_slow_teachers(frame: pd.DataFrame, limit: float | None) -> pd.DataFrame:
    """Leave the teachers out of a frame that are slower than the limit of a search.

    Parameters
    ----------
    frame : DataFrame
        The results frame, not normalized.
    limit : float or None
        In milliseconds.
    """
    if limit is None or "teacher_network" not in frame:  # a frame without teachers
        return frame
    slow = [name for name, ms in measure_latencies(frame).items() if ms > limit]
    return frame.loc[~((frame.kind == "teacher") & frame.teacher_network.isin(slow))]


def select_terminal_students(frame: pd.DataFrame, with_controls: bool = False) -> pd.DataFrame:
    """Select the students that some experiment ends in, not those on the way to one.

    Parameters
    ----------
    frame : DataFrame
        The normalized results frame.
    with_controls : bool
        Whether to keep students of untrained teachers, which are no option.
    """
    students = filter_rows(frame, kind="student")
    if not with_controls:
        students = students.loc[students.stop != UNTRAINED_STOP]
    return students.loc[students["last"].astype(str) != "False"] if "last" in students else students


def select_entrants(frame: pd.DataFrame) -> pd.DataFrame:
    """Select the rows of everything that competes, with what each is in `KEY_COLUMNS`.

    `contest` is the network that a row competes for: of a network that begins from weights the one
    that it is. `row_student` is the student as the other rows of the frame have it.

    Parameters
    ----------
    frame : DataFrame
        The normalized results frame.
    """
    base = frame.student_network
    if "network" in frame:
        base = base.mask(frame.network.notna() & (frame.network != ""), frame.network)
    frame = frame.assign(contest=base, row_student=frame.student, variant="")
    sizes = frame.train_size.fillna(0) if "train_size" in frame else 0.0
    frame = frame.assign(student=frame.student_network, train_size=sizes)
    taught = select_terminal_students(frame).assign(side="taught")
    labels = filter_rows(frame, kind=list(LABEL_KINDS))
    labels = labels.loc[labels.contest.isin(set(taught.contest))]
    labels = name_variants(labels).assign(side="labels", kind="scratch", via="", method="")
    labels = labels.assign(teacher="", stop="", generation=0.0)
    teachers = [
        _select_teachers(frame, key["contest"], rows, labels)
        for key, rows in group_rows(taught, "contest")
    ]
    return pd.concat([taught, labels, *teachers], ignore_index=True)


def name_variants(labels: pd.DataFrame) -> pd.DataFrame:
    """Tell runs of one network, length and seed apart, whose drops were rounded differently.

    Parameters
    ----------
    labels : DataFrame
        Rows of runs on labels alone; in the result their `variant` says which drops they have, or
        whose price they are. It is empty where there is one run.
    """
    labels = labels.assign(variant="")
    keys = [name for name in ("student", "epochs", "train_size", "seed") if name in labels]
    n_runs = labels.groupby(keys, dropna=False).run.transform("nunique")
    cells = [labels[key] for key in keys[:-1]]
    is_several = n_runs.groupby(cells, dropna=False).transform("max") > 1
    if not is_several.any():
        return labels
    drops = labels.teacher
    if "drop_epochs" in labels:
        drops = labels.drop_epochs.where(labels.drop_epochs.notna(), labels.teacher)
    return labels.assign(variant=labels.variant.mask(is_several, drops.astype(str)))


def _select_teachers(
    frame: pd.DataFrame, contest: str, students: pd.DataFrame, labels: pd.DataFrame
) -> pd.DataFrame:
    """Select the whole teachers that are no dearer at inference than the student of a contest.

    Not those that have a contest of their own, and of the student's own network none that is as
    long as one of its runs on labels alone: it would be the same way of training twice.
    """
    teachers = filter_rows(frame, kind="teacher")
    teachers = teachers.loc[teachers.stop_kind.isin(WHOLE_STOPS)]
    teachers = teachers.loc[teachers.multiply_adds <= students.multiply_adds.max()]
    own_labels = filter_rows(labels, contest=contest)
    is_own = teachers.teacher_network == contest
    is_new = ~teachers.epochs.isin(own_labels.epochs)
    others = set(labels.contest) | set(frame.contest[frame.kind == "student"])
    teachers = teachers.loc[(is_own & is_new) | (~is_own & ~teachers.teacher_network.isin(others))]
    if eval_point.get_eval_point(frame) == "last":  # as they taught
        teachers = teachers.assign(test_error=_add_provenance(teachers))
    is_taught = (teachers.teacher_macs > 0) | (teachers.ancestor_macs > 0)
    return teachers.assign(
        contest=contest,
        student=teachers.teacher_network.where(teachers.teacher_network != "", teachers.teacher),
        side=np.where(is_taught, "taught", "labels"),
        generation=0.0,
    )


def _add_provenance(teachers: pd.DataFrame) -> pd.Series:
    """Return the test errors of whole teachers, which know their runs if those of others do."""
    if teachers.test_error.dtype != object:
        return teachers.test_error
    errors = [
        error if pd.isna(error) else ErrorWithProvenance(error, {get_test_part(teachers, run): 1.0})
        for error, run in zip(teachers.test_error, teachers.run, strict=True)
    ]
    return pd.Series(errors, index=teachers.index, dtype=object)


def build_contests(frame: pd.DataFrame) -> Iterator[Contest]:
    """Yield the contest of each network that some experiment ends in, smallest first.

    Parameters
    ----------
    frame : DataFrame
        The normalized results frame.
    """
    entrants = select_entrants(frame)
    for key, rows in group_rows(filter_rows(entrants, side="taught"), "contest"):
        labels = filter_rows(entrants, contest=key["contest"], side="labels")
        yield build_contest(key["contest"], rows, labels)


def build_contest(student: str, taught_rows: pd.DataFrame, label_rows: pd.DataFrame) -> Contest:
    """Return the contest of one network, over the seeds that its distilled entrants have.

    Parameters
    ----------
    student : str
        The network.
    taught_rows, label_rows : DataFrame
        The rows of each side (see `select_entrants`).
    """
    taught = _build_field("taught", taught_rows)
    known = (taught.validation.notna() & taught.test.notna()).all(axis=1)
    seeds = taught.test.index[known] if len(taught.keys) else None
    return Contest(student, taught, _build_field("labels", label_rows, seeds))


def _build_field(side: Side, rows: pd.DataFrame, seeds: pd.Index | None = None) -> Entrants:
    """Return the entrants of one side that have the most of some seeds, or of all."""
    test, validation = (
        pivot_by_seed(rows, *KEY_COLUMNS, column=column) for column in ("test_error", "val_error")
    )
    if seeds is not None and len(seeds):
        test, validation = (table.loc[table.index.isin(seeds)] for table in (test, validation))
    complete = list_complete(validation, test)
    n_set_aside = len(test.columns) - len(complete)
    return Entrants(side, rows, validation.loc[:, complete], test.loc[:, complete], n_set_aside)


# --- Options: the distilled entrants of one student alone


def pivot_option_errors(rows: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the errors of the options of one student that have the most seeds.

    Returns
    -------
    validation, test : DataFrame of shape (n_seeds, n_options)
        Options with fewer seeds than others are set aside.
    """
    test = pivot_by_seed(rows, *OPTION_COLUMNS)
    validation = pivot_by_seed(rows, *OPTION_COLUMNS, column="val_error")
    complete = list_complete(validation, test)
    return validation.loc[:, complete], test.loc[:, complete]


def find_best_option(validation: pd.DataFrame) -> tuple | None:
    """Return the option with the lowest mean validation error; None without any error."""
    if not validation.notna().to_numpy().any():
        return None
    errors = validation.to_numpy(float)
    return tuple(validation.columns[int(np.nanmean(errors, axis=0).argmin())])


def list_complete(validation: pd.DataFrame, test: pd.DataFrame) -> list:
    """Return the columns with the most seeds that have both errors.

    Parameters
    ----------
    validation, test : DataFrame
        Errors by seed, with the same columns.
    """
    counts = (validation.notna() & test.notna()).sum()
    return list(counts.index[counts == counts.max()]) if len(counts) else []
