"""What a study may name, and the claims: the files of the listed folders."""

import inspect
from collections.abc import Iterator
from importlib import import_module

from kdpipe import registry
from kdpipe.analysis.claim import load_claims
from kdpipe.config import paths
from kdpipe.data.cards import KnownDataset
from kdpipe.losses import method as methods
from kdpipe.models.family import Family
from kdpipe.report.figure import FigureSpec
from kdpipe.report.table import load_tables
from pages.markdown import cell, code, paragraphs, table

QUESTION_TEXTS = {
    "difference": "a difference, its direction and its size",
    "not better": "not better, by the smallest effect",
    "not better and same": "not better, and the same, by the smallest effect",
}


def names() -> Iterator[str]:
    yield """
# Names that a study may use

Each is a file in a folder of the package. Custom ones need no file there: see
[a network](../how-to/network.md), [a term](../how-to/term.md), [data](../how-to/data.md) and
[a table](../how-to/table.md).

## Data sets
"""
    sets = registry.load_all_objects("kdpipe.data.datasets", "DATASET", KnownDataset)
    rows = []
    for one in sets.values():
        card, shape = one.card, " x ".join(map(str, one.card.shape))
        counts = (f"{number:,}" for number in (card.classes, card.train, card.test))
        rows.append((f"`{card.name}`", card.title, shape, *counts))
    yield from table(("Name", "Data set", "Shape", "Classes", "Train", "Test"), rows)
    yield "\n## Networks\n"
    yield "`kdpipe networks` lists them with their costs.\n"
    families = registry.load_all_objects("kdpipe.models.families", "FAMILY", Family)
    for family in sorted(families.values(), key=lambda one: one.order):
        yield f"- {code(family.name_format)}"
    yield "\n## Terms of a method\n"
    rows = [
        (f"`{name}`", one.title, f"`{name}_weight`") for name, one in methods.load_terms().items()
    ]
    yield from table(("Term", "What it is", "Its weight"), rows)
    yield "\nFormulas and keys: [methods.NAME](study.md#methodsname).\n"
    yield "## Tables\n"
    rows = [
        (f"`{name}`", one.title, _first("report.tables", name))
        for name, one in load_tables().items()
    ]
    yield from table(("Name", "Title", "What it shows"), rows)
    yield "\n## Figures\n\nEach is drawn if the study has the data for it.\n"
    figures = registry.load_all_objects("kdpipe.report.figures", "FIGURE", FigureSpec)
    rows = [
        (f"`{name}`", one.title, _first("report.figures", name))
        for name, one in sorted(figures.items(), key=lambda one: one[1].order)
    ]
    yield from table(("Name", "Title", "What it shows"), rows)


def _first(package: str, name: str) -> str:
    """The first paragraph of a module's docstring."""
    doc = inspect.cleandoc(import_module(f"kdpipe.{package}.{name}").__doc__ or "")
    return cell(doc.partition("\n\n")[0])


def claim_page() -> Iterator[str]:
    yield """
# Claims

A claim is a statement that a study can support, contradict, or leave open: of the paper (C), of how
long and on how many images one trains (E, D), of teachers from weights (F), of the field's methods
(M), of what a student takes over from its teacher (N), and a reader's question (Q). What each
compares is its formula; err is the top-1 error on test in points, and every effect is positive as
claimed. The rules of a verdict, and how often it is wrong: [statistics](../statistics.md). The
columns of `claims.json`: [results](results.md#claimsjson).
"""
    files = paths.list_claims()
    for key, one in load_claims().items():
        yield f"## {key}\n"
        yield f"**{one.title}.**{' One of the primary claims.' if one.primary else ''}\n"
        doc = inspect.cleandoc(import_module(f"kdpipe.analysis.claims.{files[key]}").__doc__ or "")
        yield f"It asks for: {QUESTION_TEXTS[one.question]}.\n"
        yield paragraphs(doc.removeprefix(f"{key}. ")) + "\n"
