"""The report of a study, from the records: one page, tables, figures, claims, and every number.

Needs neither torch nor a GPU nor any weights: a folder of records is enough, with curves where
there are any. A study that is half done renders with its holes; one of which nothing was run yet
is refused, so that a report which is there stays.
"""

import json
from collections.abc import Collection
from pathlib import Path

import pandas as pd

from kdpipe.beforehand import registered
from kdpipe.evidence import claim, frames, reading
from kdpipe.evidence.advice import answer, by_class, pairs
from kdpipe.evidence.selections import read_by, tidy
from kdpipe.plan import outdated, status
from kdpipe.plan.items import Plan
from kdpipe.report import a_or_b, source, style, validation
from kdpipe.report import by_class as classes
from kdpipe.report.figure import draw, figures
from kdpipe.report.pages import curves as small
from kdpipe.report.pages import decision, html
from kdpipe.report.pages import markdown as words
from kdpipe.report.pages.found import Found
from kdpipe.report.table import csv, filled, latex, markdown, tables
from kdpipe.results import readings, store
from kdpipe.results.files import exchange, temporary_files
from kdpipe.results.readings import Reading
from kdpipe.statistics.traced import Wrong


def render(plan: Plan, place: store.Store, folder: Path) -> Path:
    """Write the report of a plan into a folder; returns the folder.

    Raises KdpipeError, before anything is written, if there is neither a record nor a failure.
    """
    status.refuse_nothing(plan, place, failures=True)
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
    for name in ("tables", "figures"):  # there in any case
        (folder / name).mkdir(parents=True, exist_ok=True)
    exchange(files, last=folder / source.PAGE, gone=_others(folder, files.keys()))
    return folder


def looked_up(plan: Plan, place: store.Store) -> tuple[Found, pd.DataFrame]:
    """What the records say, and the frame of every number in either reading."""
    known, curves = frames.frame(plan, place), frames.curves(plan, place)
    outcomes: dict[Reading, reading.Outcomes] = {
        each: reading.Outcomes(plan, place, each) for each in readings.READINGS
    }
    wrong: dict[Reading, Wrong] = {each: one.wrong for each, one in outcomes.items()}
    study = plan.study
    delta, reads, read_at = study.smallest_effect, dict(study.claims), study.reading
    if (why := registered.sealed(plan, place)) is not None:
        known = validation.untested(known)
        frame = reading.at(known, read_at)
        verdicts, answers = (
            validation.verdicts(why, study.primary),
            validation.answers(frame, why),
        )
        sheets, drawings, either, missed = [validation.table(frame)], [], None, []
    else:
        frame = reading.at(known, read_at)
        look = claim.look_of(study)
        verdicts = claim.judge_both(
            known, curves, delta, read_at, reads, wrong, study.primary, look
        )
        answers = answer.both(known, read_at, wrong, look)
        asked = study.tables
        wanted = [name for name in tables() if name in asked]
        sheets = [filled(name, read_by(frame, asked[name]), look, wrong) for name in wanted]
        drawings = draw(frame, curves)
        compared = pairs.pairs(frame, wrong[read_at], look)
        either = a_or_b.sheet(compared, look) if compared else None
        missed = by_class.by_class(tidy(frame), answers, outcomes[read_at], look)
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
        reading.lacking(known, wrong),
        decision.weights(tidy(frame), answers, records),
    )
    return found, known


def _states(plan: Plan, records: dict[str, dict], frame: pd.DataFrame) -> dict[str, str]:
    """Of every run of the plan: as the frame has it; members of ensembles have no row in it."""
    known = dict(zip(frame.run, frame.status, strict=True))
    return {
        name: known.get(name) or records.get(name, {}).get("status", "to do") for name in plan.runs
    }


FORMS = {"csv": csv, "md": markdown, "tex": latex}
RESERVED = (a_or_b.NAME, classes.NAME)  # tables that a study need not ask for


def _others(folder: Path, written: Collection[Path]) -> list[Path]:
    """What an earlier report of another study left, whole or half; of kdpipe's names alone."""
    names = [f"tables/{name}.{ending}" for name in (*tables(), *RESERVED) for ending in FORMS]
    names += [f"figures/{name}.{ending}" for name in figures() for ending in ("svg", "png")]
    paths = [path for path in (folder / name for name in names) if path not in written]
    half = [left for path in paths for left in temporary_files(path.parent, path.name)]
    return [path for path in paths if path.is_file()] + half
