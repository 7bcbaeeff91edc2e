"""The study in numbers and words, for the page and for its Markdown."""

import math
from collections import Counter

import pandas as pd

from kdpipe.evidence.advice.answer import Answer, Gain
from kdpipe.evidence.advice.by_class import NOT_KEPT
from kdpipe.evidence.claim import look_of
from kdpipe.evidence.reading import SAID
from kdpipe.evidence.selections import APART
from kdpipe.evidence.verdicts import Verdict
from kdpipe.plan.items import Plan
from kdpipe.report.pages.found import Found, counted
from kdpipe.report.pages.headline import headline
from kdpipe.report.text import effect, rounded, short
from kdpipe.results.readings import Reading, other
from kdpipe.study.grammar import Study
from kdpipe.wording import listed

HOW_OFTEN_WRONG = (
    "A false verdict, in either direction, stands among the claims of a family in at most 5 % of "
    "studies. That is what studies of known truth gave, sent through the code that judged this one "
    "(benchmarks/error_rates.md; the rules are in docs/statistics.md)."
)


def how_often_wrong(found: Found) -> str:
    """Of the page; found.registered has a line more for each deviation."""
    said, look = HOW_OFTEN_WRONG, look_of(found.plan.study)
    if len(look.counts) > 1:
        said += (
            f" The 5 % are those of all {len(look.counts)} looks together; at look {look.number} "
            f"or before it is at most {100 * look.so_far():.2g} %."
        )
    if len(found.registered) > 1:
        said += (
            " This study deviates from its registration, and then that is not known: the 5 % are "
            "those of what was registered."
        )
    return said


def facts(found: Found) -> list[tuple[str, str]]:
    """The study in numbers: data, seeds, runs, time, machines and versions."""
    plan, frame, outdated = found.plan, found.frame, found.outdated
    chosen = any(answer.chosen for answer in found.answers)
    study, data = plan.study, plan.study.data
    runs = frame.loc[~frame.kind.isin(["ensemble", *APART])].drop_duplicates("run")
    done = runs.loc[runs.status == "done"]
    size = data.train_size or plan.card.train - data.validation
    val = plan.card.validated(data.validation)
    noise = f", {data.label_noise:.0%} of their labels redrawn" if data.label_noise else ""
    ensembles = f"; {len(plan.ensembles):,} ensembles" if plan.ensembles else ""
    probes = f", {len(plan.probes):,} probes on other data" if plan.probes else ""
    price = [run.train_multiply_adds + run.teacher_multiply_adds for run in plan.runs.values()]
    warned = f"{len(outdated):,}, which kdpipe status names: {listed(outdated)}"
    return [
        (
            "Data",
            f"{plan.card.title}: {size:,} training images{noise}, {val:,} for validation, "
            f"{plan.card.test:,} for test{_unlabelled(plan)}",
        ),
        ("Seeds", _seeds(study)),
        ("Smallest difference worth having", f"{study.smallest_effect:g} points"),
        ("Runs", f"{counted(found.states)}{ensembles}{probes}"),
        *_of_images(plan),
        ("Multiply-adds of the plan", short(sum(price))),
        ("Time of the finished runs", _hours(done.seconds.sum())),
        ("Machines", _listed(done, "device")),
        ("torch", _listed(done, "torch")),
        ("kdpipe of the runs", _listed(done, "kdpipe")),
        (
            "Networks are read at",
            "; ".join(filter(None, [both_readings(study.reading), found.lacks])),
        ),
        *([] if found.by_class or not chosen else [("Error by class", NOT_KEPT)]),
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
        level = 100 * look_of(study).level()
        text += (
            f" (look {study.look} of {len(study.looks)}, which are after {listed(study.looks)} "
            f"seeds and share the 5 %: this one's level is {level:.2g} %, and corrected p-values, "
            "intervals and marks of differences are those of all looks)"
        )
    return text + (f"; splits {listed(study.splits)}" if study.splits != [0] else "")


def both_readings(here: Reading) -> str:
    """Where networks are read, and what stands beside it."""
    return f"{SAID[here]}, all arms alike; beside it at {SAID[other(here)]}"


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
    same = answer.ships == there.ships
    if same and (answer.ships == "scratch" or answer.chosen == there.chosen):
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


def no_tables(plan: Plan) -> str:
    """What to write for tables into a study that asks for none."""
    block = plan.study.experiments[0].name if plan.study.experiments else "EXPERIMENT"
    return (
        f"No tables were asked for. Write into the study, for instance, tables: {{teacher_size: "
        f"[{block}]}}; config.yaml names them all. results.csv has every number."
    )


def lost(frame: pd.DataFrame) -> list[tuple[str, str, str]]:
    """Runs without a result: name, state, reason."""
    runs = frame.loc[frame.status != "done"].drop_duplicates("run")
    reasons = runs.reason.fillna("") if len(runs) else []
    return list(zip(runs.run, runs.status, reasons, strict=True))


def _unlabelled(plan: Plan) -> str:
    """How many images the teacher's terms alone see, where a run has some."""
    methods = (run.spec["method"] or {} for run in plan.runs.values())
    there = {one["unlabelled_images"] for one in methods if one.get("unlabelled")}
    source = f"of {plan.unlabelled.source}" if plan.unlabelled else "of the training images left"
    return "".join(f"; {count:,} without labels, {source}" for count in there)


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


def _hours(seconds: float) -> str:
    hours, rest = divmod(round(seconds), 3600)
    return f"{hours} h {rest // 60} min" if hours else f"{rest // 60} min {rest % 60} s"


def _listed(runs: pd.DataFrame, column: str) -> str:
    counts = runs[column].dropna().value_counts() if column in runs else pd.Series(dtype=int)
    if len(counts) == 1:
        return str(counts.index[0])
    return "; ".join(f"{name} ({count:,} runs)" for name, count in counts.items()) or "not recorded"
