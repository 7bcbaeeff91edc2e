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
from kdpipe.evidence import answer, claim, frames, reading
from kdpipe.evidence.answer import Answer
from kdpipe.evidence.selections import read_by
from kdpipe.evidence.verdicts import Verdict
from kdpipe.plan import outdated, status
from kdpipe.plan.items import Plan
from kdpipe.report import page, source, style, validation
from kdpipe.report.curves import drawn
from kdpipe.report.figure import draw, figures
from kdpipe.report.headline import headline
from kdpipe.report.table import Sheet, csv, filled, grid_of, latex, markdown, tables
from kdpipe.report.text import effect, escaped, few_seeds, place, price, probability, rounded, span
from kdpipe.results import readings, store
from kdpipe.results.files import exchange, temporary_files
from kdpipe.results.readings import Reading
from kdpipe.statistics.looks import ONLY, Look
from kdpipe.statistics.traced import Wrong


def render(plan: Plan, place: store.Store, folder: Path) -> Path:
    """Write the report of a plan into a folder; returns the folder.

    Raises KdpipeError, before anything is written, if there is neither a record nor a failure.
    """
    status.refuse_nothing(plan, place, failures=True)
    digest = source.digest(plan, place)  # before the records are read: what comes later is missing
    old = outdated.of(plan, place)
    known, curves = frames.frame(plan, place), frames.curves(plan, place)
    wrong: dict[Reading, Wrong] = {
        each: reading.Outcomes(plan, place, each).wrong for each in readings.READINGS
    }
    study = plan.study
    delta, reads, read_at = study.smallest_effect, dict(study.claims), study.reading
    said = registered.said(study, registered.read(study))
    if (why := registered.sealed(plan, place)) is not None:
        known = validation.untested(known)
        frame = reading.at(known, read_at)
        verdicts, answers = (
            validation.verdicts(why, study.primary),
            validation.answers(frame, why),
        )
        sheets, drawings = [validation.table(frame)], []
    else:
        frame = reading.at(known, read_at)
        look = ONLY if study.looks is None else Look(tuple(study.looks), study.look)
        verdicts = claim.judge_both(
            known, curves, delta, read_at, reads, wrong, study.primary, look
        )
        answers = answer.both(known, read_at, wrong)
        asked = study.tables
        sheets = [filled(name, read_by(frame, asked[name])) for name in tables() if name in asked]
        drawings = draw(frame, curves)
    lacks = reading.lacking(known, wrong)

    texts = {"results.csv": known.to_csv(index=False)}
    texts["claims.json"] = json.dumps(claim.as_json(verdicts), indent=1) + "\n"
    for table in sheets:
        for ending, form in FORMS.items():
            texts[f"tables/{table.name}.{ending}"] = form(table)
    svgs = {drawing.name: style.svg(drawing.figure, drawing.name) for drawing in drawings}
    for name, svg in svgs.items():
        texts[f"figures/{name}.svg"] = style.alone(svg)
    small = drawn(curves)
    texts["index.html"] = page.html(
        plan, frame, answers, verdicts, sheets, drawings, svgs, old, said, small, lacks
    )
    text = _markdown(plan, frame, answers, verdicts, sheets, old, said, lacks)
    texts[source.PAGE] = f"{text}\n{source.last_line(digest)}\n"
    files = {folder / name: text.encode() for name, text in texts.items()}
    for drawing in drawings:
        files[folder / f"figures/{drawing.name}.png"] = style.png(drawing.figure)
    for name in ("tables", "figures"):  # there in any case
        (folder / name).mkdir(parents=True, exist_ok=True)
    exchange(files, last=folder / source.PAGE, gone=_others(folder, files.keys()))
    return folder


FORMS = {"csv": csv, "md": markdown, "tex": latex}


def _others(folder: Path, written: Collection[Path]) -> list[Path]:
    """What an earlier report of another study left, whole or half; of kdpipe's names alone."""
    names = [f"tables/{name}.{ending}" for name in tables() for ending in FORMS]
    names += [f"figures/{name}.{ending}" for name in figures() for ending in ("svg", "png")]
    paths = [path for path in (folder / name for name in names) if path not in written]
    half = [left for path in paths for left in temporary_files(path.parent, path.name)]
    return [path for path in paths if path.is_file()] + half


def _markdown(
    plan: Plan,
    frame: pd.DataFrame,
    answers: list[Answer],
    verdicts: list[Verdict],
    sheets: list[Sheet],
    outdated: dict[str, str],
    said: list[str],
    lacks: str = "",
) -> str:
    facts = "\n".join(
        f"- {name}: {escaped(text)}" for name, text in page.facts(plan, frame, outdated, lacks)
    )
    known = "\n".join(["## Registration", "", *(f"- {escaped(line)}" for line in said)])
    parts = [
        f"# {escaped(plan.study.study)}",
        facts,
        known,
        "## The answer",
        *map(_answer, answers),
    ]
    parts.append(escaped(page.second_interval(answers, verdicts)))
    parts += ["## The claims", _claims(verdicts), "## Tables"]
    parts += [markdown(table) for table in sheets] or [page.no_tables(plan)]
    return "\n\n".join(part.strip() for part in parts) + "\n"


def _answer(found: Answer) -> str:
    lines = [f"**{escaped(headline(found))}**"]
    if other := page.other_answer(found):
        lines += ["", escaped(other), ""]
    if found.test:
        error = rounded(found.test.mean, found.test.half_width)
        best = f"best of {found.options} options on validation"
        lines.append(
            f"Test error {error} % (n {found.test.n}{few_seeds(found.test.n)}), "
            f"{best + place(found.place) if found.options > 1 else 'the only option'}. "
            "Against (paired by seed, the tested seed left out of the choice):"
        )
        lines += [""]
        for gain in found.gains:
            d = gain.difference
            size = rounded(d.mean, d.half_width, sign="+")
            second = f"; images too: {escaped(span(gain.images))}"
            also = page.also(found, gain)
            lines.append(
                f"- {escaped(gain.over)}: {size} points, {gain.mark} (n {d.n}){second}{also}"
            )
        lines += [f"- not in this study: {escaped(text)}" for text in found.missing]
        lines += ["", "What it costs, the student alone and with its teacher:", ""]
        lines += [
            f"- {escaped(cost.what)}: {price(cost.alone, cost.unit)}"
            + (f"; {price(cost.with_teacher, cost.unit)}" if cost.has_both else "")
            for cost in found.costs
        ]
    return "\n".join(lines)


def _claims(verdicts: list[Verdict]) -> str:
    rows = [
        {
            "": f"{v.id}{' ◆' if v.primary else ''}",
            "claim": v.title,
            "verdict": v.verdict,
            "effect": effect(v.effect, v.low, v.high, v.unit) if v.n else "-",
            "images too": "-" if not v.images or "why" in v.images else span(v.images),
            "n": v.n or "-",
            "p": probability(v.p_against if v.verdict == "contradicts" else v.p),
            "corrected": probability(
                v.p_against_corrected if v.verdict == "contradicts" else v.p_corrected
            ),
            "the other reading": page.other_verdict(v),
        }
        for v in verdicts
    ]
    grid = grid_of(pd.DataFrame(rows))
    return (
        f"{grid}\n\nEffects are signed so that positive is as claimed, and are those of the "
        "contrast that decides; p is the larger one of two tests, over seeds, and over seeds and "
        "images. ◆ are the primary claims, corrected (Holm, both directions at once) for their "
        "number, the others for theirs. C: of the paper; M: of the field's methods; Q: a reader's. "
        f"Reasons: claims.json.\n\nHow often is this page wrong? {page.HOW_OFTEN_WRONG}"
    )
