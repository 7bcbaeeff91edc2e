"""Power of a study: for each claim the chance of a verdict, and the seeds required.

Given are a true effect, as claimed, and how far paired differences vary: over seeds, and as far as
it is known over splits and test images (`Spread`). A pilot's few seeds leave open how far: the
chance is then the mean over what they leave open (assurance). One contrast is found with the power
of `stats.power.compute_contrast_power`, at the rate of Holm's first step, 0.05 over twice the
tested claims of its family, and at the last of several looks at what that rate leaves for it. If a
claim says "same" the true effect is 0; if it says "not better" the effect is how much better what
it defends is, and 0 that both are equal. Beside it stands the chance that a claim of a difference
reads "no worthwhile difference" where there is none. The contrasts of a claim that needs several
are simulated together, as correlated as the runs make them that they share. A contrast that rests
on a choice has n - 2 degrees of freedom from five seeds on, since two halves of the seeds choose
for each other. Later steps of Holm's and earlier looks add to the power.
"""

import functools
import math
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from kdpipe.analysis import claim, dataframe, eval_point
from kdpipe.analysis.claim import Contrast, Finding, UntestableClaim
from kdpipe.analysis.dataframe import restrict_to_blocks
from kdpipe.analysis.per_image import PerImageMetrics
from kdpipe.analysis.preregistration import register, registration
from kdpipe.config.schema import Study
from kdpipe.errors import KdpipeError
from kdpipe.runs.store import Store
from kdpipe.stats.group_sequential import SINGLE_ANALYSIS, InterimAnalysis
from kdpipe.stats.intervals import MIN_SEEDS, MIN_SEEDS_FOR_HALVES
from kdpipe.stats.power import (
    LEVEL,
    PlannedContrast,
    Spread,
    compute_contrast_power,
    find_min_seeds,
    simulate_joint_power,
)
from kdpipe.stats.variance_components import CrossedMean

MIN_POWER = 0.2  # a study is useless if none of its claims reaches this chance

CostFormatter = Callable[[int], str]  # of a study of so many seeds, in words


@dataclass(frozen=True)
class PowerEstimate:
    """The power of one claim.

    Attributes
    ----------
    id : str
        Key of the claim.
    primary : bool
        Whether it is in the primary family.
    needs : int
        Number of contrasts that it needs.
    asks : str
        What it claims of them.
    sd : float
        Standard deviation over seeds, in points.
    power : float
        Chance of a verdict; it and `sd` are nan if the claim is not about points of error, so that
        no effect in points says anything of it.
    seeds : int or None
        Seeds at which the power is 0.8; None if no number is enough.
    power_of_none : float
        Of a claim of a difference the chance of `no worthwhile difference` if there is none; nan
        for others.
    """

    id: str
    primary: bool
    needs: int
    asks: str
    sd: float = math.nan
    power: float = math.nan
    seeds: int | None = None
    power_of_none: float = math.nan

    @property
    def is_known(self) -> bool:
        """Return whether the power can be computed."""
        return not math.isnan(self.power)


def estimate_claim_power(
    study: Study, effect: float, spread: Mapping[str, Spread] | Spread
) -> list[PowerEstimate]:
    """Estimate the power of every claim that a study can test, at all its seeds.

    Parameters
    ----------
    study : Study
        The study.
    effect : float
        True effect, in points.
    spread : Spread or mapping of str to Spread
        One for all claims, or by claim; a claim without one has the largest of the others.

    Returns
    -------
    list of PowerEstimate
        One for each claim.
    """
    findings = {
        key: finding
        for key, finding in register.simulate_findings(study).items()
        if isinstance(finding, Finding)
    }
    content = registration.read_registration(study)
    listed = None if content is None else content["claims"]
    claims = claim.load_claims()
    of_code = [key for key, definition in claims.items() if definition.primary]
    families = {
        key: claim.find_family(key, of_code if study.primary is None else study.primary, listed)
        for key in claims
    }
    estimates = []
    for key, finding in findings.items():
        needed = [contrast for contrast in finding.contrasts if contrast.is_needed]
        asks = ", ".join(dict.fromkeys(contrast.hypothesis for contrast in needed))
        estimate = PowerEstimate(key, families[key] == "primary", len(needed), asks)
        if all(c.unit == "points" and c.delta is not None for c in needed):
            family = sum(families[other] == families[key] for other in findings)
            claim_spread = spread
            if isinstance(spread, Mapping):
                claim_spread = spread.get(key, max(spread.values(), key=lambda item: item.seed))
            assert isinstance(claim_spread, Spread)
            compute_power = functools.partial(
                _compute_claim_power, study, needed, effect, claim_spread, family
            )
            numbers = {
                "power": compute_power(len(study.seeds)),
                "seeds": find_min_seeds(compute_power),
            }
            if all(contrast.hypothesis == "above" for contrast in needed):
                within = [replace(contrast, hypothesis="within") for contrast in needed]
                numbers["power_of_none"] = _compute_claim_power(
                    study, within, 0.0, claim_spread, family, len(study.seeds)
                )
            sd = math.sqrt(claim_spread.seed + claim_spread.both / len(study.splits))
            estimate = replace(estimate, sd=sd, **numbers)
        estimates.append(estimate)
    return estimates


def format_power(
    study: Study,
    effect: float,
    estimates: list[PowerEstimate],
    format_cost: CostFormatter,
    source: str,
) -> list[str]:
    """Format the power of claims as lines of a plan.

    Parameters
    ----------
    study : Study
        The study.
    effect : float
        True effect, in points.
    estimates : list of PowerEstimate
        Estimates of its claims.
    format_cost : callable
        Returns the cost of a study of a number of seeds, in words.
    source : str
        Where the standard deviations are from.

    Returns
    -------
    list of str
        Lines of text.
    """
    known_estimates = [estimate for estimate in estimates if estimate.is_known]
    if not known_estimates:
        return ["this study cannot show anything: it can test no claim in points of error"]
    lines = [
        f"chance of a verdict with {len(study.seeds)} seeds, if the true effect is {effect:g} "
        f"points as claimed ({source}); ◆ primary, corrected for their number (Holm), as the rest "
        "for theirs; the last chance: of 'no worthwhile difference', if there is none at all",
        *_explain_effect(effect, known_estimates),
        f"{'claim':<8}{'needs':<18}{'sd':>6}{'chance':>10}{'seeds for 80 %':>17}"
        f"{'of none':>10}  cost of these",
    ]
    for estimate in estimates:
        claim_id = f"{estimate.id} ◆" if estimate.primary else estimate.id
        needs = f"{estimate.needs} {estimate.asks}"
        label = f"{claim_id:<8}{needs:<18}"
        if not estimate.is_known:
            lines.append(
                f"{label}{'-':>6}{'-':>10}{'-':>17}{'-':>10}  no smallest effect in points of error"
            )
            continue
        seeds = "no number" if estimate.seeds is None else f"{estimate.seeds:,}"
        cost = "" if estimate.seeds is None else format_cost(estimate.seeds)
        none = "-" if math.isnan(estimate.power_of_none) else f"{estimate.power_of_none:.0%}"
        lines.append(
            f"{label}{estimate.sd:>6.2g}{estimate.power:>9.0%} {seeds:>17}{none:>10}  {cost}"
        )
    best = max(known_estimates, key=lambda estimate: estimate.power)
    if best.power < MIN_POWER:
        lines.append(
            f"this study cannot show anything: with {len(study.seeds)} seeds no claim has a chance "
            f"of {MIN_POWER:.0%} ({best.id} has the most, {best.power:.0%})"
        )
    return lines


def _explain_effect(effect: float, estimates: list[PowerEstimate]) -> list[str]:
    """Return what the effect means for the claims of these estimates."""
    asks = {ask for estimate in estimates for ask in estimate.asks.split(", ")}
    lines = []
    if "above" in asks and effect == 0:
        lines.append("above, at an effect of 0: the chance of a verdict that is wrong")
    if "not better" in asks:
        lines.append(
            f"not better: what the claim defends is better by {effect:g} points; --effect 0 asks "
            "for the chance if both are equal, where such a claim is true too"
            if effect
            else "not better: both are equal, and such a claim is true"
        )
    if "same" in asks:
        lines.append("same: the true difference is 0, whatever the effect of the others")
    return lines


def estimate_pilot_spreads(
    name: str, folder: Path, store: Store, study: Study
) -> dict[str, Spread]:
    """Estimate the variance of each claim's contrasts in a pilot, read as the study reads them.

    That is at the evaluation point of the study, and by its metric. Of several needed contrasts it
    is the mean of their variances.

    Parameters
    ----------
    name : str
        Name of the pilot.
    folder : Path
        Folder of the study's file.
    store : Store
        The results folder.
    study : Study
        The study that the pilot is for.

    Returns
    -------
    dict of str to Spread
        By the key of the claim.

    Raises
    ------
    KdpipeError
        If the pilot has no file or no records of two seeds, or is blinded.
    """
    plan = registration.load_pilot(name, folder, store, study)
    frame = eval_point.select_eval_point(dataframe.build_results_frame(plan, store), study.reading)
    curves = dataframe.build_curves_frame(plan, store)
    error_masks = PerImageMetrics(plan, store, study.reading).load_part
    spreads = {}
    for key, definition in claim.load_claims().items():
        rows = _select_claim_rows(frame, [study.claims.get(key), plan.study.claims.get(key)])
        finding = claim.evaluate_claim(
            definition,
            rows,
            curves,
            study.smallest_effect,
            error_masks,
            study.smallest_effects,
        )
        if (spread := _average_spread(finding)) is not None:
            spreads[key] = spread
    if not spreads:
        raise KdpipeError(
            f"--pilot {name}: {store.root} has no records of two of its seeds to compute a "
            "difference from: run the pilot first, or give --sd"
        )
    return spreads


def describe_missing_noise(study: Study, spread: Mapping[str, Spread] | Spread) -> str:
    """Describe unknown noise that lowers the power of a study.

    Parameters
    ----------
    study : Study
        The study.
    spread : Spread or mapping of str to Spread
        What is known.

    Returns
    -------
    str
        A clause, also on what a pilot leaves open; empty if nothing is missing.
    """
    spreads = list(spread.values()) if isinstance(spread, Mapping) else [spread]
    unknown = [] if any(item.images for item in spreads) else ["test images"]
    if len(study.splits) > 1 and not any(item.split or item.both for item in spreads):
        unknown.append("splits")
    text = f"; the noise of {' and of '.join(unknown)} is not counted" if unknown else ""
    if math.isfinite(df := min(item.df for item in spreads)):
        text += (
            f"; averaged over what the pilot leaves open about the sd, which it knows with {df:g} "
            "degrees of freedom"
        )
    return text


def _select_claim_rows(frame: pd.DataFrame, selections: list[list[str] | None]) -> pd.DataFrame:
    """Select the rows that a claim reads: by the first list that the frame has, else all."""
    known_names = {*frame.block, *(frame.ensemble if "ensemble" in frame else [])}
    for names in selections:
        if names and known_names.intersection(names):
            return restrict_to_blocks(frame, names)
    return frame


def _average_spread(finding: Finding | UntestableClaim) -> Spread | None:
    """Average the spread of the contrasts that a claim needs; None below two seeds."""
    if isinstance(finding, UntestableClaim):
        return None
    parts = defaultdict(float)
    needed = [
        contrast
        for contrast in finding.needed_contrasts
        if contrast.unit == "points" and contrast.estimates
    ]
    needed = [contrast for contrast in needed if "seed" in contrast.estimates[0].levels]
    for contrast in needed:
        components = contrast.estimates[0].components
        parts["seed"] += components["seed",]
        parts["split"] += components.get(("split",), 0.0)
        parts["both"] += components.get(("seed", "split"), 0.0)
        if len(contrast.estimates) > 1 and contrast.linear is None:
            parts["images"] += contrast.estimates[1].compute_variance_without("seed", "split")
    if not needed:
        return None
    df = min(_count_pilot_df(contrast.estimates[0]) for contrast in needed)
    return Spread(**{name: part / len(needed) for name, part in parts.items()}, df=df)


def _count_pilot_df(estimate: CrossedMean) -> float:
    """Return the degrees of freedom of the variances of seeds and of splits, the fewest."""
    counts = [estimate.levels["seed"] - estimate.groups]
    counts += [estimate.levels["split"] - 1] if "split" in estimate.levels else []
    return float(max(1, min(counts)))


def _compute_claim_power(
    study: Study, needed: list[Contrast], effect: float, spread: Spread, family: int, seeds: int
) -> float:
    """Compute the power of a claim in a family of a size, at a number of seeds."""
    splits = len(study.splits)
    if seeds < MIN_SEEDS or 1 < splits < MIN_SEEDS:
        return 0.0
    counts = [*(count for count in study.looks or [] if count < seeds), seeds]
    interim = InterimAnalysis(tuple(counts), len(counts)) if len(counts) > 1 else SINGLE_ANALYSIS
    rate = interim.compute_level(LEVEL / (2 * family))
    planned = []
    for contrast in needed:
        assert contrast.delta is not None
        is_chosen = contrast.halves is not None and seeds >= MIN_SEEDS_FOR_HALVES
        planned.append(PlannedContrast(contrast.hypothesis, contrast.delta, 2 if is_chosen else 1))
    if len(planned) == 1:
        (one,) = planned
        return compute_contrast_power(
            one.hypothesis, effect, one.delta, spread, seeds, splits, rate, one.groups
        )
    correlation = _correlate_contrasts(needed)
    return simulate_joint_power(planned, correlation, effect, spread, seeds, splits, rate)


def _correlate_contrasts(contrasts: list[Contrast]) -> np.ndarray:
    """Return how contrasts are correlated at one seed if all runs vary alike.

    That follows from the runs that they share; those that do not say theirs share none.
    """
    weights: dict[object, np.ndarray] = {}
    for i, contrast in enumerate(contrasts):
        for value in contrast.values:
            for part, weight in getattr(value, "parts", {}).items():
                weights.setdefault(part, np.zeros(len(contrasts)))[i] += weight
    rows = np.array([*weights.values(), np.zeros(len(contrasts))])
    products = rows.T @ rows
    scale = np.sqrt(np.diag(products))
    correlation = (
        products / np.where(scale > 0, scale, 1.0) / np.where(scale > 0, scale, 1.0)[:, None]
    )
    np.fill_diagonal(correlation, 1.0)
    return correlation
