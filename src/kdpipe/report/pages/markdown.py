"""The report as Markdown: the same words and tables as on the page, without its figures."""

from pathlib import Path

import pandas as pd

from kdpipe.evidence.advice.answer import Answer
from kdpipe.report.pages import facts
from kdpipe.report.pages.found import Found
from kdpipe.report.pages.headline import headline
from kdpipe.report.table import grid_of, markdown
from kdpipe.report.text import effect, escaped, few_seeds, place, price, probability, rounded, span


def text(found: Found) -> str:
    """The whole of index.md but for its last line."""
    known = (f"- {name}: {escaped(said)}" for name, said in facts.facts(found))
    parts = [f"# {escaped(found.plan.study.study)}", "## What to ship"]
    parts += [_decision(answer, found.weights) for answer in found.answers]
    parts += [escaped(" ".join(found.search))]
    parts += ["\n".join(f"- {escaped(line)}" for line in found.registered)]
    parts += ["## A or B?", markdown(found.a_or_b)] if found.a_or_b else []
    parts += [
        "## What it was compared with, and what it costs",
        *(_answer(one, bool(found.search)) for one in found.answers),
    ]
    parts.append(escaped(facts.second_interval(found.answers, found.verdicts)))
    if found.by_class:
        lines = [f"- {escaped(line)}" for line in found.of_classes]
        parts += ["## Error by class", "\n".join(lines), markdown(found.by_class)]
    parts += ["## The claims", _claims(found), "## Tables"]
    parts += [markdown(table) for table in found.sheets] or [facts.no_tables(found.plan)]
    parts += ["\n".join(f"- {escaped(line)}" for line in found.failed)]
    parts += ["## The study", "\n".join(known)]
    return "\n\n".join(part.strip() for part in parts if part.strip()) + "\n"


def _decision(found: Answer, weights: dict[str, str]) -> str:
    lines = [f"**{escaped(headline(found))}**"]
    if other := facts.other_answer(found):
        lines.append(escaped(other))
    if found.student in weights:
        path = weights[found.student]
        lines.append(
            f"Weights of the seed that is best on validation, in the results: {escaped(path)}. "
            f"Files to ship: `kdpipe export STUDY {Path(path).parts[1]}`"
        )
    return "\n\n".join(lines)


def _answer(found: Answer, searched: bool) -> str:
    lines = [f"### {escaped(found.student)}", ""]
    if found.test:
        error = rounded(found.test.mean, found.test.half_width)
        best = f"best of {found.options} options on validation"
        alone = "by seeds that had no part in the search" if searched else "the only option"
        lines.append(
            f"Test error {error} % (n {found.test.n}{few_seeds(found.test.n)}), "
            f"{best + place(found.place) if found.options > 1 else alone}. "
            "Against (paired by seed, the tested seed left out of the choice):"
        )
        lines += [""]
        for gain in found.gains:
            d = gain.difference
            size = rounded(d.mean, d.half_width, sign="+")
            second = f"; images too: {escaped(span(gain.images))}"
            also = facts.also(found, gain)
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


def _claims(found: Found) -> str:
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
            "the other reading": facts.other_verdict(v),
        }
        for v in found.verdicts
    ]
    grid = grid_of(pd.DataFrame(rows))
    return (
        f"{grid}\n\nEffects are signed so that positive is as claimed, and are those of the "
        "contrast that decides; p is the larger one of two tests, over seeds, and over seeds and "
        "images. ◆ are the primary claims, corrected (Holm, both directions at once) for their "
        "number, the others for theirs. C: of the paper; M: of the field's methods; Q: a reader's. "
        f"Reasons: claims.json.\n\nHow often is this page wrong? {facts.how_often_wrong(found)}"
    )
