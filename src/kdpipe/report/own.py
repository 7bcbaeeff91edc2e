"""Tables and figures of one's own: files beside the study, which names them as `module.THING`.

Each is a Table or a Figure as those of kdpipe are, and stands behind these. `check` tries them on
the study without results and with pretended ones. When a report is rendered, one that fails is said
and leaves the rest of the report as it is.
"""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import pandas as pd

from kdpipe.beforehand.pretended import Pretended
from kdpipe.errors import KdpipeError
from kdpipe.evidence import frames, reading
from kdpipe.evidence.selections import read_by
from kdpipe.evidence.verdicts import Untested
from kdpipe.learning.own.code import blamed, found, staying
from kdpipe.plan.items import Plan
from kdpipe.report import style
from kdpipe.report.figure import Drawing, Figure, drawn
from kdpipe.report.table import Sheet, Table, csv, fill, latex, markdown
from kdpipe.results.readings import Reading
from kdpipe.results.store import Store
from kdpipe.statistics.looks import ONLY, Look
from kdpipe.statistics.traced import Wrong
from kdpipe.study import asked
from kdpipe.study.grammar import Study

Thing = TypeVar("Thing", Table, Figure)
Made = TypeVar("Made")


def sheets(
    study: Study,
    frame: pd.DataFrame,
    look: Look = ONLY,
    wrong: Mapping[Reading, Wrong] | None = None,
) -> tuple[list[Sheet], list[str]]:
    """The study's own tables, and a line for each that fails. frame: not tidy, of all blocks."""

    def filled(name: str, table: Table, reads: list[str]) -> Sheet:
        sheet = fill(name, table, read_by(frame, reads), look, wrong)
        for form in (csv, markdown, latex):
            form(sheet)
        return sheet

    return _made(study, "tables", Table, filled)


def drawings(
    study: Study, frame: pd.DataFrame, curves: pd.DataFrame
) -> tuple[list[Drawing], list[str]]:
    """The study's own figures for which there is data, and a line for each that fails."""

    def draw(name: str, figure: Figure, reads: list[str]) -> Drawing | None:
        try:
            drawing = drawn(name, figure, read_by(frame, reads), curves)
        except Untested:
            return None
        if drawing is not None:
            style.svg(drawing.figure, name)
        return drawing

    found, failed = _made(study, "figures", Figure, draw)
    return [one for one in found if one is not None], failed


def mistakes(plan: Plan) -> list[str]:
    """What is wrong with a study's own tables and figures, tried without results and with some."""
    said: dict[str, str] = {}
    nowhere, pretended = Store(Path(os.devnull)), Pretended(plan=plan)
    for place, on in ((nowhere, "without results"), (pretended, "with results")):
        frame = reading.at(frames.frame(plan, place), plan.study.reading)
        curves = frames.curves(plan, place)
        failed = [*sheets(plan.study, frame)[1], *drawings(plan.study, frame, curves)[1]]
        said = dict.fromkeys(failed, on) | said
    return [f"{line}; tried on this study {on}" for line, on in said.items()]


@staying()
def _made(
    study: Study, key: str, kind: type[Thing], make: Callable[[str, Thing, list[str]], Made]
) -> tuple[list[Made], list[str]]:
    """What is made of each thing of a kind, in the order that they ask for."""
    code = Path(study.code) if study.code else None
    things, made, failed = [], [], []
    for name in asked.own(asks := getattr(study, key)):
        where = f"{key}.{name}"
        try:
            thing = found(where, name, code)
            if not isinstance(thing, kind):
                raise KdpipeError(
                    f"{where}: {name} is of type {type(thing).__name__}, a "
                    f"{kind.__module__}.{kind.__name__} is wanted"
                )
            things.append((thing.order, name, thing))
        except KdpipeError as error:
            failed.append(str(error))
    for _, name, thing in sorted(things, key=lambda one: one[:2]):
        try:
            made.append(make(name, thing, asks[name]))
        except (Exception, SystemExit) as error:
            failed.append(f"{key}.{name}: it failed: {blamed(error, code)}")
    return made, failed
