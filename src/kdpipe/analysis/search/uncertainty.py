"""How certain a search is of its winner, though few cells were seen often.

The confidence is that of a model in which cells share what is known of their teachers
(`stats.posterior`); it is about the mean error over other seeds and, where the outcomes on single
images are known, over other images. benchmarks/search.md says how often it was true in studies of
known truth.
"""

import math
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from kdpipe.analysis.search import state
from kdpipe.analysis.search.search_space import Arm, ArmKey
from kdpipe.analysis.search.state import SearchState
from kdpipe.stats import posterior
from kdpipe.stats.error_provenance import ErrorMaskLookup, ErrorWithProvenance, ImageQuantity
from kdpipe.stats.image_spread import ImageSpread, find_image_spread

N_CLOSEST = 2  # cells that more seeds would compare


@dataclass(frozen=True)
class SeedGain:
    """What more seeds of some cells would bring.

    Attributes
    ----------
    arm_keys : tuple of ArmKey
        Cells that are trained with more seeds.
    seeds : int
        Number of new seeds.
    student_epochs : int
        Epochs that they take.
    n_likely : float
        How many cells the best would be one of then, on average (`Uncertainty.likely`).
    hours : float or None
        Hours summed over jobs, teachers included.
    """

    arm_keys: tuple[ArmKey, ...]
    seeds: int
    student_epochs: int
    n_likely: float
    hours: float | None = None


@dataclass(frozen=True)
class Uncertainty:
    """How certain the choice for one student is.

    Attributes
    ----------
    student : str
        Name of the network.
    chosen : ArmKey
        The winner.
    likely : tuple of ArmKey
        The fewest cells that hold the best of all with probability `posterior.CONFIDENCE`, the
        likeliest first; empty if too little was seen.
    p_best : dict of ArmKey to float
        Probability of being the best of all.
    p_close : dict of ArmKey to float
        Probability of being within the smallest effect of the best.
    seed_gain : SeedGain or None
        What more seeds would bring.
    all_diverged : bool
        Whether every cell that competed diverged.
    """

    student: str
    chosen: ArmKey
    likely: tuple[ArmKey, ...] = ()
    p_best: dict[ArmKey, float] = field(default_factory=dict)
    p_close: dict[ArmKey, float] = field(default_factory=dict)
    seed_gain: SeedGain | None = None
    all_diverged: bool = False


def estimate_uncertainties(
    search_state: SearchState, smallest_effect: float, outcomes: ErrorMaskLookup | None = None
) -> list[Uncertainty]:
    """Estimate how certain the choice is, for each student that has a winner.

    Parameters
    ----------
    search_state : SearchState
        The search.
    smallest_effect : float
        Smallest effect of interest, in points.
    outcomes : callable or None
        Returns what a run did on single images.

    Returns
    -------
    list of Uncertainty
        One for each student.
    """
    return [
        _estimate_uncertainty(search_state, student, smallest_effect, outcomes)
        for student in search_state.winners
    ]


def _estimate_uncertainty(
    search_state: SearchState,
    student: str,
    smallest_effect: float,
    outcomes: ErrorMaskLookup | None,
) -> Uncertainty:
    """Estimate how certain the choice for one student is."""
    all_keys = [arm.key for arm in search_state.competing[student]]
    diverged = {key for key in all_keys if math.inf in search_state.errors.get(key, {}).values()}
    arm_keys = [arm_key for arm_key in all_keys if arm_key not in diverged]
    chosen = search_state.winners[student]
    if chosen in diverged:
        return Uncertainty(student, chosen, all_diverged=True)
    seeds = sorted({seed for errors in search_state.errors.values() for seed in errors})
    errors = np.full((len(arm_keys), len(seeds)), math.nan)
    for i, arm_key in enumerate(arm_keys):
        for seed, error in search_state.errors.get(arm_key, {}).items():
            errors[i, seeds.index(seed)] = error
    stops = list(dict.fromkeys((arm_key.teacher, arm_key.stop) for arm_key in arm_keys))
    teachers = [stops.index((arm_key.teacher, arm_key.stop)) for arm_key in arm_keys]
    nlls = [search_state.nll.get(stops[teacher], math.nan) for teacher in teachers]
    nlls = [nll if math.isfinite(nll) else math.nan for nll in nlls]
    arm_by_key = {arm.key: arm for arm in search_state.competing[student]}
    images = _find_images(search_state, [arm_by_key[key] for key in arm_keys], teachers, outcomes)
    posterior_errors = posterior.fit_posterior(errors, teachers, np.log(nlls), images)
    if posterior_errors is None:
        return Uncertainty(student, chosen)
    draws = posterior_errors.draw_errors()
    lowest = draws.min(axis=1)
    p_best = posterior.compute_p_best(draws)
    p_close = (draws - lowest[:, None] <= smallest_effect).mean(axis=0)
    closest = [int(i) for i in np.argsort(-p_best, kind="stable")[:N_CLOSEST]]
    count = len(seeds)
    closest_arms = [arm_by_key[arm_keys[i]] for i in closest]
    epochs = sum(arm.count_epochs(min(arm.cells)) for arm in closest_arms)
    jobs = state.collect_jobs(arm.cells[min(arm.cells)].run for arm in closest_arms)
    seed_gain = SeedGain(
        tuple(arm_keys[i] for i in closest),
        count,
        epochs * count,
        posterior_errors.forecast_likely_best(closest, count),
        sum(map(search_state.hour_price, jobs.values())) * count
        if search_state.hour_price
        else None,
    )
    return Uncertainty(
        student,
        chosen,
        tuple(arm_keys[i] for i in posterior.find_likely_best(draws)),
        dict.fromkeys(diverged, 0.0) | dict(zip(arm_keys, map(float, p_best), strict=True)),
        dict.fromkeys(diverged, 0.0) | dict(zip(arm_keys, map(float, p_close), strict=True)),
        seed_gain,
    )


def _find_images(
    search_state: SearchState,
    arms: list[Arm],
    teachers: list[int],
    outcomes: ErrorMaskLookup | None,
) -> ImageSpread:
    """Return what the validation images add to the errors that were seen."""
    columns = {}
    for i, arm in enumerate(arms):
        errors = search_state.errors.get(arm.key, {})
        columns[i] = pd.Series(
            {
                seed: ErrorWithProvenance(
                    error, {ImageQuantity(arm.cells[seed].run.name, "val_error"): 1.0}
                )
                for seed, error in errors.items()
            },
            dtype=object,
        )
    study, card = search_state.plan.study, search_state.plan.card
    n_validation = card.count_validation(study.data.validation)
    return find_image_spread(pd.DataFrame(columns), teachers, outcomes, n_validation)
