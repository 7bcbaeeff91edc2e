"""A step beside torch's own optimisers, and a run by each that is cut off within an epoch."""

import pytest
import tiny
import torch
from torch import nn

from kdpipe.cli.main import main
from kdpipe.learning.recipe import Recipe
from kdpipe.training.optimiser import Descent

STEPS = 5
NESTEROV = {"nesterov": True, "weight_decay": 0.1}
ADAMW = {"optimiser": "adamw", "momentum": 0.8, "weight_decay": 0.1}


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, bias=False), nn.BatchNorm2d(8), nn.Flatten(), nn.Linear(288, 3)
    )


def gradients(model: nn.Module) -> None:
    x = torch.randn(4, 1, 8, 8)
    nn.functional.cross_entropy(10 * model(x), torch.arange(4) % 3).backward()


def theirs(keys: dict, groups: list[dict]) -> torch.optim.Optimizer:
    if keys.get("optimiser") == "adamw":
        return torch.optim.AdamW(groups, betas=(keys["momentum"], 0.999))
    return torch.optim.SGD(groups, momentum=0.9, nesterov=keys.get("nesterov", False))


@pytest.mark.parametrize("keys", [{}, NESTEROV, ADAMW], ids=["sgd", "nesterov", "adamw"])
@pytest.mark.parametrize("clip", [None, 2.0])
@pytest.mark.parametrize("on", ["all", "weights"])
@pytest.mark.parametrize("pace", [1.0, 0.1])
def test_steps_are_torchs(keys, clip, on, pace):
    recipe = Recipe(epochs=1, lr=1, **keys, weight_decay_on=on, clip_norm=clip).model_dump()
    ours, other = network(), network()
    slower = [name for name, _ in ours.named_parameters() if not name.startswith("3.")]
    descent = Descent(dict(ours.named_parameters()), recipe, dict.fromkeys(slower, pace))
    decay = recipe["weight_decay"]
    still = 0.0 if on == "weights" else decay
    groups = [
        {"params": [p], "weight_decay": decay if p.dim() > 1 else still, "pace": factor}
        for name, p in other.named_parameters()
        for factor in [pace if name in slower else 1.0]
    ]
    optimiser = theirs(keys, groups)
    for step in range(STEPS):
        lr = 0.01 / (step + 1)
        torch.manual_seed(step)
        gradients(ours)
        descent.step(lr)
        torch.manual_seed(step)
        optimiser.zero_grad()
        gradients(other)
        if clip:
            norm = nn.utils.clip_grad_norm_(other.parameters(), clip)
            assert norm > clip, "nothing was clipped"
        for group in optimiser.param_groups:
            group["lr"] = lr * group["pace"]
        optimiser.step()
    for one, two in zip(ours.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(one, two, rtol=1e-5, atol=1e-6)


RECIPES = {
    "nesterov, one-cycle, clipped": {"nesterov": True, "annealing": "one-cycle", "clip_norm": 0.5},
    "adamw, cosine, warm": {
        "optimiser": "adamw",
        "annealing": "cosine",
        "warmup": 0.2,
        "lr": 0.01,
        "weight_decay_on": "weights",
    },
}


@pytest.mark.parametrize("case", RECIPES)
def test_cut_off_within_an_epoch_it_ends_in_the_same_bytes(case, tmp_path, shared, monkeypatch):
    student = next(iter(tiny.planned(recipe={"drop_epochs": []} | RECIPES[case]).runs.values()))
    ends = []
    for name in ("whole", "in parts"):
        (tmp_path / name).mkdir()
        place = tiny.results(tmp_path / name, shared)
        command = tiny.train(student, (), str(place.root))
        for stop in (1, 2, 3) if name == "in parts" else ():
            with monkeypatch.context() as patch:
                tiny.stop_after(patch, stop)
                assert main(command) == 75
        assert main(command) == 0
        where = place.run(student.name)
        ends.append(
            [(where / kept).read_bytes() for kept in ("weights.safetensors", "curve.jsonl")]
        )
    assert ends[0] == ends[1]
