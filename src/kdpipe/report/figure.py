"""The figures of a report: pure functions from the tidy frame and the curves to a drawing.

Each file of `figures/` defines one. It returns its figure and what it shows, or None where the
study has no data for it. Errors are top-1 in % on test, a point is a mean over seeds with its
95 % interval.
"""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass

import matplotlib.figure
import pandas as pd

from kdpipe import discovery
from kdpipe.evidence.selections import as_files, direct, groups, networks, tidy, where
from kdpipe.evidence.verdicts import Untested
from kdpipe.report import style
from kdpipe.report.table import said_of
from kdpipe.statistics import units

ERROR = "top-1 error on test, %"
SIZE = "multiply-adds of the teacher"
MOST = 6  # panels, and lines in one

Drawn = tuple[matplotlib.figure.Figure, str] | None  # the figure and what it shows


@dataclass(frozen=True)
class Figure:
    """What a file of `figures/` defines; its name is the file's. `order`: its place in a report.

    The function gets the finished rows of the tidy frame, or of the networks that were measured as
    files (`of_files`), and the curves. Where it raises Untested (a method that it shows is not in
    the study) there is no such figure either.
    """

    title: str
    order: int
    function: Callable[[pd.DataFrame, pd.DataFrame], Drawn]
    of_files: bool = False


@dataclass(frozen=True)
class Drawing:
    """A figure with the words that stand below it and in its place."""

    name: str
    title: str
    caption: str
    figure: matplotlib.figure.Figure


def figures() -> dict[str, Figure]:
    """Every figure by its name, in the order of a report."""
    found = discovery.every("kdpipe.report.figures", "FIGURE", Figure)
    return dict(sorted(found.items(), key=lambda one: one[1].order))


def draw(frame: pd.DataFrame, curves: pd.DataFrame) -> list[Drawing]:
    """Every figure for which there is data, in the order of a report."""
    found, said = [], said_of(frame)
    rows = {of_files: _rows(frame, of_files) for of_files in (False, True)}
    for name, one in figures().items():
        with contextlib.suppress(Untested):
            found.append(_drawing(name, one, rows[one.of_files], curves, said))
    return [one for one in found if one is not None]


def drawn(name: str, one: Figure, frame: pd.DataFrame, curves: pd.DataFrame) -> Drawing | None:
    """One figure; None where there is no data for it. Raises Untested for the same."""
    return _drawing(name, one, _rows(frame, one.of_files), curves, said_of(frame))


def _rows(frame: pd.DataFrame, of_files: bool) -> pd.DataFrame:
    """What a figure is drawn from: what is finished, tidy."""
    rows = as_files(frame) if of_files else tidy(frame)
    return where(rows, status="done") if len(rows) else rows


def _drawing(
    name: str, one: Figure, rows: pd.DataFrame, curves: pd.DataFrame, said: str
) -> Drawing | None:
    if one.of_files and not len(rows):
        return None
    with style.applied():
        made = one.function(rows, curves)
    if made is None:
        return None
    figure, what = made
    return Drawing(name, one.title, f"{what} {_counts(rows)} {said}", figure)


def full(frame: pd.DataFrame) -> pd.DataFrame:
    """The direct students of fully trained networks."""
    return where(networks(direct(frame)), stop_kind="full")


def students_of(rows: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """Each student with its rows, as many as have a panel."""
    return [(key["student"], part) for key, part in groups(rows, "student")][:MOST]


def numbered(students: list[tuple[str, pd.DataFrame]], column: str) -> dict[str, int]:
    """A number for each name, the same in every panel: one legend serves them all."""
    names = dict.fromkeys(name for _, part in students for name in part[column])
    return {name: i for i, name in enumerate(names)}


def _counts(rows: pd.DataFrame) -> str:
    done = where(rows, status="done")
    images = done.test_n.max() if "test_n" in done else float("nan")
    test = f" of {images:,.0f} images" if images == images else ""
    # In a search teachers have more seeds than the students that went on to be tested.
    seeds = sorted((part.seed for _, part in done.groupby("kind")), key=lambda some: some.nunique())
    counts = dict.fromkeys(map(units.count, (seeds[0], seeds[-1]) if seeds else (done.seed,)))
    return f"Means with 95 % t intervals over n = {' to '.join(counts)}; test set{test}."
