"""Students by the length of their training, or by their number of images: rows and their table.

They stand beside the claims on training (E1 to E4, D1). A way is how a student is trained but for
the axis: on labels alone, or by one teacher, stop and method. `axis_figure` draws them.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import pandas as pd

from kdpipe.analysis.dataframe import (
    filter_rows,
    get_series_by_seed,
    group_rows,
    normalize_frame,
    select_direct_students,
)
from kdpipe.report.format import format_stop
from kdpipe.report.table import HOW_TO_READ, TableData, build_table_data, summarize_cell

SCRATCH = "scratch"


@dataclass(frozen=True)
class Axis:
    """An axis of training.

    Attributes
    ----------
    column : str
        The column of the frame.
    other : str
        The column of the other axis, which is part of a cell.
    label : str
        The label in figures.
    difference : str
        The difference of a table to the next smaller value of the same way.
    """

    column: str
    other: str
    label: str
    difference: str


LENGTHS = Axis("length", "train_size", "epochs of the student's training", "vs_shorter")
TRAIN_SIZES = Axis("train_size", "length", "training images of the student", "vs_fewer")


@dataclass(frozen=True)
class Way:
    """One way of training a student, with its cell at each value of the axis.

    Attributes
    ----------
    teacher, stop, method : str
        What teaches; empty, and `scratch`, on labels alone.
    cells : dict of DataFrame
        The cells by length or number of images, ascending.
    """

    teacher: str
    stop: str
    method: str
    cells: dict[float, pd.DataFrame]

    @property
    def name(self) -> str:
        """Return a short name, as `wrn16-2, schedule 120, kd`."""
        stop = "" if self.stop in ("", "full") else format_stop(self.stop)
        return ", ".join(part for part in (self.teacher, stop, self.method) if part)


def build_axis_table(frame: pd.DataFrame, axis: Axis, caption: str) -> TableData:
    """Build a row for each way of training a student and each length or number of images.

    Parameters
    ----------
    frame : DataFrame
        The results frame.
    axis : Axis
        `LENGTHS` or `TRAIN_SIZES`.
    caption : str
        What the table shows.
    """
    frame, rows = normalize_frame(frame), []
    for key, students in iter_students(frame, axis):
        ways = list(iter_ways(students, axis))
        scratch = {
            value: get_series_by_seed(cell)
            for way in ways
            if way.method == SCRATCH
            for value, cell in way.cells.items()
        }
        for way in ways:
            smaller = None
            for value, cell in way.cells.items():
                fields = {"teacher": way.teacher, "stop": way.stop, "method": way.method}
                fields |= {axis.column: value, "steps": cell.steps.max()}
                partners = {axis.difference: smaller}
                if way.method != SCRATCH:
                    partners["vs_scratch"] = scratch.get(value)
                    fields["method_kind"] = cell.method_kind.iloc[0]
                rows.append(key | fields | summarize_cell(cell, **partners))
                smaller = get_series_by_seed(cell)
    columns = f"student teacher stop method {axis.column} steps error vs_scratch {axis.difference}"
    headings = {"length": "epochs", "train_size": "images", "steps": "steps"}
    headings |= {"vs_shorter": "against the next shorter", "vs_fewer": "against the next fewer"}
    return build_table_data(f"{caption} {HOW_TO_READ}", rows, columns, **headings)


def iter_students(frame: pd.DataFrame, axis: Axis) -> Iterator[tuple[dict, pd.DataFrame]]:
    """Yield the networks that are trained at several values of the axis, with their runs.

    Parameters
    ----------
    frame : DataFrame
        The normalized results frame.
    axis : Axis
        `LENGTHS` or `TRAIN_SIZES`.

    Yields
    ------
    key : dict
        The student's label, with its value of the other axis where a study has several.
    runs : DataFrame
        Its scratch runs and taught students.
    """
    scratch = filter_rows(frame, kind=SCRATCH)
    rows = pd.concat([scratch, select_direct_students(frame)])
    for key, runs in group_rows(rows, "student_network", axis.other):
        if runs[axis.column].nunique() > 1:
            other = key[axis.other]
            unit = "images" if axis.other == "train_size" else "epochs"
            several = other == other and rows[axis.other].nunique() > 1
            label = f"{key['student_network']}{f' ({other:g} {unit})' if several else ''}"
            yield {"student": label}, runs


def iter_ways(runs: pd.DataFrame, axis: Axis) -> Iterator[Way]:
    """Yield the ways in which one network is trained, on labels alone first.

    Parameters
    ----------
    runs : DataFrame
        The runs of one network, see `iter_students`.
    axis : Axis
        `LENGTHS` or `TRAIN_SIZES`.
    """
    runs = runs.assign(
        method=runs.method.mask(runs.kind == SCRATCH, SCRATCH), teacher=_name_teachers(runs)
    )
    runs = runs.sort_values(axis.column, kind="stable")
    order = runs.assign(is_taught=runs.method != SCRATCH).sort_values(
        ["is_taught", "teacher_rank", "teacher", "stop_rank", "stop_epochs", "method"],
        kind="stable",
    )
    for key, cells in group_rows(order, "teacher", "stop", "method"):
        by_value = {
            value[axis.column]: cell
            for value, cell in group_rows(cells.sort_values(axis.column), axis.column)
        }
        yield Way(key["teacher"], key["stop"], key["method"], by_value)


def _name_teachers(runs: pd.DataFrame) -> pd.Series:
    """Return the teachers; one that was trained on other images than its student says so."""
    is_other = runs.teacher_train_size.notna() & (runs.teacher_train_size != runs.train_size)
    return runs.teacher_label.mask(is_other, runs.teacher_label + " (all images)")
