"""Formatting of results for tables, pages, figures and the terminal.

A number is rounded by its uncertainty: a mean to two significant digits of the half-width of its
interval. The data behind a table keep every digit. The recommendation for a student becomes one
sentence, `format_headline`, which says the same wherever it is shown.
"""

import math
import re
import shlex
from collections.abc import Iterable

from kdpipe.analysis.contest import Entrant
from kdpipe.analysis.dataframe import UNTRAINED_STOP
from kdpipe.analysis.recommendation import (
    Alternative,
    BreakEven,
    Candidate,
    PairedGain,
    Recommendation,
    find_best_recommendation,
)
from kdpipe.analysis.teacher_to_ship import TeacherToShip
from kdpipe.runs.decision_metric import ERROR_ADJECTIVES
from kdpipe.stats.intervals import MIN_SEEDS, Summary
from kdpipe.stats.ranks import Rank

ROUNDOFF = 1e-9  # points: a smaller number is the rounding error of a sum of floats
EQUAL_PRICE = 0.05  # prices of training that are apart by less are equal
SHARES = ("half", "a third", "a quarter", "a fifth", "a sixth", "a seventh", "an eighth")
SHARES += ("a ninth", "a tenth")
# What Markdown takes for more than text: code, emphasis, a border of a table, tag, entity, link.
MARKDOWN_SYNTAX = re.compile(
    r"[\\`*|~]|<(?=[A-Za-z/!?])|&(?=#?\w+;)|\](?=[(\[:])|(?<![^\W_])_|_(?![^\W_])", re.ASCII
)


def format_estimate(value: float, half_width: float, sign: str = "") -> str:
    """Return a mean rounded to two significant digits of the half-width of its interval.

    Parameters
    ----------
    value : float
        The mean; NaN gives `-`.
    half_width : float
        Half of the width of its interval; NaN where there is none.
    sign : str
        The sign option of a format specification: `+` for a difference.
    """
    if math.isnan(value):
        return "-"
    if abs(value) < ROUNDOFF:
        value = 0.0
    if math.isnan(half_width):
        return f"{value:{sign}.3g}"
    if half_width < ROUNDOFF:
        return f"{value:{sign}.4g} ± 0" if value else "0"
    half_width = float(f"{half_width:.1e}")  # first, or 0.0996 would become 0.100
    decimals = max(0, 1 - math.floor(math.log10(half_width)))
    value = round(value, decimals) + 0.0  # no -0.0
    return f"{value:{sign}.{decimals}f} ± {half_width:.{decimals}f}"


def format_effect(value: float, low: float, high: float, unit: str = "points") -> str:
    """Return a signed effect with its interval.

    As `+0.52 ± 0.11 points`, or `+0.8 (+0.1 to +0.9) rho` where the interval is not symmetric.
    """
    if abs(high + low - 2 * value) > 1e-6:
        return f"{value:+.2g} ({low:+.2g} to {high:+.2g}) {unit}"
    return f"{format_estimate(value, (high - low) / 2, sign='+')} {unit}"


def format_interval(interval: dict | None) -> str:
    """Return an interval over seeds and test images, as `-1.21 to +0.34`.

    Parameters
    ----------
    interval : dict or None
        `low` and `high`, or `why` there is none (see `ImageLevelEstimate.to_json`).
    """
    if interval is None:
        return "-"
    if "why" in interval:
        return f"- ({interval['why']})"
    width = interval["high"] - interval["low"]
    if width < 1e-9 * max(1.0, abs(interval["low"])):
        return f"{interval['low']:+.4g}" if abs(interval["low"]) > 1e-9 else "0"
    digits = max(0, 1 - math.floor(math.log10(width / 2)))
    low, high = (round(interval[end], digits) + 0.0 for end in ("low", "high"))
    return f"{low:+.{digits}f} to {high:+.{digits}f}"


def format_p_value(p: float) -> str:
    """Return a p-value with two digits, and never 0."""
    if math.isnan(p):
        return "-"
    return "< 0.0001" if p < 0.0001 else f"{p:.2g}"


def format_few_seeds(n: int) -> str:
    """Return what follows an n that is too small for an interval, else an empty text."""
    return ", too few seeds for an interval" if n < MIN_SEEDS else ""


def format_winner_rank(rank: Rank | None) -> str:
    """Return how sure it is that an option is the best one, as the continuation of a sentence."""
    if rank is None or math.isnan(rank.p_best):
        return ""
    return (
        f", the best of them with a probability of {rank.p_best:.0%} over other seeds and "
        f"{describe_rank_images([rank])}; rank {rank.low:g} to {rank.high:g} with 95 %"
    )


def describe_rank_images(ranks: Iterable[Rank | None]) -> str:
    """Return over which images ranks are, as the end of `over other seeds and ...`."""
    known = [rank for rank in ranks if rank is not None and not math.isnan(rank.p_best)]
    sources = {rank.images for rank in known}
    if "" in sources:
        return "these images alone (outcomes on single images are not known)"
    if any(rank.images == "test" and rank.is_validation for rank in known):
        return (
            "other images (what these add is taken from the outcomes on test, scaled to the number "
            "of validation images: those on validation were not kept)"
        )
    return "other images"


def format_number(number: float) -> str:
    """Return a number with four digits, or all those before its decimal point."""
    return f"{number:,.0f}" if abs(number) >= 9_999.5 else f"{number:.4g}"


def format_si(number: float) -> str:
    """Return a number with an SI prefix: 173738 as `173.7 k`."""
    power = min(6, int(math.log10(number) // 3)) if number >= 1 else 0
    return f"{number / 1000**power:.4g} {' kMGTPE'[power]}".strip()


def format_cost(number: float, unit: str = "") -> str:
    """Return a cost with an SI prefix and its unit, `-` for NaN."""
    return "-" if math.isnan(number) else f"{format_si(number)} {unit}".strip()


def format_stop(label: str) -> str:
    """Return the label of a teacher's stop; at checkpoint 0 the teacher is called untrained."""
    return f"{label} (untrained)" if label == UNTRAINED_STOP else label


def escape_markdown(text: object) -> str:
    """Return a text on one line, with what Markdown would take for syntax escaped."""
    return MARKDOWN_SYNTAX.sub(r"\\\g<0>", " ".join(str(text).split()))


def format_headline(recommendation: Recommendation) -> str:
    """Return the decision for one student in plain words: what to do, why, and at what price.

    Sentences follow on what is almost as good for less, and on an ensemble that is better still.
    """
    if recommendation.shipped is None:
        return f"No answer for {recommendation.student}: {recommendation.reason}."
    sentences = [_describe_decision(recommendation)]
    if recommendation.alternative is not None:
        sentences.append(_describe_alternative(recommendation, recommendation.alternative))
    gain = recommendation.shipped.ensemble_gain
    if gain is not None and gain.mark == "worse":
        sentences.append(
            f"Better still is {gain.baseline}: by {_format_gain(gain)} points, at "
            f"{gain.operations:.3g} times the operations for an image."
        )
    return _name_metric(" ".join(sentences), recommendation)


def format_answer(recommendation: Recommendation) -> list[str]:
    """Return the decision for one student in at most two lines: what to do, and what decided it."""
    return [_name_metric(line, recommendation) for line in _describe_answer(recommendation)]


def _name_metric(text: str, recommendation: Recommendation) -> str:
    """Return a text in which errors are named by the metric, unless that is top-1."""
    if recommendation.metric == "top1":
        return text
    return text.replace("% error", f"% {ERROR_ADJECTIVES[recommendation.metric]} error")


def _describe_answer(recommendation: Recommendation) -> list[str]:
    """Return the lines of the answer, of errors by any metric."""
    student, taught, labels = recommendation.student, recommendation.taught, recommendation.labels
    if recommendation.shipped is None:
        return [format_headline(recommendation)]
    if taught is None or labels is None:
        only = recommendation.shipped.entrant
        return [
            f"{describe_entrant(only, student)}: {format_error(only.test)} error.",
            f"There is no result {'on labels alone' if taught else 'of distilling'} to compare "
            f"with{'' if taught else f': {recommendation.reason}'}.",
        ]
    if not recommendation.is_settled:
        preferred = {"taught": "distilling", "labels": "labels alone"}[recommendation.side]
        return [
            f"Too few seeds to decide for {student}: "
            f"{_describe_labels(labels.entrant, student, 'on labels alone')} "
            f"{format_error(labels.entrant.test)}, taught by "
            f"{_describe_way(taught.entrant, student)} {format_error(taught.entrant.test)} error.",
            f"Validation prefers {preferred}.",
        ]
    shipped, rival, _ = _describe_sides(recommendation, taught, labels)
    return [shipped, f"{rival}. {_describe_difference(recommendation, is_short=True)}."]


def _describe_decision(recommendation: Recommendation) -> str:
    """Return the first sentences of a headline: the answer, with what distilling costs."""
    taught, labels = recommendation.taught, recommendation.labels
    if taught is None or labels is None or not recommendation.is_settled:
        return " ".join(_describe_answer(recommendation))
    shipped, rival, price = _describe_sides(recommendation, taught, labels)
    return f"{shipped} {rival}{price}. {_describe_difference(recommendation)}."


def _describe_sides(
    recommendation: Recommendation, taught: Candidate, labels: Candidate
) -> tuple[str, str, str]:
    """Return what ships, its rival, and what distilling costs, as the end of that sentence."""
    student = recommendation.student
    price = describe_price(recommendation.price_ratio)
    best = f", the best of {taught.n_options} ways on validation" if taught.n_options > 1 else ""
    taught_error, labels_error = (
        format_error(candidate.entrant.test) for candidate in (taught, labels)
    )
    if recommendation.side == "taught":
        network = describe_entrant(taught.entrant, student)
        return (
            f"Distill: train {network}{best}: {taught_error} error.",
            f"{_describe_labels(labels.entrant, student, 'On labels alone')} it is {labels_error}",
            f"; distilling {price}" if price else "",
        )
    network = _describe_labels(labels.entrant, student, f"train {student} on labels")
    decision = "You do not need a student" if labels.entrant.is_teacher else "Do not distill yet"
    return (
        f"{decision}: {network}: {labels_error} error.",
        f"The best distilled one (by {_describe_way(taught.entrant, student)}{best}) has "
        f"{taught_error}",
        f" and {price}" if price else "",
    )


def _describe_difference(recommendation: Recommendation, is_short: bool = False) -> str:
    """Return the difference of the errors that are shown, that which decides, and the verdict.

    `is_short`: without the former, where they are not the same.
    """
    taught, labels, gain = recommendation.taught, recommendation.labels, recommendation.decision
    assert taught is not None and labels is not None and gain is not None
    factor, verdict = 1, "better"
    if recommendation.side == "labels":
        factor = -1
        verdict = {"better": "worse", "worse": "better"}.get(gain.mark, gain.mark)
    judged = f"{_format_gain(gain, '+', factor)} points"
    shown = factor * (taught.entrant.test.mean - labels.entrant.test.mean)
    if max(taught.n_options, labels.n_options) == 1:
        return f"The difference is {judged}: {verdict}"
    if round(abs(shown - factor * gain.difference.mean), 9) == 0:
        also = "" if is_short else ", also with each chosen without the tested seed"
        return f"The difference is {judged}{also}: {verdict}"
    apart = "" if is_short else f"They are {abs(shown):.3g} points apart. "
    return (
        f"{apart}The difference that decides, each chosen without the tested seed, is {judged}: "
        f"{verdict}"
    )


def describe_price(ratio: float) -> str:
    """Return what distilling costs to train, compared with training on labels alone."""
    if math.isnan(ratio):
        return ""
    amount = f"{ratio:.2g} times as much" if ratio > 1 else f"{format_share(ratio)} as much"
    return f"costs {'as much' if abs(ratio - 1) < EQUAL_PRICE else amount} to train"


def _describe_alternative(recommendation: Recommendation, alternative: Alternative) -> str:
    """Return what is cheaper and almost as good, or not shown to be worse."""
    claim = f"Not shown to be worse by {alternative.smallest_effect:g} points"
    claim = "Almost as good" if alternative.is_close else claim
    entrant = alternative.entrant
    return (
        f"{claim}, for {format_share(alternative.share)} of the price of training: "
        f"{describe_entrant(entrant, recommendation.student)}, {format_error(entrant.test)} "
        f"({_format_gain(alternative.difference, '+')} points)."
    )


def format_share(share: float) -> str:
    """Return a share below 1 in words: `a third`, `45 %`."""
    for count, name in enumerate(SHARES, start=2):
        if abs(share * count - 1) < 0.05:
            return name
    return f"{share:.2g} %" if share < 0.01 else f"{share:.0%}".replace("%", " %")


def describe_entrant(entrant: Entrant, student: str) -> str:
    """Return a network and how it is trained.

    As `wrn10-0.5 taught by wrn16-2 with kd`, or `wrn10-0.5 on labels for 62 epochs`.

    Parameters
    ----------
    entrant : Entrant
        The network.
    student : str
        The student that it competes for.
    """
    name = entrant.key["student"]
    if name != student and not entrant.is_teacher:
        name += f" (a {student} that begins from weights)"
    if entrant.side == "labels":
        return _describe_labels(entrant, student, f"{name} on labels")
    return f"{name} taught by {_describe_way(entrant, student)}"


def _describe_labels(entrant: Entrant, student: str, text: str) -> str:
    """Return a text on training on labels alone, and for how long where there are lengths."""
    name = entrant.key["student"]
    if name != student:
        kind = "a teacher that is no more expensive" if entrant.is_teacher else "begun from weights"
        text += f" ({name}, {kind})" if name not in text else ""
    if entrant.key["variant"]:
        text += f" (drops {entrant.key['variant']})"
    return text if entrant.is_only_length else f"{text} for {entrant.key['epochs']:g} epochs"


def _describe_way(entrant: Entrant, student: str) -> str:
    """Return how a network was distilled, as `wrn16-2 stopped at checkpoint 13 with kd`."""
    option = entrant.key
    if entrant.is_teacher:
        return f"its own teacher ({option['teacher']} as a teacher, {option['stop']})"
    stop = "" if option["stop"] == "full" else f" stopped at {option['stop']}"
    if option["stop"].startswith("schedule"):
        stop = f" stopped early by {option['stop']}"
    if option["stop"].endswith("(longer)"):
        stop = f" trained by {option['stop']}"
    via = f" through {option['via']}" if option["via"] else ""
    generation = f", generation {option['generation']:g}" if option["generation"] > 1 else ""
    teacher = "itself" if option["teacher"] == student else option["teacher"]
    length = "" if entrant.is_only_length else f" for {option['epochs']:g} epochs"
    return f"{teacher}{stop}{via} with {option['method']}{generation}{length}"


def describe_best(recommendations: list[Recommendation]) -> str:
    """Return which of several students `kdpipe export --best` means, and why."""
    best = find_best_recommendation(recommendations)
    shipped = [one for one in recommendations if one.shipped is not None]
    if best is None or best.shipped is None or len(shipped) < 2:
        return ""
    entrant = best.shipped.entrant
    error = format_estimate(entrant.validation.mean, entrant.validation.half_width)
    return (
        f"Of these {len(shipped)} students kdpipe export --best means {best.student}, which has "
        f"the lowest validation error ({error} %)."
    )


def describe_teacher_to_ship(teacher: TeacherToShip, study_file: str = "STUDY") -> str:
    """Return that a teacher is better than every student, and what it costs, in sentences."""
    facts = (
        f"{format_error(teacher.test)} error, with {teacher.operations:.3g} times the operations "
        f"of {teacher.student} for an image and {format_si(teacher.parameters)} parameters"
    )
    command = f"{shlex.join(['kdpipe', 'export', study_file, teacher.run])} exports it."
    if teacher.limit is not None and teacher.milliseconds is not None:
        return (
            f"You do not need a student: {teacher.network}, a teacher, takes "
            f"{teacher.milliseconds:.3g} ms for an image, within the {teacher.limit:g} ms of the "
            f"search, and is better on validation than every student: {facts}. {command}"
        )
    return (
        f"You do not need a student if {teacher.network}, a teacher, is small enough for you: it "
        f"is better on validation than every student ({facts}). {command}"
    )


def describe_break_even(break_even: BreakEven) -> str:
    """Return from how many students on a teacher pays for itself, as a sentence."""
    if break_even.labels is None:
        return (
            "Whether a teacher pays for itself is open: no length on labels alone here is as good "
            "on validation as the best distilled one."
        )
    epochs = f"{break_even.labels.key['epochs']:g} epochs on labels alone"
    if break_even.n_students is None:
        return (
            f"A teacher never pays for itself here, for however many students: {epochs} are as "
            "good on validation as the best distilled one, for no more than that one takes with "
            "its teacher's answers alone."
        )
    students = (
        "the first student" if break_even.n_students == 1 else f"{break_even.n_students} students"
    )
    return (
        f"A teacher pays for itself from {students} on: {epochs}, the fewest that are as good on "
        "validation as the best distilled one, take more than that one with its teacher's answers."
    )


def format_error(summary: Summary | None) -> str:
    """Return a mean error in %."""
    if not summary or not summary.n:
        return "no"
    return f"{format_estimate(summary.mean, summary.half_width)} %"


def _format_gain(gain: PairedGain, sign: str = "", factor: int = 1) -> str:
    """Return a difference in points, without its sign unless one is given."""
    difference = gain.difference
    mean = factor * difference.mean if sign else abs(difference.mean)
    return format_estimate(mean, difference.half_width, sign)
