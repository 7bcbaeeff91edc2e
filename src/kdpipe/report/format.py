"""Formatting of results for tables, pages, figures and the terminal.

A number is rounded by its uncertainty: a mean to two significant digits of the half-width of its
interval. The data behind a table keep every digit. The recommendation for a student becomes one
sentence, `format_headline`, which says the same wherever it is shown.
"""

import math
import re

from kdpipe.analysis.dataframe import UNTRAINED_STOP
from kdpipe.analysis.recommendation import PairedGain, Recommendation
from kdpipe.stats.intervals import MIN_SEEDS, Summary
from kdpipe.stats.ranks import Rank

ROUNDOFF = 1e-9  # points: a smaller number is the rounding error of a sum of floats
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
        f", first in {rank.p_best:.0%} of draws of the seeds (95 % of them: rank {rank.low:g} to "
        f"{rank.high:g})"
    )


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
    """Return the decision for one student in a sentence: what to ship, with both errors.

    Which distilled student is the best was chosen on validation; whether distilling pays is judged
    by its difference to labels alone, with the tested seed left out of the choice. What is not
    shown to be better is not shipped, since it costs a teacher. A second sentence follows where an
    ensemble of as many networks is better still.
    """
    if not recommendation.option:
        return f"No answer for {recommendation.student}: {recommendation.reason}."
    ensemble_gain = next((gain for gain in recommendation.gains if gain.kind == "equal size"), None)
    ensemble_text = ""
    if ensemble_gain and ensemble_gain.mark == "worse":
        ensemble_text = (
            f" An ensemble of {ensemble_gain.copies} scratch runs (as many networks as distilling "
            f"trained) is better than the distilled by {_format_gain(ensemble_gain)} points, at "
            f"{ensemble_gain.copies} times the operations."
        )
    return _describe_decision(recommendation) + ensemble_text


def _describe_decision(recommendation: Recommendation) -> str:
    """Return the first sentence of a headline."""
    name, gain = recommendation.student, recommendation.scratch_gain
    distilled = f"taught {_describe_option(recommendation)}"
    distilled_error = _format_error(recommendation.test)
    scratch_error = _format_error(recommendation.scratch)
    if gain is None:
        return (
            f"{name} {distilled}: {distilled_error} error. "
            "There is no result from scratch to compare with."
        )
    if not recommendation.arm_to_ship:
        return (
            f"Too few seeds to decide for {name}: from scratch {scratch_error}, "
            f"{distilled} {distilled_error} error."
        )
    best, unseen = "", ""
    if recommendation.n_options > 1:  # the best of several owes part of its lead to luck
        best = f", the best of {recommendation.n_options} ways on validation"
        unseen = "chosen without the tested seed "
    difference = f"{unseen}the difference is {_format_gain(gain, sign='+')} points: {gain.mark}."
    if recommendation.arm_to_ship == "student":
        return (
            f"Ship {name} {distilled}{best}: {distilled_error} error. "
            f"From scratch {scratch_error}; {difference}"
        )
    comma = "," if best else ""
    return (
        f"Ship {name} from scratch: {scratch_error} error. "
        f"T{distilled[1:]}{best}{comma} {distilled_error}; {difference}"
    )


def _describe_option(recommendation: Recommendation) -> str:
    """Return the chosen option, as `by wrn16-2 stopped at checkpoint 13 with kd`."""
    option = recommendation.option
    stop = "" if option["stop"] == "full" else f" stopped at {option['stop']}"
    if option["stop"] == UNTRAINED_STOP:
        stop = ", untrained,"
    if option["stop"].startswith("schedule"):
        stop = f" stopped early by {option['stop']}"
    if option["stop"].endswith("(longer)"):
        stop = f" trained by {option['stop']}"
    via = f" through {option['via']}" if option["via"] else ""
    generation = f", generation {option['generation']:g}" if option["generation"] > 1 else ""
    teacher = "itself" if option["teacher"] == recommendation.student else option["teacher"]
    return f"by {teacher}{stop}{via} with {option['method']}{generation}"


def _format_error(summary: Summary | None) -> str:
    """Return a mean error in %."""
    if not summary or not summary.n:
        return "no"
    return f"{format_estimate(summary.mean, summary.half_width)} %"


def _format_gain(gain: PairedGain, sign: str = "") -> str:
    """Return a difference in points, without its sign unless one is given."""
    difference = gain.difference
    mean = difference.mean if sign else abs(difference.mean)
    return format_estimate(mean, difference.half_width, sign)
