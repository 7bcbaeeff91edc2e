"""One effect by seed, what is asked of it, and what the study says of that.

An effect is signed so that positive is as claimed. What is asked of it is one of three things:

- `above`: the mean is above 0;
- `not better`: the mean is above -delta, so nothing worth having is lost by the claim;
- `same`: the mean lies within -delta and +delta (two one-sided tests, a 90 % interval).

It has two intervals where its runs' test images are known: Student's t over seeds, and one with
components of the seed, the image and both together. The wider one decides, so the p of a test is
the larger of its two.
"""

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd

from kdpipe.statistics.chance import Spread, chance, fewest
from kdpipe.statistics.components import Crossed
from kdpipe.statistics.intervals import FEWEST_SEEDS, Summary, estimate, summary
from kdpipe.statistics.power import detectable, seeds_needed
from kdpipe.statistics.traced import Second

TESTS = {
    "above": "paired one-sided t test over seeds: mean > 0",
    "not better": "paired one-sided t test over seeds: mean > -{delta:g}",
    "same": "two one-sided t tests over seeds: mean within ±{delta:g}",
}


@dataclass(frozen=True)
class Contrast:
    """One effect by seed, positive as claimed, and what is asked of it.

    `delta` is the smallest difference worth having, in the unit of the values; None where there
    is none (losses): such a contrast is only ever above 0, below 0, or neither. `estimate`: the
    effect where it is not the mean of the values, a rank correlation of means for instance, with
    an interval of its own; the tests are those of the values. `linear`: the same question as a sum
    of errors, where the values are none; the second estimate is then of it, in points.
    """

    text: str
    values: pd.Series
    asks: str = "above"
    delta: float | None = None
    needed: bool = True
    unit: str = "points"
    second: Second | None = None  # over seeds and test images
    estimate: Summary | None = None
    linear: pd.Series | None = None

    @property
    def level(self) -> float:
        """Of its intervals: two one-sided tests at 5 % are an interval of 90 %."""
        return 0.90 if self.asks == "same" else 0.95

    @functools.cached_property
    def summary(self) -> Summary:
        """Mean and interval of the effect over seeds."""
        return self.estimate or summary(self.values, self.level)

    @functools.cached_property
    def known(self) -> list[Crossed]:
        """What its tests are made of: over seeds, and over seeds and images where there is that."""
        found = [estimate(self.values), self.second.estimate if self.second else None]
        return [one for one in found if one is not None] if found[0] else []

    @property
    def half_width(self) -> float:
        """Of the wider interval."""
        halves = [self.summary.half_width]
        if len(self.known) > 1 and self.linear is None:
            low, high = self.known[1].interval(self.level)
            halves.append((high - low) / 2)
        return max(halves)

    @property
    def p_for(self) -> float:
        """p of the test that the effect is as claimed."""
        if self.asks == "same":
            return self._inside()
        margin = -self._margin() if self.asks == "not better" else 0.0
        return self._largest(lambda one: one.above(margin))

    def p_against(self, rate: float) -> float:
        """p of the test that it is not: below 0 or practically nothing, below -delta, outside.

        Practically nothing only where the study would have seen more. rate: of this test.
        """
        if self.asks == "not better":
            return self._largest(lambda one: one.below(-self._margin()))
        if self.asks == "same":
            return _least(
                self._largest(lambda one: one.above(self._margin())),
                self._largest(lambda one: one.below(-self._margin())),
            )
        below = self._largest(lambda one: one.below(0.0))
        if self.delta is None or not self.detectable(rate) < self.delta:
            return below
        return _least(below, self._inside())

    def is_blind(self, rate: float) -> bool:
        """Whether it asks for no difference where the study could hardly have seen one.

        An effect that is shown to be above 0 was seen: it is `not better` all the same.
        """
        if self.asks == "above" or self.detectable(rate) < self._margin():
            return False
        return self.asks == "same" or not self._largest(lambda one: one.above(0.0)) < rate

    def detectable(self, rate: float) -> float:
        """The smallest effect that a test at this rate finds with power 0.8."""
        return max(
            (detectable(math.sqrt(one.variance), one.df, rate) for one in self.known),
            default=math.nan,
        )

    def seeds_to_support(self, power: float, rate: float) -> int | None:
        """Seeds that show it is as claimed, if the effect is what was measured; None: no number."""
        mean = self._mean()
        if self.asks == "above":
            return self._seeds(mean, power, rate) if mean > 0 else None
        margin = self._margin()
        if self.asks == "not better":
            shown = self._seeds(mean + margin, power, rate) if mean > -margin else None
            seen = self._seeds(margin, power, rate)  # or, for an effect above 0, that one
            ways = [seen, self._seeds(mean, power, rate) if mean > 0 else None]
            enough = min((way for way in ways if way is not None), default=None)
        else:
            shown = self._seeds(margin - abs(mean), 1 - (1 - power) / 2, rate)
            shown = shown if abs(mean) < margin else None
            enough = self._seeds(margin, power, rate)
        return None if shown is None or enough is None else max(shown, enough)

    def seeds_to_oppose(self, power: float, rate: float) -> int | None:
        """Seeds that show it is not, if the effect is what was measured; None: no number does."""
        mean = self._mean()
        if self.asks == "not better":
            far = -self._margin() - mean
            return self._seeds(far, power, rate) if far > 0 else None
        if self.asks == "same":
            far = abs(mean) - self._margin()
            return self._seeds(far, power, rate) if far > 0 else None
        ways = [self._seeds(mean, power, rate) if mean < 0 else None]
        if self.delta is not None and abs(mean) < self.delta:
            inside = self._seeds(self.delta - abs(mean), 1 - (1 - power) / 2, rate)
            seen = self._seeds(self.delta, power, rate)
            ways.append(None if inside is None or seen is None else max(inside, seen))
        return min((way for way in ways if way is not None), default=None)

    def images(self) -> dict | None:
        """The second interval in plain values, or why there is none."""
        if self.second is None:
            return None
        return self.second.facts(self.level) | ({} if self.linear is None else {"unit": "points"})

    def facts(self) -> dict:
        """What a report says of it, in plain values."""
        s = self.summary
        return {
            "text": self.text,
            "asks": self.asks,
            "needed": self.needed,
            "unit": self.unit,
            "effect": s.mean,
            "sd": s.sd,
            "low": s.low,
            "high": s.high,
            "level": self.level,
            "n": s.n,
            "p": self.p_for,
            "images": self.images(),
            "seeds": [float(seed) for seed in self.values.index],
            "values": [float(value) for value in self.values],
        }

    def _mean(self) -> float:
        return self.known[0].mean if self.known else math.nan

    def _seeds(self, effect: float, power: float, rate: float) -> int | None:
        """The seeds that both of its tests need."""
        most = FEWEST_SEEDS
        for one in self.known if self.linear is None else self.known[:1]:
            fixed = one.part("seed")
            seeds = one.levels.get("seed", 1)
            sd = math.sqrt(max(0.0, one.variance - fixed) * seeds)
            df = functools.partial(one.df_at, "seed")
            number = seeds_needed(sd, effect, power, rate, fixed, df)
            if number is None:
                return None
            most = max(most, number)
        if {"seed", "split"} <= self.known[0].levels.keys():
            return self._seeds_and_splits(effect, power, rate, most)
        return most

    def _seeds_and_splits(self, effect: float, power: float, rate: float, least: int) -> int | None:
        """As many splits as there are make the variance itself unsure: at least so many seeds."""
        over, splits = self.known[0].components, self.known[0].levels["split"]
        of = [over[some] for some in (("seed",), ("split",), ("seed", "split"))]
        if not any(of):
            return least
        seen = len(self.known) > 1 and self.linear is None
        spread = Spread(*of, images=self.known[1].part("seed", "split") if seen else 0.0)
        return fewest(
            lambda seeds: chance("above", abs(effect), 0.0, spread, seeds, splits, rate),
            power,
            least,
        )

    def _margin(self) -> float:
        assert self.delta is not None, "a margin needs a smallest effect"
        return self.delta

    def _inside(self) -> float:
        margin = self._margin()
        return self._largest(lambda one: max(one.above(-margin), one.below(margin)))

    def _largest(self, p: Callable[[Crossed], float]) -> float:
        """Of the tests over seeds, and over seeds and images; nan of nothing."""
        if not self.known or min(self.known[0].levels.values()) < FEWEST_SEEDS:
            return math.nan
        return max(p(one) for one in self.known)


def _least(a: float, b: float) -> float:
    return math.nan if math.isnan(a) or math.isnan(b) else min(a, b)
