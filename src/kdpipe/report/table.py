"""The tables of a report: pure functions from one tidy frame to numbers and to text.

Each file of `tables/` defines one. A frame holds one row per cell and seed (see frames),
restricted to the blocks a table reads, with the scratch runs and ensembles that belong to them.
Errors are top-1 in points, differences are paired by seed and negative is better. A cell without
results keeps its row, with the reason. What the paper claims is judged elsewhere, on the same
selections.
"""

import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import pandas as pd

from kdpipe import discovery
from kdpipe.evidence import reading
from kdpipe.evidence.selections import traced
from kdpipe.learning.method import heading, is_kd
from kdpipe.report import differences
from kdpipe.report.differences import AT, NOTHING, Beside, Held
from kdpipe.report.rows import PRICES
from kdpipe.report.text import escaped, rounded, short, stop_of
from kdpipe.results.readings import Reading, other
from kdpipe.statistics.looks import ONLY, Look
from kdpipe.statistics.power import LEVEL
from kdpipe.statistics.traced import Wrong

HOW_TO_READ = (
    "Top-1 test error in points; mean ± half of the 95 % t interval over n seeds, which fewer than "
    "three do not have. Differences are paired by seed, negative is better."
)
SAID = {"method_kind": heading, "stop": stop_of}  # of columns whose texts are said otherwise
HEADINGS = {  # of columns that several tables show; others have the table's, or their own name
    "stop": "stop of the teacher",
    "teacher_error": "error of the teacher",
    "test_ece": "ECE, test",
    "best_test_error": "error, best on validation",
    "last_test_error": "error, last epoch",
    **{f"{split}_nll": f"CE, {split}" for split in ("train", "val", "test")},
    **{f"{split}_kl": f"KL, {split}" for split in ("train", "val", "test")},
    **{f"{split}_cross_entropy": f"CE to teacher, {split}" for split in ("train", "val", "test")},
    "vs_scratch": "against scratch",
    "vs_full_kd": "against full KD",
    "method_kind": "kind of method",
    "vs_full": "against the full teacher",
    "vs_direct": "against large to small",
    "vs_plain": "against the plain one",
}


# What LaTeX takes for more than text.
IN_LATEX = str.maketrans({sign: f"\\{sign}" for sign in "%_&#$}{"}) | str.maketrans(
    {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
)


class Grid(NamedTuple):
    """What a table makes of a frame: its caption and its rows, each number in a column of its own.

    `columns` are those displayed, under their `headings`; a table whose display has other columns
    makes that itself, of the rows when their differences are held together (see differences).
    """

    caption: str
    rows: list[dict]
    columns: list[str]
    headings: dict[str, str]
    display: Callable[[list[dict]], pd.DataFrame] | None = None


@dataclass(frozen=True)
class Table:
    """What a file of `tables/` defines; its name is the file's. `order`: its place in a report."""

    title: str
    order: int
    function: Callable[[pd.DataFrame], Grid]
    at_the_end: bool = False  # what it shows is of the last epoch in either reading


@dataclass(frozen=True)
class Sheet:
    """One table of one report: what its grid holds, under its name and title."""

    name: str
    title: str
    caption: str
    data: pd.DataFrame
    display: pd.DataFrame
    columns: list[str]


def tables() -> dict[str, Table]:
    """Every table by its name, in the order of a report."""
    found = discovery.every("kdpipe.report.tables", "TABLE", Table)
    return dict(sorted(found.items(), key=lambda one: one[1].order))


def filled(
    name: str,
    frame: pd.DataFrame,
    look: Look = ONLY,
    wrong: Mapping[Reading, Wrong] | None = None,
) -> Sheet:
    """The table of that name on a frame, restricted to what the table reads.

    Its caption says in which reading the frame is. look: which of several looks at the study;
    wrong: the images that each run gets wrong, by reading.
    """
    return fill(name, tables()[name], frame, look, wrong)


def fill(
    name: str,
    table: Table,
    frame: pd.DataFrame,
    look: Look = ONLY,
    wrong: Mapping[Reading, Wrong] | None = None,
) -> Sheet:
    """A table under a name, on a frame; see `filled`. Raises TypeError if it makes no Grid."""
    grid = table.function(traced(frame) if len(frame) else frame)
    if not isinstance(grid, Grid):
        raise TypeError(f"it gives a {type(grid).__name__}, a Grid is wanted (table.made)")
    said = "" if table.at_the_end else said_of(frame)
    return sheet(name, table.title, grid, look, said, differences.beside(frame, wrong))


def sheet(
    name: str, title: str, grid: Grid, look: Look = ONLY, said: str = "", known: Beside = NOTHING
) -> Sheet:
    """A grid with its differences held together; its caption says over how many they are."""
    found = differences.together(grid.rows, look, known)
    rows = found.rows
    caption = [grid.caption, *held(found), look.said if found.count else "", said]
    if found.differ:
        caption.append(f"In brackets the mark at the {AT[other(known.reading)]} where it differs.")
    if grid.display:
        display = grid.display(rows)
    else:
        headings = HEADINGS | grid.headings
        shown = {c: headings.get(c, c.replace("_", " ")) for c in grid.columns}
        lines = [{heading: text(row, c) for c, heading in shown.items()} for row in rows]
        display = pd.DataFrame(lines)
    data = pd.DataFrame(rows)
    return Sheet(name, title, " ".join(filter(None, caption)), data, display, grid.columns)


def said_of(frame: pd.DataFrame) -> str:
    """A sentence on where networks are read."""
    return f"Read at {reading.SAID[reading.of(frame)]}, teachers as they taught."


def made(caption: str, rows: list[dict], columns: str, **headings: str) -> Grid:
    """A grid of rows. columns: those shown; n follows the error, the notes come last.

    headings: of columns that this table alone shows. Published numbers get a column of their own
    where there are any, and so does what a method is where there are others than KD: its label is
    the study's and need not say it.
    """
    shown = [*columns.replace(" error ", " n error ").split(), "notes"]
    if "method" in shown and not all(is_kd(row.get("method_kind")) for row in rows):
        shown.insert(shown.index("method") + 1, "method_kind")
    if any(row.get("published") for row in rows):
        shown.insert(shown.index("error") + 1, "published")
    return Grid(caption, rows, shown, headings)


def held(found: Held) -> Iterator[str]:
    """Over how many differences the marks of a table hold together, and which intervals decide."""
    if not found.count:
        return
    apart = any("compared" in row for row in found.rows)  # and the table says so
    if found.count > 1 and not apart:
        yield (
            f"The {found.count} differences of this table hold together: each has the interval of "
            f"1 - {LEVEL:g} / {found.count} (Bonferroni) and its mark by that."
        )
    if found.seeds == found.count:
        yield "Intervals are over seeds alone: marks are for this test set."
        return
    few = f" (of {found.seeds} the first alone is known, about this test set)" * (found.seeds > 0)
    yield f"The interval is the wider of two, over seeds and over seeds and test images{few}."


def markdown(table: Sheet) -> str:
    """Title, caption and grid; numbers are rounded by their uncertainty."""
    grid = "No run of this study belongs here."
    if len(table.display):
        grid = grid_of(table.display)
    return f"**{escaped(table.title)}.** {escaped(table.caption)}\n\n{grid}\n"


def grid_of(frame: pd.DataFrame) -> str:
    """A frame of texts as a table in Markdown."""
    safe = frame.map(escaped).rename(columns=escaped)
    return safe.to_markdown(index=False, disable_numparse=True) or ""


def csv(table: Sheet) -> str:
    """Every number of the table, unrounded."""
    return table.data.to_csv(index=False, float_format="%.10g", lineterminator="\n")


def latex(table: Sheet) -> str:
    """The displayed table for a paper; it needs the package booktabs."""
    if table.display.empty:
        return f"% {' '.join(table.title.split())}: no run of this study belongs here.\n"
    style = table.display.style.hide(axis="index")
    style.format(escape="latex").format_index(escape="latex", axis=1)
    caption = f"{table.title}. {table.caption}".translate(IN_LATEX)
    body = style.to_latex(
        hrules=True,
        label=f"tab:{table.name}",
        caption=caption,
        position="ht",
        column_format="l" * len(table.display.columns),
    )
    return body.replace("±", r"$\pm$").replace(" > ", r" $\to$ ").replace("`", "'")


def sort_keys(table: Sheet) -> list[list[float | str]]:
    """For each displayed field what a page sorts it by: a number where there is one."""
    if table.columns:
        return [
            [_key(row.get(column)) for column in table.columns]
            for row in table.data.to_dict("records")
        ]
    return [[_leading(str(field)) for field in row] for row in table.display.to_numpy()]


def text(row: dict, column: str) -> str:
    """One field: `7.61 ± 0.12`, a difference with its sign and mark, a plain number, or text."""
    value = row.get(column)
    if value is None or value == "" or pd.isna(value):
        return "-"
    if isinstance(value, str):
        return SAID.get(column, str)(value)
    if column in (*PRICES, "operations"):
        return short(value)
    if f"{column}_low" not in row:
        return f"{value:.4g}" if isinstance(value, float) else str(value)
    half = (row[f"{column}_high"] - row[f"{column}_low"]) / 2
    if f"{column}_mark" not in row:
        return rounded(value, half)
    pairs = row[f"{column}_n"]
    only = "" if pairs == row["n"] else f" ({pairs} pairs)"
    return f"{rounded(value, half, sign='+')}, {differences.said(row, column)}{only}"


def _key(value) -> float | str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    return value if isinstance(value, str) else float(value)


def _leading(field: str) -> float | str:
    number = re.match(r"[+-]?\d+(\.\d+)?", field)
    return float(number[0]) if number else field.strip("-")
