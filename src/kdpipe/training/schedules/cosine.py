"""The rate falls along half a cosine to 0, over the steps after the warm-up.

It is `lr * (1 + cos(pi * t)) / 2` with t from 0 to 1: equation 5 of Loshchilov and Hutter (2017),
without restarts.
"""

import math
from typing import Any

from kdpipe.runs.recipe import ScheduleInfo, StepCounts


def _rate(recipe: Any, step: int, counts: StepCounts) -> float:
    """Return the rate at a step; during the warm-up the full rate, which is scaled afterwards."""
    progress = max(0, step - counts.warmup) / max(1, counts.total - counts.warmup)
    return recipe.lr * (1 + math.cos(math.pi * progress)) / 2


def _torch_arguments(recipe: Any, counts: StepCounts) -> dict:
    """Return the number of steps over which the rate falls."""
    return {"T_max": counts.total - counts.warmup}


SCHEDULE = ScheduleInfo(
    torch_class="CosineAnnealingLR",
    torch_arguments=_torch_arguments,
    rate=_rate,
    examples=({}, {"warmup": 0.25}),
)
