"""Whether a study's effects were met when it was done again, with other seeds and another split.

    python benchmarks/replication.py reports/published/FIRST reports/published/AGAIN

Reads the claims.json of both reports and prints a table of every contrast that both measured: the
first study's effect, the interval in which the second's is to be expected, and the second's. A mean
of n2 seeds lies, by the first study's mean m, standard deviation s and n1 seeds, in 95 of 100 cases
within m ± t(n1 - 1) s sqrt(1 / n1 + 1 / n2) (a prediction interval; Hahn and Meeker, Statistical
Intervals, 1991, section 4.7) if seeds are all in which the two differ. The training images of
another split make it wider than that, so a few more misses than one in twenty are no surprise.

Contrasts of one study share runs: that so many of them were met has no interval of its own.
"""

import json
import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import stats

LEVEL = 0.95


@dataclass(frozen=True)
class Met:
    """One contrast of a claim in both studies; effects in its unit."""

    claim: str
    text: str
    unit: str
    first: float
    low: float
    high: float
    again: float
    verdicts: tuple[str, str]

    @property
    def within(self) -> bool:
        return self.low <= self.again <= self.high

    @property
    def holds_zero(self) -> bool:
        """Whether an effect of exactly 0 would have been met too."""
        return self.low <= 0 <= self.high

    @property
    def one_direction(self) -> bool:
        return self.first * self.again > 0


def expected(values: list[float], count: int) -> tuple[float, float]:
    """Where the mean of `count` new seeds is to be expected, given the values of the first ones."""
    mean, sd, n = np.mean(values), np.std(values, ddof=1), len(values)
    half = stats.t.ppf((1 + LEVEL) / 2, n - 1) * sd * math.sqrt(1 / n + 1 / count)
    return float(mean - half), float(mean + half)


def compared(first: list[dict], again: list[dict]) -> Iterator[Met]:
    """The contrasts that both studies measured. Each: of a claims.json.

    Left out are those that are no mean of their seeds or the same for every seed, so that nothing
    says how far they spread, what a claim before had too, and claims that the first study had not
    registered.
    """
    reference = {claim["id"]: claim for claim in again}
    seen = []
    for claim in first:
        if claim.get("explored"):
            continue
        other = reference[claim["id"]]
        # By their place: the text of a contrast may name what validation chose.
        for one, two in zip(claim["contrasts"], other["contrasts"], strict=False):
            known, new = (
                [value for value in contrast["values"] if value is not None]
                for contrast in (one, two)
            )
            if len(set(known)) < 2 or not new or known in seen:
                continue
            if not math.isclose(np.mean(known), one["effect"], abs_tol=1e-9):
                continue
            seen.append(known)
            # Rounded: of means that cancel a float leaves a last digit.
            yield Met(
                claim["id"],
                one["text"].removeprefix("(a) ").removeprefix("not better: "),
                one["unit"],
                round(one["effect"], 9),
                *expected(known, len(new)),
                round(two["effect"], 9),
                (_verdict(claim), _verdict(other)),
            )


def _verdict(claim: dict) -> str:
    """By the rules that the study was registered under, where these are kept."""
    return (claim.get("registered") or claim)["verdict"]


def table(actual: list[Met]) -> str:
    """In Markdown."""
    lines = ["| claim | contrast | first | expected again | again | met |", "|---" * 6 + "|"]
    for one in actual:
        lines.append(
            f"| {one.claim} | {one.text} | {one.first:+.3g} {one.unit} | {one.low:+.3g} to "
            f"{one.high:+.3g} | {one.again:+.3g} | {'yes' if one.within else 'no'} |"
        )
    return "\n".join(lines)


def main() -> None:
    first, again = (
        json.loads((Path(folder) / "claims.json").read_text()) for folder in sys.argv[1:3]
    )
    actual = list(compared(first, again))
    print(table(actual))
    met, same = (sum(getattr(one, name) for one in actual) for name in ("within", "one_direction"))
    settled = ("supports", "contradicts", "no worthwhile difference")
    report = [one for one in actual if one.verdicts[0] in settled]
    turned = {one.claim for one in report if set(one.verdicts) == {"supports", "contradicts"}}
    points = [one for one in actual if one.unit == "points"]
    in_points, zero = (
        sum(getattr(one, name) for one in points) for name in ("within", "holds_zero")
    )
    print(
        f"\n{in_points} of {len(points)} effects in points lie where they were expected; effects "
        f"of exactly 0 would have met {zero}"
    )
    print(
        f"{met} of {len(actual)} effects lie where they were expected, {same} have the first's "
        f"direction; of {len({one.claim for one in report})} claims with a verdict "
        f"{len(turned)} got the opposite one"
    )


if __name__ == "__main__":
    main()
