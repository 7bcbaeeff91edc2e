"""From numbers to text, in tables, on the page and in figures.

Numbers are rounded by their uncertainty: a mean to two significant digits of the half-width of
its interval. The data of a table keep every number as it is.
"""

import math
import re

from kdpipe.evidence.selections import UNTRAINED
from kdpipe.statistics.intervals import FEWEST_SEEDS
from kdpipe.statistics.ranks import Rank


def rounded(value: float, half: float, sign: str = "") -> str:
    """A mean to two significant digits of the half-width of its interval."""
    if math.isnan(value):
        return "-"
    if abs(value) < NOISE:
        value = 0.0
    if math.isnan(half):
        return f"{value:{sign}.3g}"
    if half < NOISE:
        return f"{value:{sign}.4g} ± 0" if value else "0"
    half = float(f"{half:.1e}")  # first, or 0.0996 would become 0.100
    decimals = max(0, 1 - math.floor(math.log10(half)))
    value = round(value, decimals) + 0.0  # no -0.0
    return f"{value:{sign}.{decimals}f} ± {half:.{decimals}f}"


def few_seeds(n: int) -> str:
    """What stands behind an n in place of the interval that so few seeds do not have."""
    return ", too few seeds for an interval" if n < FEWEST_SEEDS else ""


def effect(value: float, low: float, high: float, unit: str = "points") -> str:
    """A signed effect with its interval: `+0.52 ± 0.11 points`, or `+0.8 (+0.1 to +0.9) rho`."""
    if abs(high + low - 2 * value) > 1e-6:  # it does not lie in the middle
        return f"{value:+.2g} ({low:+.2g} to {high:+.2g}) {unit}"
    return f"{rounded(value, (high - low) / 2, sign='+')} {unit}"


def probability(p: float) -> str:
    """A p-value: two digits, and never 0."""
    if math.isnan(p):
        return "-"
    return "< 0.0001" if p < 0.0001 else f"{p:.2g}"


def short(number: float) -> str:
    """173738 as 173.7 k."""
    power = min(6, int(math.log10(number) // 3)) if number >= 1 else 0
    return f"{number / 1000**power:.4g} {' kMGTPE'[power]}".strip()


def stop_of(label: str) -> str:
    """Where a teacher stopped, said as what it is: at checkpoint 0 it has learned nothing."""
    return f"{label} (untrained)" if label == UNTRAINED else label


NOISE = 1e-9  # points: less is what sums of floats leave of nothing
# What Markdown takes for more than text: code, emphasis, a border of a table, tag, entity, link.
MEANT = re.compile(
    r"[\\`*|~]|<(?=[A-Za-z/!?])|&(?=#?\w+;)|\](?=[(\[:])|(?<![^\W_])_|_(?![^\W_])", re.ASCII
)


def escaped(text: object) -> str:
    """A text from the study or the records as it stands in Markdown: on one line, and no markup."""
    return MEANT.sub(r"\\\g<0>", " ".join(str(text).split()))


def price(number: float, unit: str = "") -> str:
    """A price for a page: `173.7 k`, or `-` where there is none."""
    return "-" if math.isnan(number) else f"{short(number)} {unit}".strip()


def span(images: dict | None) -> str:
    """An interval over seeds and test images: `-1.21 to 0.34`, or `-` with the reason."""
    if images is None:
        return "-"
    if "why" in images:
        return f"- ({images['why']})"
    width = images["high"] - images["low"]
    if width < 1e-9 * max(1.0, abs(images["low"])):
        return f"{images['low']:+.4g}" if abs(images["low"]) > 1e-9 else "0"
    digits = max(0, 1 - math.floor(math.log10(width / 2)))
    low, high = (round(images[end], digits) + 0.0 for end in ("low", "high"))
    return f"{low:+.{digits}f} to {high:+.{digits}f}"


def place(found: Rank | None) -> str:
    """How sure it is that an option is the best: `, first in 31 % of draws of the seeds, ...`."""
    if found is None or math.isnan(found.best):
        return ""
    return (
        f", first in {found.best:.0%} of draws of the seeds (95 % of them: rank {found.low:g} to "
        f"{found.high:g})"
    )
