"""Students by how long, and on how many images, they were trained: what E1 to E4 and D1 compare.

A student is here a network on so many images, and its arms are its scratch runs and its taught
students by length (epochs). Taught is: directly, by one network that was trained on labels and is
another one, with the study's plain KD.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import pandas as pd

from kdpipe.analysis.claim import Evidence, UntestableClaim
from kdpipe.analysis.dataframe import filter_rows, group_rows, pivot_by_seed
from kdpipe.analysis.teacher_quality import select_taught_cells


@dataclass(frozen=True)
class Student:
    """A network on so many images, with its runs.

    Attributes
    ----------
    name : str
        The network, with the number of images where a study lists several.
    scratch : DataFrame
        Its scratch runs of all lengths.
    long_runs : DataFrame
        Scratch runs that were made longer for the price of a taught student.
    taught : DataFrame
        Its taught students.
    """

    name: str
    scratch: pd.DataFrame
    long_runs: pd.DataFrame
    taught: pd.DataFrame

    @property
    def scratch_errors(self) -> pd.DataFrame:
        """Return the test errors of the scratch runs, of shape (n_seeds, n_lengths)."""
        return _pivot_lengths(self.scratch, "test_error")

    @property
    def scratch_validation(self) -> pd.DataFrame:
        """Return the validation errors of the scratch runs, of shape (n_seeds, n_lengths)."""
        return _pivot_lengths(self.scratch, "val_error")

    @property
    def mean_scratch_validation(self) -> dict[float, float]:
        """Return the mean validation error of the scratch runs by length; NaN where unknown."""
        validation = self.scratch_validation
        return {length: round(float(validation[length].mean()), 9) for length in validation}

    def iter_ways(self) -> "Iterator[Way]":
        """Yield the taught students by teacher and stop."""
        for key, cells in group_rows(self.taught, "teacher", "stop"):
            yield Way(f"{key['teacher']} ({key['stop']})", cells)


@dataclass(frozen=True)
class Way:
    """The students of one teacher and stop, of all lengths.

    Attributes
    ----------
    name : str
        The teacher and its stop.
    rows : DataFrame
        Their rows.
    """

    name: str
    rows: pd.DataFrame

    @property
    def errors(self) -> pd.DataFrame:
        """Return the test errors, of shape (n_seeds, n_lengths)."""
        return _pivot_lengths(self.rows, "test_error")

    @property
    def validation(self) -> pd.DataFrame:
        """Return the validation errors, of shape (n_seeds, n_lengths)."""
        return _pivot_lengths(self.rows, "val_error")


def list_students(evidence: Evidence) -> list[Student]:
    """List the taught students of a study, each network and number of images apart.

    Raises
    ------
    UntestableClaim
        If no student is taught by plain KD.
    """
    frame, students = evidence.frame, []
    for key, taught in group_rows(select_taught_cells(frame), "student_network", "train_size"):
        runs = filter_rows(frame, **key)
        size = key["train_size"]
        students.append(
            Student(
                key["student_network"] + ("" if pd.isna(size) else f" on {size:.0f} images"),
                filter_rows(runs, kind="scratch"),
                filter_rows(runs, kind="scratch_long"),
                taught,
            )
        )
    if not students:
        raise UntestableClaim("no student is taught by KD to the end by another network")
    return students


def find_end(means: Mapping[float, float], delta: float) -> float:
    """Return the shortest length from which no longer one gains delta.

    Parameters
    ----------
    means : mapping of float to float
        The mean validation error by length, in points.
    delta : float
        The smallest difference worth having.
    """
    return min(
        length
        for length, mean in means.items()
        if not any(longer > length and mean - means[longer] >= delta for longer in means)
    )


def _pivot_lengths(rows: pd.DataFrame, column: str) -> pd.DataFrame:
    """Return a column by seed and length, lengths in ascending order."""
    table = pivot_by_seed(rows, "epochs", column=column)
    return table.loc[:, sorted(table.columns)]
