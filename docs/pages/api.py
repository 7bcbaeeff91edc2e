"""The Python interface: what users import, with the docstrings of the code."""

import inspect
import re
from collections.abc import Iterator
from typing import Any

from kdpipe.analysis import dataframe
from kdpipe.export import classifier
from kdpipe.losses import base
from kdpipe.report import figure, style
from kdpipe.report import table as tables
from pages.markdown import line, paragraphs, table

SECTION = re.compile(r"^(\w+)\n-{3,}\n", re.MULTILINE)
# Headings of the page; of each what it is for, and what is listed below it.
PARTS: tuple[tuple[str, str, tuple[tuple[str, Any], ...]], ...] = (
    (
        "Use an export",
        "`kdpipe.load(FOLDER)` loads what `kdpipe export` has written, without PyTorch: see "
        "[Export a model](../how-to/ship.md#use-it).",
        (
            ("kdpipe.load", classifier.load_classifier),
            ("kdpipe.export.classifier.Classifier", classifier.Classifier),
        ),
    ),
    (
        "Term",
        "A custom loss is an object of this type in a module next to the study: see "
        "[Add a custom loss term](../how-to/term.md). A file of the package defines it as `TERM`.",
        (
            ("kdpipe.losses.base.LossTerm", base.LossTerm),
            ("kdpipe.losses.base.ModelOutput", base.ModelOutput),
            ("kdpipe.losses.base.to_float32", base.to_float32),
        ),
    ),
    (
        "Table",
        "A custom table is an object of this type: see [Add a table or a figure to the "
        "report](../how-to/table.md). A file of the package defines it as `TABLE`.",
        (
            ("kdpipe.report.table.TableSpec", tables.TableSpec),
            ("kdpipe.report.table.TableData", tables.TableData),
            ("kdpipe.report.table.build_table_data", tables.build_table_data),
            ("kdpipe.report.table.summarize_cell", tables.summarize_cell),
        ),
    ),
    (
        "Figure",
        "A custom figure is an object of this type; a file of the package defines it as `FIGURE`.",
        (
            ("kdpipe.report.figure.FigureSpec", figure.FigureSpec),
            ("kdpipe.report.style.make_panels", style.make_panels),
        ),
    ),
    (
        "Data frame",
        "Tables and figures get the rows of [results.csv](results.md#resultscsv) as a data frame "
        "of pandas. These functions of `kdpipe.analysis.dataframe` select from it.",
        tuple(
            (f"kdpipe.analysis.dataframe.{function.__name__}", function)
            for function in (
                dataframe.normalize_frame,
                dataframe.select_direct_students,
                dataframe.group_rows,
                dataframe.get_series_by_seed,
            )
        ),
    ),
)


def api() -> Iterator[str]:
    yield """
# Python API

What a user of kdpipe imports: to use an exported network, and to write a term, a table or a figure.
Everything else is run by [commands](commands.md), and may change without notice.
"""
    for title, purpose, objects in PARTS:
        yield f"## {title}\n\n{purpose}\n"
        for name, one in objects:
            yield from _describe(name, one)


def _describe(name: str, one: Any) -> Iterator[str]:
    """An object: its signature, and its docstring in sections."""
    yield f"### {name}\n"
    if inspect.isfunction(one):
        parameters = inspect.signature(one).parameters.values()
        spelling = ", ".join(map(_spell_parameter, parameters))
        yield f"`{name}({spelling})`\n"
    text, *sections = SECTION.split(inspect.cleandoc(one.__doc__))
    yield f"{paragraphs(text.strip())}\n"
    for heading, body in zip(sections[::2], sections[1::2], strict=True):
        yield f"**{heading}**\n"
        yield from _list_entries(heading, body)
        yield ""


def _spell_parameter(parameter: inspect.Parameter) -> str:
    """A parameter with its default, without its annotation."""
    return str(parameter.replace(annotation=inspect.Parameter.empty))


def _list_entries(heading: str, body: str) -> Iterator[str]:
    """The entries of a section: each is a line, with what it means set in below it."""
    entries = [
        (head, line(meaning))
        for head, meaning in re.findall(
            r"^(\S.*)\n((?:(?:[ ]+.*)?\n)*)", f"{body.rstrip()}\n", re.M
        )
    ]
    if heading in ("Parameters", "Attributes"):
        rows = []
        for head, meaning in entries:
            names, _, kind = head.partition(" : ")
            rows.append((f"`{names}`", line(kind).replace("|", "\\|"), meaning.replace("|", "\\|")))
        yield from table(("Name", "Type", "Meaning"), rows)
    else:
        yield from (f"- `{head}`{': ' if meaning else ''}{meaning}" for head, meaning in entries)
