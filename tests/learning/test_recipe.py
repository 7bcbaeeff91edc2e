"""The learning rate of every step, beside torch's own schedulers."""

import pytest
import torch
from pydantic import ValidationError
from torch.optim import lr_scheduler

from kdpipe.learning.recipe import Recipe, learning_rate

EPOCHS, STEPS = 6, 7


def recipe(**keys) -> dict:
    return Recipe(epochs=EPOCHS, lr=0.4, **keys).model_dump()


def ours(made: dict) -> list[float]:
    return [learning_rate(made, at // STEPS, at % STEPS, STEPS) for at in range(EPOCHS * STEPS)]


def theirs(make) -> list[float]:
    optimiser = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.4)
    scheduler, found = make(optimiser), []
    for _ in range(EPOCHS * STEPS):
        found.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        scheduler.step()
    return found


def rising(optimiser, steps, then):
    first = lr_scheduler.LinearLR(optimiser, 1 / steps, total_iters=steps - 1)
    return lr_scheduler.SequentialLR(optimiser, [first, then], milestones=[steps])


TOTAL = EPOCHS * STEPS
SCHEDULES = {
    "steps": (
        {"drop_epochs": [2, 4], "drop_factor": 0.1},
        lambda o: lr_scheduler.MultiStepLR(o, [2 * STEPS, 4 * STEPS], 0.1),
    ),
    "steps, warm": (
        {"warmup": 0.25},  # 10.5 steps: 10
        lambda o: lr_scheduler.LinearLR(o, 1 / 10, total_iters=9),
    ),
    "cosine": ({"annealing": "cosine"}, lambda o: lr_scheduler.CosineAnnealingLR(o, TOTAL)),
    "cosine, warm": (
        {"annealing": "cosine", "warmup": 0.25},
        lambda o: rising(o, 10, lr_scheduler.CosineAnnealingLR(o, TOTAL - 10)),
    ),
    "one-cycle": (
        {"annealing": "one-cycle"},
        lambda o: lr_scheduler.OneCycleLR(o, 0.4, TOTAL, cycle_momentum=False),
    ),
    "one-cycle, sooner": (
        {"annealing": "one-cycle", "warmup": 0.1},
        lambda o: lr_scheduler.OneCycleLR(o, 0.4, TOTAL, pct_start=0.1, cycle_momentum=False),
    ),
}


@pytest.mark.filterwarnings("ignore:The epoch parameter")
@pytest.mark.parametrize("case", SCHEDULES)
def test_every_step_has_torchs_rate(case):
    keys, make = SCHEDULES[case]
    assert ours(recipe(**keys)) == pytest.approx(theirs(make), rel=1e-9, abs=1e-12)


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"annealing": "cosine", "drop_epochs": [2]}, "with cosine write drop_epochs: "),
        ({"annealing": "one-cycle", "warmup": 0}, "one-cycle rises first"),
        ({"nesterov": True, "optimiser": "adamw"}, "nesterov is of optimiser: sgd"),
        ({"nesterov": True, "momentum": 0}, "nesterov is of optimiser: sgd with a momentum"),
        ({"warmup": 1.0}, "less than 1"),
    ],
)
def test_what_does_not_fit_is_refused(keys, said):
    with pytest.raises(ValidationError, match=said):
        recipe(**keys)
