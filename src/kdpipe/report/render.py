"""The report of a study, from the records: one page, tables, figures, claims, and every number.

Needs neither torch nor a GPU nor any weights: a folder of records is enough, with curves where
there are any. A study that is half done renders with its holes; one of which nothing was run yet
is refused, so that a report which is there stays.
"""

import contextlib
import json
import re
import sys
from collections.abc import Collection
from pathlib import Path

import pandas as pd

from kdpipe.beforehand import registered
from kdpipe.evidence import claim, frames, reading
from kdpipe.evidence.advice import answer, by_class, pairs
from kdpipe.evidence.selections import read_by, tidy
from kdpipe.plan import hindrances, outdated, status
from kdpipe.plan.items import Plan
from kdpipe.report import own, source, style
from kdpipe.report.figure import draw, figures
from kdpipe.report.pages import curves as small
from kdpipe.report.pages import decision, html
from kdpipe.report.pages import markdown as words
from kdpipe.report.pages.found import Found
from kdpipe.report.table import csv, filled, latex, markdown, tables
from kdpipe.report.unasked import a_or_b, as_files, searched, validation
from kdpipe.report.unasked import by_class as classes
from kdpipe.results import readings, store
from kdpipe.results.files import exchange, temporary_files
from kdpipe.results.readings import Reading
from kdpipe.search import doubt, due
from kdpipe.section import DOTTED
from kdpipe.statistics.traced import Wrong
from kdpipe.study import asked
from kdpipe.wording import printable_lines


def render(plan: Plan, place: store.Store, folder: Path) -> Path:
    """Write the report of a plan into a folder; returns the folder.

    A run of which a file was altered is a hole that is named, and it makes no report up to date.
    Raises KdpipeError, before anything is written, if there is neither a record nor a failure.
    """
    status.refuse_nothing(plan, place, failures=True)
    place = hindrances.by_altered_files(plan, place)
    digest = source.digest(plan, place)  # before the records are read: what comes later is missing
    found, known = looked_up(plan, place)
    texts = {"results.csv": known.to_csv(index=False)}
    texts["claims.json"] = json.dumps(claim.as_json(found.verdicts), indent=1) + "\n"
    for table in filter(None, [*found.sheets, found.a_or_b, found.by_class]):
        for ending, form in FORMS.items():
            texts[f"tables/{table.name}.{ending}"] = form(table)
    svgs = {drawing.name: style.svg(drawing.figure, drawing.name) for drawing in found.drawings}
    for name, svg in svgs.items():
        texts[f"figures/{name}.svg"] = style.alone(svg)
    texts["index.html"] = html.html(found, svgs)
    texts[source.PAGE] = f"{words.text(found)}\n{source.last_line(digest)}\n"
    files = {folder / name: text.encode() for name, text in texts.items()}
    for drawing in found.drawings:
        files[folder / f"figures/{drawing.name}.png"] = style.png(drawing.figure)
    if theirs := _of_own(asked.own([*plan.study.tables, *plan.study.figures])):
        files[folder / source.LISTED] = "".join(f"{name}\n" for name in theirs).encode()
    if place.root.absolute() != folder.absolute():  # else it is published, and git knows it
        said = {str(path.relative_to(folder)): data for path, data in files.items()}
        files[folder / source.FILES] = source.listed(said)
    exchange(files, last=folder / source.PAGE, gone=_others(folder, files.keys()))
    altered = place.altered["runs"].values()
    for line in (*found.failed, *altered):
        print(f"kdpipe: {printable_lines(line)}", file=sys.stderr)
    return folder


def looked_up(plan: Plan, place: store.Store) -> tuple[Found, pd.DataFrame]:
    """What the records say, and the frame of every number in either reading."""
    known, curves = frames.frame(plan, place), frames.curves(plan, place)
    outcomes: dict[Reading, reading.Outcomes] = {
        each: reading.Outcomes(plan, place, each) for each in readings.READINGS
    }
    wrong: dict[Reading, Wrong] = {each: one.wrong for each, one in outcomes.items()}
    study = plan.study
    told: list[str] = []
    delta, reads, read_at = study.smallest_effect, dict(study.claims), study.reading
    if (why := registered.sealed(plan, place)) is not None:
        known = validation.untested(known)
        frame = reading.at(known, read_at)
        verdicts, answers = (
            validation.verdicts(why, study.primary),
            validation.answers(frame, why),
        )
        sheets, drawings, either, missed = [validation.table(frame)], [], None, []
        failed: list[str] = []
    else:
        frame = reading.at(known, read_at)
        look = claim.look_of(study)
        verdicts = claim.judge_both(
            known, curves, delta, read_at, reads, wrong, study.primary, look
        )
        answers = answer.both(known, read_at, wrong, look)
        wanted = [name for name in tables() if name in study.tables]
        sheets = [filled(name, read_by(frame, study.tables[name]), look, wrong) for name in wanted]
        sheets += filter(None, [as_files.found(frame, look)])
        tables_of_theirs, failed = own.sheets(study, frame, look, wrong)
        figures_of_theirs, also_failed = own.drawings(study, frame, curves)
        sheets += tables_of_theirs
        drawings = draw(frame, curves) + figures_of_theirs
        failed += also_failed
        compared = pairs.pairs(frame, wrong[read_at], look)
        either = a_or_b.sheet(compared, look) if compared else None
        missed = by_class.by_class(tidy(frame), answers, outcomes[read_at], look)
        if (search := due.of(study, place)) is not None:
            doubts = doubt.of(search, study.smallest_effect)
            sheets.insert(0, searched.sheet(plan, search, doubts))
            drawings[:0] = filter(None, [searched.drawing(plan, search)])
            told = [*searched.sentences(search, doubts), *searched.price(plan, search)]
    records = place.records("runs")
    found = Found(
        plan,
        frame,
        answers,
        verdicts,
        sheets,
        drawings,
        either,
        classes.sheet(missed, plan.card.class_names),
        [classes.said(one, plan.card.class_names) for one in missed],
        _states(plan, records, frame),
        outdated.of(plan, place),
        registered.said(plan, place),
        small.drawn(curves),
        failed,
        reading.lacking(known, wrong),
        decision.weights(tidy(frame), answers, records),
        told,
    )
    return found, known


def _states(plan: Plan, records: dict[str, dict], frame: pd.DataFrame) -> dict[str, str]:
    """Of every run of the plan: as the frame has it; members of ensembles have no row in it."""
    known = dict(zip(frame.run, frame.status, strict=True))
    return {
        name: known.get(name) or records.get(name, {}).get("status", "to do") for name in plan.runs
    }


def _of_own(names: list[str]) -> list[str]:
    """The files that tables and figures of one's own may have, whichever of the two each is."""
    tables = [f"tables/{name}.{ending}" for name in names for ending in FORMS]
    return tables + [f"figures/{name}.{ending}" for name in names for ending in ("svg", "png")]


OF_OWN = rf"(tables|figures)/{DOTTED.strip('^$')}"
FORMS = {"csv": csv, "md": markdown, "tex": latex}
RESERVED = (
    a_or_b.NAME,
    as_files.NAME,
    classes.NAME,
    searched.NAME,
)  # tables that a study need not ask for


def _others(folder: Path, written: Collection[Path]) -> list[Path]:
    """What an earlier report of another study left, whole or half: files of kdpipe's names, and of
    the tables and figures of one's own that it listed. A folder may hold other things.
    """
    names = [f"tables/{name}.{ending}" for name in (*tables(), *RESERVED) for ending in FORMS]
    names += [
        f"figures/{name}.{ending}"
        for name in (*figures(), searched.FIGURE)
        for ending in ("svg", "png")
    ]
    with contextlib.suppress(OSError, ValueError):
        listed = (folder / source.LISTED).read_text().splitlines()
        names += [source.LISTED, *(name for name in listed if re.fullmatch(OF_OWN, name))]
    names.append(source.FILES)
    paths = [path for path in (folder / name for name in names) if path not in written]
    half = [left for path in paths for left in temporary_files(path.parent, path.name)]
    return [path for path in paths if path.is_file()] + half
