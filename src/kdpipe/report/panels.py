"""TODO report.panels, from error_figures."""

import pandas as pd

from kdpipe.evidence.selections import direct, groups, networks, where

ERROR = "top-1 error on test, %"
SIZE = "multiply-adds of the teacher"
MOST = 6  # panels, and lines in one


def full(frame: pd.DataFrame) -> pd.DataFrame:
    return where(networks(direct(frame)), stop_kind="full")


def students_of(rows: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    return [(key["student"], part) for key, part in groups(rows, "student")][:MOST]


def numbers(students: list[tuple[str, pd.DataFrame]], column: str) -> dict[str, int]:
    """A number for each name, the same in every panel: one legend serves them all."""
    names = dict.fromkeys(name for _, part in students for name in part[column])
    return {name: i for i, name in enumerate(names)}
