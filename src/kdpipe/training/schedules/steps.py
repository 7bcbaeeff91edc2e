"""The rate is multiplied by `drop_factor` after each of `drop_epochs`."""

from typing import Any

from kdpipe.runs.recipe import ScheduleInfo, StepCounts


def _rate(recipe: Any, step: int, counts: StepCounts) -> float:
    """Return the rate of the epoch in which a step lies."""
    drops = sum(step // counts.epoch >= epoch for epoch in recipe.drop_epochs)
    return recipe.lr * recipe.drop_factor**drops


def _torch_arguments(recipe: Any, counts: StepCounts) -> dict:
    """Return the drops as step numbers, as torch counts them after a warm-up."""
    milestones = [epoch * counts.epoch - counts.warmup for epoch in recipe.drop_epochs]
    return {"milestones": milestones, "gamma": recipe.drop_factor}


SCHEDULE = ScheduleInfo(
    torch_class="MultiStepLR",
    torch_arguments=_torch_arguments,
    rate=_rate,
    examples=({"drop_epochs": [2, 4], "drop_factor": 0.1}, {"warmup": 0.25}),
)
