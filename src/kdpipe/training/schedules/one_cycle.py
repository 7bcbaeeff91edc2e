"""The rate rises from lr / 25 to lr and falls to lr / 250,000, each along half a cosine.

It is the policy of Smith and Topin (2018) with torch's defaults; `warmup` is the fraction of the
steps in which the rate rises.
"""

import math
from typing import Any

from kdpipe.runs.recipe import ScheduleInfo, StepCounts

DEFAULT_WARMUP = 0.3
START_FACTOR, END_FACTOR = 1 / 25, 1 / 25e4  # of the peak


def _rate(recipe: Any, step: int, counts: StepCounts) -> float:
    """Return the rate at a step; the peak may lie between two steps."""
    peak, last_step = recipe.lr, counts.total - 1
    peak_step = max(0.0, _rising_share(recipe) * counts.total - 1)
    if step <= peak_step:
        progress = step / peak_step if peak_step else 1
        return _interpolate_cosine(peak * START_FACTOR, peak, progress)
    progress = (step - peak_step) / (last_step - peak_step)
    return _interpolate_cosine(peak, peak * END_FACTOR, progress)


def _rising_share(recipe: Any) -> float:
    """Return the fraction of the steps in which the rate rises."""
    warmup = recipe.warmup
    return DEFAULT_WARMUP if warmup is None else warmup


def _interpolate_cosine(start: float, end: float, progress: float) -> float:
    """Return the interpolation from start to end along half a cosine."""
    return end + (start - end) * (1 + math.cos(math.pi * progress)) / 2


def _torch_arguments(recipe: Any, counts: StepCounts) -> dict:
    """Return torch's arguments; by default it would also change the momentum."""
    return {
        "max_lr": recipe.lr,
        "total_steps": counts.total,
        "pct_start": _rising_share(recipe),
        "cycle_momentum": False,
    }


def _check(recipe: Any) -> str | None:
    """Return the error of a recipe without warm-up."""
    if recipe.warmup == 0:
        return "one-cycle starts with a warm-up: omit warmup (0.3), or set a fraction above 0"
    return None


SCHEDULE = ScheduleInfo(
    torch_class="OneCycleLR",
    torch_arguments=_torch_arguments,
    rate=_rate,
    has_own_warmup=True,
    check=_check,
    examples=({}, {"warmup": 0.1}),
)
