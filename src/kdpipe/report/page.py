"""One self-contained HTML page: the answer, the claims, the tables, the figures, the study.

It needs no network, no script to be read, and prints. Text comes from the study and the records
and is escaped; only the figures, which kdpipe drew itself, are put in as they are.
"""

import math
from collections import Counter
from importlib import resources

import jinja2
import pandas as pd
import yaml
from markupsafe import Markup

from kdpipe import __version__
from kdpipe.evidence.answer import Answer, Gain
from kdpipe.evidence.reading import SAID
from kdpipe.evidence.verdicts import Verdict
from kdpipe.plan.items import Plan
from kdpipe.report.figure import Drawing
from kdpipe.report.headline import headline
from kdpipe.report.table import Sheet, sort_keys
from kdpipe.report.text import effect, few_seeds, place, price, probability, rounded, short, span
from kdpipe.results.readings import Reading, other
from kdpipe.statistics.looks import Look
from kdpipe.study.grammar import Study
from kdpipe.wording import listed

LONG = 40  # rows; a longer table is folded
WIDE = 800  # pixels; a wider figure has a row for itself


def html(
    plan: Plan,
    frame: pd.DataFrame,
    answers: list[Answer],
    verdicts: list[Verdict],
    tables: list[Sheet],
    drawings: list[Drawing],
    svgs: dict[str, str],
    outdated: dict[str, str],
    registered: list[str],
    curves: list[tuple[str, Markup]],
    lacks: str = "",
) -> str:
    """The page. svgs: the drawings by name; outdated: what is made of weights that are gone;
    registered: how the study was registered, and each deviation from it; curves: one for each
    run, see `curves.drawn`; lacks: what has no best reading, or no more than its numbers.
    """
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"short": short, "p": probability, "price": price}
    environment.filters |= {"span": span, "sentence": sentence, "place": place}
    template = environment.from_string(
        resources.files("kdpipe.report").joinpath("templates", "report.html.jinja").read_text()
    )
    study = plan.study
    return template.render(
        plan=plan,
        version=__version__,
        facts=facts(plan, frame, outdated, lacks),
        lost=_lost(frame),
        registered=registered,
        curves=curves,
        answers=[(answer, headline(answer)) for answer in answers],
        verdicts=verdicts,
        counts={word: sum(v.verdict == word for v in verdicts) for word in MARKS},
        marks=MARKS,
        no_tables="" if study.tables else no_tables(plan),
        few=few_seeds,
        tables=[(table, *_fields(table), len(table.display) > LONG) for table in tables],
        drawings=[
            (one, Markup(_inline(one, svgs[one.name])), _pixels(one) > WIDE) for one in drawings
        ],
        names={*study.methods, *study.ensembles, *(b.name for b in study.experiments)},
        second=second_interval(answers, verdicts),
        wrong=HOW_OFTEN_WRONG,
        unsettled=unsettled,
        effect=effect,
        other_verdict=other_verdict,
        other_answer=other_answer,
        also=also,
        readings=both_readings(study.reading),
        rounded=rounded,
        config=yaml.safe_dump(
            study.model_dump(mode="json", exclude_defaults=True, exclude={"registration"}),
            sort_keys=False,
        ),
    )


MARKS = {"supports": "✓", "contradicts": "✗", "cannot tell": "?", "not tested": "-"}


def both_readings(here: Reading) -> str:
    """Where networks are read, and what stands beside it."""
    return f"{SAID[here]}, all arms alike; beside it at {SAID[other(here)]}"


def other_verdict(verdict: Verdict) -> str:
    """What the other reading says of a claim; loud where it says something else."""
    beside = verdict.beside
    if beside is None or not (verdict.n or beside.n):
        return "-"
    there = effect(beside.effect, beside.low, beside.high, verdict.unit) if beside.n else ""
    word = f"differs: {beside.verdict}" if beside.differs else beside.verdict
    return f"{word}, {there}" if there else word


def other_answer(answer: Answer) -> str:
    """What the other reading advises for a student, if that is something else."""
    there = answer.beside
    if there is None or not there.chosen:
        return ""
    marks = [
        next((g.mark for g in one.gains if g.kind == "scratch"), "") for one in (answer, there)
    ]
    if marks[0] == marks[1] and answer.chosen == there.chosen:
        return ""
    return f"The readings differ: read at {SAID[there.reading]}: {headline(there)}"


def also(answer: Answer, gain: Gain) -> str:
    """The difference to the same rival in the other reading, which may differ in its mark."""
    there = answer.also(gain)
    if there is None or answer.beside is None:
        return ""
    d = there.difference
    size = rounded(d.mean, d.half_width, sign="+")
    differs = " (the readings differ)" if there.mark != gain.mark else ""
    return f"; read at {SAID[answer.beside.reading]}: {size}, {there.mark}{differs}"


def no_tables(plan: Plan) -> str:
    """What to write for tables into a study that asks for none."""
    block = plan.study.experiments[0].name if plan.study.experiments else "EXPERIMENT"
    return (
        f"No tables were asked for. Write into the study, for instance, tables: {{teacher_size: "
        f"[{block}]}}; config.yaml names them all. results.csv has every number."
    )


def second_interval(answers: list[Answer], verdicts: list[Verdict]) -> str:
    """What the second interval is, or why this report has none."""
    made = [gain.images for answer in answers for gain in answer.gains]
    made += [verdict.images for verdict in verdicts]
    known = [one for one in made if one is not None]
    found = [one for one in known if "why" not in one]
    if not found:
        why = Counter(one["why"] for one in known).most_common(1)
        reason = why[0][0] if why else "nothing to compare yet"
        cure = (
            "It needs the outputs beside the records, or an archive that was made of them (kdpipe "
            "archive)."
        )
        said = f"There is no second interval, over seeds and test images: {reason}."
        return f"{said} {cure}" if "outputs" in reason else said
    return (
        "Images too: the second interval, Student's t with variance components of the seed, of the "
        f"{found[0]['levels']['image']:,} test images, and of both together; choices are held. It "
        "asks what other seeds and another test set of this size would have said; the first one "
        "asks it of other seeds alone. The wider of the two decides."
    )


def _of_images(plan: Plan) -> list[tuple[str, str]]:
    """What the labels mean and how the pixels came to be, of data of one's own."""
    card, data = plan.card, plan.study.data
    if not card.class_names and not card.scaled:
        return []
    side = f", then scaled to {data.resize} x {data.resize}" if data.resize else ""
    by = f"mean {data.mean or list(card.mean)} and deviation {data.std or list(card.std)}"
    whose = "of the study" if data.mean and data.std else "of all training images"
    return [
        ("Classes", ", ".join(card.class_names) or "numbered"),
        ("Images", f"{card.scaled}{side}; {by} {whose}, and in each record those that it took"),
    ]


HOW_OFTEN_WRONG = (
    "A false verdict, in either direction, stands among the claims of a family in at most 5 % of "
    "studies. That is what studies of known truth gave, sent through the code that judged this one "
    "(benchmarks/error_rates.md; the rules are in docs/statistics.md)."
)


def unsettled(verdict: Verdict) -> str:
    """What a verdict that cannot be told lacks."""
    said = f"Half-width {verdict.half_width:.2g} {verdict.unit}"
    if not math.isnan(verdict.detectable):
        said += (
            f"; an effect is seen with probability 0.8 from {verdict.detectable:.2g} on, which is "
            "more than the smallest that counts, so that none was seen says nothing"
        )
    if verdict.seeds_needed:
        said += f"; about {verdict.seeds_needed:,} seeds would settle it if the effect is what was "
        said += "measured, all claims of its family counted"
    else:
        said += "; no number of seeds would on these images, if the effect is what was measured"
    return f"{said}."


def facts(
    plan: Plan, frame: pd.DataFrame, outdated: dict[str, str], lacks: str = ""
) -> list[tuple[str, str]]:
    """The study in numbers: data, seeds, runs, time, machines and versions."""
    study, data = plan.study, plan.study.data
    runs = frame.loc[~frame.kind.isin(["ensemble", "probe"])].drop_duplicates("run")
    done = runs.loc[runs.status == "done"]
    states = ", ".join(f"{count:,} {state}" for state, count in runs.status.value_counts().items())
    size = data.train_size or plan.card.train - data.validation
    val = plan.card.validated(data.validation)
    noise = f", {data.label_noise:.0%} of their labels redrawn" if data.label_noise else ""
    probes = f", {len(plan.probes):,} probes on other data" if plan.probes else ""
    price = [run.train_multiply_adds + run.teacher_multiply_adds for run in plan.runs.values()]
    warned = f"{len(outdated):,}, which kdpipe status names: {listed(outdated)}"
    return [
        (
            "Data",
            f"{plan.card.title}: {size:,} training images{noise}, {val:,} for validation, "
            f"{plan.card.test:,} for test",
        ),
        ("Seeds", _seeds(study)),
        ("Smallest difference worth having", f"{study.smallest_effect:g} points"),
        ("Runs in the tables", states or "none"),
        ("Runs in the plan", f"{len(plan.runs):,}, and {len(plan.ensembles):,} ensembles{probes}"),
        *_of_images(plan),
        ("Multiply-adds of the plan", short(sum(price))),
        ("Time of the finished runs", _hours(done.seconds.sum())),
        ("Machines", _listed(done, "device")),
        ("torch", _listed(done, "torch")),
        ("kdpipe of the runs", _listed(done, "kdpipe")),
        ("Networks are read at", "; ".join(filter(None, [both_readings(study.reading), lacks]))),
        *(
            [("Outdated, made of weights that have been made again since", warned)]
            if outdated
            else []
        ),
    ]


def _seeds(study: Study) -> str:
    """Those of the look that is due, and all looks; the splits where there are others."""
    text = ", ".join(map(str, study.due_seeds))
    if study.looks:
        level = 100 * Look(tuple(study.looks), study.look).level()
        text += (
            f" (look {study.look} of {len(study.looks)}, which are after {listed(study.looks)} "
            f"seeds and share the 5 %: this one's level is {level:.2g} %, and corrected p-values "
            "are those of all looks)"
        )
    return text + (f"; splits {listed(study.splits)}" if study.splits != [0] else "")


def _lost(frame: pd.DataFrame) -> list[tuple[str, str, str]]:
    runs = frame.loc[frame.status != "done"].drop_duplicates("run")
    reasons = runs.reason.fillna("") if len(runs) else []
    return list(zip(runs.run, runs.status, reasons, strict=True))


def _fields(table: Sheet) -> tuple[list[str], list[list[tuple[str, float | str]]]]:
    """Headings and fields (text, what it is sorted by); a column of nothing is left out."""
    texts = table.display.astype(str).to_numpy().tolist()
    told = [i for i in range(len(table.display.columns)) if any(row[i] != "-" for row in texts)]
    rows = [
        [(row[i], keys[i]) for i in told] for row, keys in zip(texts, sort_keys(table), strict=True)
    ]
    return [str(table.display.columns[i]) for i in told], rows


def _inline(drawing: Drawing, text: str) -> str:
    """The SVG with a name and a description for those who cannot see it."""
    name = f"figure-{drawing.name}"
    labels = f'role="img" aria-labelledby="{name}-title" aria-describedby="{name}-caption" '
    labels += f'style="min-width: {0.65 * _pixels(drawing):.0f}px" '  # or its text is too small
    return text.replace("<svg ", f"<svg {labels}", 1)


def _pixels(drawing: Drawing) -> float:
    """The width at which a figure's text has the size that it was drawn with."""
    return 96 * drawing.figure.get_figwidth()


def sentence(text: str, names: set[str]) -> str:
    """With a capital letter, unless it begins with a name of the study or of a network."""
    first = text.split(" ", 1)[0].strip(",:;")
    named = first in names or any(letter.isdigit() for letter in first)
    return text if named else text[:1].upper() + text[1:]


def _listed(runs: pd.DataFrame, column: str) -> str:
    counts = runs[column].dropna().value_counts() if column in runs else pd.Series(dtype=int)
    if len(counts) == 1:
        return str(counts.index[0])
    return "; ".join(f"{name} ({count:,} runs)" for name, count in counts.items()) or "not recorded"


def _hours(seconds: float) -> str:
    hours, rest = divmod(round(seconds), 3600)
    return f"{hours} h {rest // 60} min" if hours else f"{rest // 60} min {rest % 60} s"
