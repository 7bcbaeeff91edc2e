"""Contrasts: one effect by seed, its hypothesis, and the tests of that hypothesis.

An effect is positive if it is as claimed. There are three hypotheses:

- `above`: the mean is above 0, a direction; its opposite is that the mean is below 0. How large the
  difference is, is another question, which an interval answers (`claim.measure_size`);
- `not better`: the mean is above -delta, so nothing worth having is lost by the claim;
- `same`: the mean is between -delta and +delta (two one-sided tests, a 90 % interval).

A contrast has two intervals: Student's t over seeds, and one with variance components of the seed,
the image and both together, where its runs are known image by image: test errors, disagreement
with the teacher on test, losses and errors on validation. The wider one decides, so the p of a test
is the larger of the two.
"""

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import pandas as pd

from kdpipe.stats.error_provenance import ImageLevelEstimate
from kdpipe.stats.intervals import MIN_SEEDS, Summary, estimate_mean, summarize
from kdpipe.stats.power import (
    Spread,
    compute_contrast_power,
    find_detectable_effect,
    find_min_seeds,
    find_seeds_needed,
)
from kdpipe.stats.replicates import Halves
from kdpipe.stats.variance_components import CrossedMean

TEST_DESCRIPTIONS = {
    "above": "paired one-sided t test over seeds: mean > 0",
    "not better": "paired one-sided t test over seeds: mean > -{delta:g}",
    "same": "two one-sided t tests over seeds: mean within ±{delta:g}",
}


@dataclass(frozen=True)
class Contrast:
    """One effect by seed, positive as claimed, and the hypothesis about it.

    Attributes
    ----------
    text : str
        What is compared.
    values : Series
        The effect by seed.
    hypothesis : {"above", "not better", "same"}
        What is tested.
    delta : float or None
        The smallest difference worth having, in the unit of the values. None where there is none:
        of such a contrast nothing is said but the direction.
    is_needed : bool
        Whether the claim rests on it.
    unit : str
        The unit of the values.
    image_estimate : ImageLevelEstimate or None
        The estimate over seeds and images.
    estimate : Summary or None
        The effect where it is not the mean of the values, as a rank correlation of means. The tests
        are those of the values all the same.
    linear : Series or None
        The same question as a sum of errors in points, where the values are none, as a rank
        correlation linearised; the image estimate is then one of it.
    halves : mapping of float to int, or None
        The half of each seed, where the effect rests on a choice that two halves of the seeds made
        for each other: its variance is that within the halves.
    tells : {"both", "support", "contrary"}
        Which directions of a claim it can tell. A rival that cost more says nothing where it is
        better, and one that cost less says nothing where it is worse.
    """

    text: str
    values: pd.Series
    hypothesis: str = "above"
    delta: float | None = None
    is_needed: bool = True
    unit: str = "points"
    image_estimate: ImageLevelEstimate | None = None  # over seeds and images
    estimate: Summary | None = None
    linear: pd.Series | None = None
    halves: Halves | None = None
    tells: str = "both"

    @property
    def level(self) -> float:
        """Return the level of its intervals: 90 % for two one-sided tests at 5 %."""
        return 0.90 if self.hypothesis == "same" else 0.95

    @functools.cached_property
    def summary(self) -> Summary:
        """Return mean and interval of the effect over seeds."""
        return self.estimate or summarize(self.values, self.level, self.halves)

    @functools.cached_property
    def estimates(self) -> list[CrossedMean]:
        """Return the estimates that its tests use: over seeds, and over images if known."""
        crossed_means = [
            estimate_mean(self.values, self.halves),
            self.image_estimate.estimate if self.image_estimate else None,
        ]
        return (
            [crossed for crossed in crossed_means if crossed is not None]
            if crossed_means[0]
            else []
        )

    @property
    def half_width(self) -> float:
        """Return half of the width of the wider interval."""
        halves = [self.summary.half_width]
        for crossed in self._own_unit_estimates[1:]:
            low, high = crossed.compute_interval(self.level)
            halves.append((high - low) / 2)
        return max(halves)

    @property
    def p_for(self) -> float:
        """Return the p-value of the test that the effect is as claimed."""
        if self.hypothesis == "same":
            return self._compute_p_within_margin()
        margin = -self._require_delta() if self.hypothesis == "not better" else 0.0
        return self._compute_max_p(lambda crossed: crossed.compute_p_above(margin))

    @property
    def p_against(self) -> float:
        """Return the p-value of the test that the effect is the contrary of what is claimed.

        That is: below 0, below -delta, or outside of ±delta.
        """
        if self.hypothesis == "not better":
            return self._compute_max_p(
                lambda crossed: crossed.compute_p_below(-self._require_delta())
            )
        if self.hypothesis == "same":
            return _min_or_nan(
                self._compute_max_p(lambda crossed: crossed.compute_p_above(self._require_delta())),
                self._compute_max_p(
                    lambda crossed: crossed.compute_p_below(-self._require_delta())
                ),
            )
        return self._compute_max_p(lambda crossed: crossed.compute_p_below(0.0))

    def compute_bounds(self, rate: float) -> tuple[float, float]:
        """Return the lower and the upper bound of the effect, each of a one-sided error rate.

        They are those of the wider interval, in the unit of the values; NaN with too few seeds.

        Parameters
        ----------
        rate : float
            The error rate of one bound.
        """
        if not self._has_enough_seeds:
            return math.nan, math.nan
        intervals = [crossed.compute_interval(1 - 2 * rate) for crossed in self._own_unit_estimates]
        return min(low for low, _ in intervals), max(high for _, high in intervals)

    def is_underpowered(self, rate: float) -> bool:
        """Return whether no difference is claimed where the study could hardly detect one.

        An effect that is shown to be above 0 was detected, and is still `not better`.

        Parameters
        ----------
        rate : float
            The level of one test.
        """
        if self.hypothesis == "above" or self.compute_detectable(rate) < self._require_delta():
            return False
        return (
            self.hypothesis == "same"
            or not self._compute_max_p(lambda crossed: crossed.compute_p_above(0.0)) < rate
        )

    def compute_detectable(self, rate: float) -> float:
        """Return the smallest effect that a test at this level finds with power 0.8."""
        return max(
            (
                find_detectable_effect(math.sqrt(crossed.variance), crossed.df, rate)
                for crossed in self.estimates
            ),
            default=math.nan,
        )

    def solve_seeds_to_support(self, power: float, rate: float) -> int | None:
        """Return the number of seeds that would support it, if the effect is as measured, or None.

        Parameters
        ----------
        power : float
            The required power.
        rate : float
            The level of one test.
        """
        mean = self._get_mean()
        if self.hypothesis == "above":
            return self._solve_seeds(mean, power, rate) if mean > 0 else None
        margin = self._require_delta()
        if self.hypothesis == "not better":
            seeds_to_show = (
                self._solve_seeds(mean + margin, power, rate) if mean > -margin else None
            )
            seeds_to_detect = self._solve_seeds(
                margin, power, rate
            )  # or, for an effect above 0, that one
            ways = [seeds_to_detect, self._solve_seeds(mean, power, rate) if mean > 0 else None]
            seeds_to_rule_out = min((way for way in ways if way is not None), default=None)
        else:
            seeds_to_show = self._solve_seeds(margin - abs(mean), 1 - (1 - power) / 2, rate)
            seeds_to_show = seeds_to_show if abs(mean) < margin else None
            seeds_to_rule_out = self._solve_seeds(margin, power, rate)
        return (
            None
            if seeds_to_show is None or seeds_to_rule_out is None
            else max(seeds_to_show, seeds_to_rule_out)
        )

    def solve_seeds_to_oppose(self, power: float, rate: float) -> int | None:
        """Return the seeds that would contradict it, if the effect is as measured, or None.

        Parameters
        ----------
        power : float
            The required power.
        rate : float
            The level of one test.
        """
        mean = self._get_mean()
        if self.hypothesis == "not better":
            distance = -self._require_delta() - mean
            return self._solve_seeds(distance, power, rate) if distance > 0 else None
        if self.hypothesis == "same":
            distance = abs(mean) - self._require_delta()
            return self._solve_seeds(distance, power, rate) if distance > 0 else None
        return self._solve_seeds(mean, power, rate) if mean < 0 else None

    def solve_seeds_to_bound(self, power: float, rate: float) -> int | None:
        """Return the seeds whose interval is inside ±delta, if the effect is as measured, or None.

        Parameters
        ----------
        power : float
            The probability with which it has to be.
        rate : float
            The error rate of one bound.
        """
        mean = self._get_mean()
        if self.delta is None or not abs(mean) < self.delta:
            return None
        return self._solve_seeds(self.delta - abs(mean), 1 - (1 - power) / 2, rate)

    def get_image_interval(self) -> dict | None:
        """Return the second interval in plain values, or why there is none.

        It is in the unit of the values, also where single images are known of a sum of errors.
        """
        if self.image_estimate is None:
            return None
        estimate = self.image_estimate
        if self.linear is not None and estimate.estimate is not None:
            known = self._own_unit_estimates[1:]
            estimate = (
                ImageLevelEstimate(known[0])
                if known
                else ImageLevelEstimate(why="its linear form is the same for every seed")
            )
        return estimate.to_json(self.level)

    def to_dict(self) -> dict:
        """Return the contrast as claims.json lists it."""
        interval = self.summary
        return {
            "text": self.text,
            "asks": self.hypothesis,
            "needed": self.is_needed,
            "unit": self.unit,
            "smallest": self.delta,
            "effect": interval.mean,
            "sd": interval.sd,
            "low": interval.low,
            "high": interval.high,
            "level": self.level,
            "n": interval.n,
            "p": self.p_for,
            "images": self.get_image_interval(),
            "seeds": [float(seed) for seed in self.values.index],
            "values": [float(value) for value in self.values],
        }

    @functools.cached_property
    def _own_unit_estimates(self) -> list[CrossedMean]:
        """Return the estimates in the unit of the values.

        That of a sum of errors in their place is scaled: images add to the variance of the values
        as much, in proportion to that over seeds, as they add to that of the sum.
        """
        if self.linear is None or len(self.estimates) < 2:
            return self.estimates
        over_seeds, with_images = self.estimates
        linear = estimate_mean(self.linear, self.halves)
        if linear is None or not linear.has_spread:
            return [over_seeds]
        scale = over_seeds.variance / linear.variance
        components = {key: scale * part for key, part in with_images.components.items()}
        scaled = replace(
            with_images,
            mean=over_seeds.mean,
            variance=scale * with_images.variance,
            components=components,
        )
        return [over_seeds, scaled]

    @property
    def _has_enough_seeds(self) -> bool:
        """Return whether there are enough seeds (and splits) for a test."""
        return bool(self.estimates) and min(self.estimates[0].levels.values()) >= MIN_SEEDS

    def _get_mean(self) -> float:
        """Return the mean of the values."""
        return self.estimates[0].mean if self.estimates else math.nan

    def _solve_seeds(self, effect: float, power: float, rate: float) -> int | None:
        """Return the seeds that both of its tests need."""
        max_seeds = MIN_SEEDS
        for crossed in self._own_unit_estimates:
            fixed_variance = crossed.compute_variance_without("seed")
            seeds = crossed.levels.get("seed", 1)
            sd = math.sqrt(max(0.0, crossed.variance - fixed_variance) * seeds)
            df = functools.partial(crossed.compute_expected_df, "seed")
            n_seeds = find_seeds_needed(sd, effect, power, rate, fixed_variance, df)
            if n_seeds is None:
                return None
            max_seeds = max(max_seeds, n_seeds)
        if {"seed", "split"} <= self.estimates[0].levels.keys():
            return self._solve_seeds_with_splits(effect, power, rate, max_seeds)
        return max_seeds

    def _solve_seeds_with_splits(
        self, effect: float, power: float, rate: float, lower_bound: int
    ) -> int | None:
        """Return the seeds needed for a fixed number of splits, or at least a bound.

        With few splits the variance itself is uncertain.
        """
        variances, splits = self.estimates[0].components, self.estimates[0].levels["split"]
        groups = self.estimates[0].groups
        parts = [variances[factors] for factors in (("seed",), ("split",), ("seed", "split"))]
        if not any(parts):
            return lower_bound
        with_images = self._own_unit_estimates[1:]
        images = [crossed.compute_variance_without("seed", "split") for crossed in with_images]
        spread = Spread(*parts, images=sum(images))
        return find_min_seeds(
            lambda seeds: compute_contrast_power(
                "above", abs(effect), 0.0, spread, seeds, splits, rate, groups
            ),
            power,
            lower_bound,
        )

    def _require_delta(self) -> float:
        """Return the smallest effect of interest of a hypothesis that has one."""
        assert self.delta is not None, "a margin needs a smallest effect"
        return self.delta

    def _compute_p_within_margin(self) -> float:
        """Return the p-value of the test that the mean is within ±delta."""
        margin = self._require_delta()
        return self._compute_max_p(
            lambda crossed: max(crossed.compute_p_above(-margin), crossed.compute_p_below(margin))
        )

    def _compute_max_p(self, p_value: Callable[[CrossedMean], float]) -> float:
        """Return the larger p-value over the estimates; NaN with too few seeds."""
        if not self._has_enough_seeds:
            return math.nan
        return max(p_value(crossed) for crossed in self.estimates)


def _min_or_nan(a: float, b: float) -> float:
    """Return the smaller of two numbers, NaN if one of them is."""
    return math.nan if math.isnan(a) or math.isnan(b) else min(a, b)
