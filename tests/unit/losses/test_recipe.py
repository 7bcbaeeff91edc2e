"""The learning rate of every step beside torch's schedulers, and what a recipe refuses."""

import pytest
import torch
from pydantic import ValidationError
from torch.optim import lr_scheduler

from kdpipe.runs.recipe import Recipe, StepCounts, learning_rate, load_optimizers, load_schedules

EPOCHS, STEPS = 6, 7
TOTAL = EPOCHS * STEPS
CASES = [(name, example) for name, info in load_schedules().items() for example in info.examples]


def recipe(**keys) -> Recipe:
    return Recipe(epochs=EPOCHS, lr=0.4, **keys)


def torch_rates(recipe: Recipe) -> list[float]:
    """The rates of the schedule's class in torch, after a linear warm-up where it has none."""
    info = load_schedules()[recipe.annealing]
    warmup = 0 if info.has_own_warmup else round((recipe.warmup or 0) * TOTAL)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=recipe.lr)
    arguments = info.torch_arguments(recipe, StepCounts(TOTAL, STEPS, warmup))
    scheduler = getattr(lr_scheduler, info.torch_class)(optimizer, **arguments)
    if warmup:
        rise = lr_scheduler.LinearLR(optimizer, 1 / warmup, total_iters=warmup - 1)
        scheduler = lr_scheduler.SequentialLR(optimizer, [rise, scheduler], [warmup])
    rates = []
    for _ in range(TOTAL):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


@pytest.mark.filterwarnings("ignore:The epoch parameter")
@pytest.mark.parametrize(("name", "example"), CASES)
def test_every_step_has_torchs_rate(name, example):
    keys = recipe(annealing=name, **example)
    rates = [learning_rate(keys, at // STEPS, at % STEPS, STEPS) for at in range(TOTAL)]
    assert rates == pytest.approx(torch_rates(keys), rel=1e-9, abs=1e-12)


def test_names_are_those_of_files_the_default_first():
    assert (next(iter(load_optimizers())), next(iter(load_schedules()))) == ("sgd", "steps")
    properties = Recipe.model_json_schema()["properties"]
    assert properties["optimiser"]["enum"] == list(load_optimizers())
    assert properties["annealing"]["enum"] == list(load_schedules())
    assert {"cosine", "one-cycle"} <= set(load_schedules())


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"annealing": "cosine", "drop_epochs": [2]}, "with cosine write drop_epochs: "),
        ({"annealing": "one-cycle", "warmup": 0}, "one-cycle starts with a warm-up"),
        ({"nesterov": True, "optimiser": "adamw"}, "nesterov requires optimiser: sgd"),
        (
            {"nesterov": True, "momentum": 0},
            "nesterov requires optimiser: sgd with a momentum above 0",
        ),
        ({"warmup": 1.0}, "less than 1"),
    ],
)
def test_what_does_not_fit_is_refused(keys, message):
    with pytest.raises(ValidationError, match=message):
        recipe(**keys)
