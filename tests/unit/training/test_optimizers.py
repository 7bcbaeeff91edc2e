"""Each optimizer of the folder beside torch's class, and runs cut off within an epoch."""

import itertools

import pytest
import torch
from helpers import tiny_study
from torch import nn

from kdpipe.cli.main import main
from kdpipe.runs.recipe import Recipe, load_optimizers
from kdpipe.training.optim import Optimizer

STEPS = 5
CASES = [(name, example) for name, info in load_optimizers().items() for example in info.examples]


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, bias=False), nn.BatchNorm2d(8), nn.Flatten(), nn.Linear(288, 3)
    )


def backward(model: nn.Module, step: int) -> None:
    """Leave the gradients of a step's batch."""
    torch.manual_seed(step)
    x = torch.randn(4, 1, 8, 8)
    nn.functional.cross_entropy(10 * model(x), torch.arange(4) % 3).backward()


@pytest.mark.parametrize(("name", "example"), CASES)
@pytest.mark.parametrize("clip", [None, 2.0])
@pytest.mark.parametrize("decayed", ["all", "weights"])
@pytest.mark.parametrize("factor", [1.0, 0.1])
def test_steps_are_those_of_torch(name, example, clip, decayed, factor):
    keys = {"optimiser": name, "weight_decay_on": decayed, "clip_norm": clip}
    recipe = Recipe(epochs=1, lr=1, **example, **keys)
    model, reference = network(), network()
    slow = [key for key, _ in model.named_parameters() if not key.startswith("3.")]
    optimizer = Optimizer(dict(model.named_parameters()), recipe, dict.fromkeys(slow, factor))
    decay = recipe.weight_decay
    groups = [
        {
            "params": [parameter],
            "weight_decay": decay if parameter.dim() > 1 or decayed == "all" else 0.0,
            "factor": factor if key in slow else 1.0,
        }
        for key, parameter in reference.named_parameters()
    ]
    info = load_optimizers()[name]
    torch_class = getattr(torch.optim, info.torch_class)
    torch_optimizer = torch_class(groups, **info.torch_arguments(recipe))
    for step in range(STEPS):
        lr = 0.01 / (step + 1)
        backward(model, step)
        optimizer.step(lr)
        torch_optimizer.zero_grad()
        backward(reference, step)
        if clip:
            norm = nn.utils.clip_grad_norm_(reference.parameters(), clip)
            assert norm > clip, "nothing was clipped"
        for group in torch_optimizer.param_groups:
            group["lr"] = lr * group["factor"]
        torch_optimizer.step()
    for actual, expected in zip(model.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-6)
    assert all(p.grad is None for p in model.parameters())


@pytest.mark.parametrize(("name", "example"), CASES)
def test_a_restored_state_goes_on_with_the_same_bytes(name, example):
    """What the record names as state is all that a resumed run needs."""
    recipe = Recipe(epochs=1, lr=1, optimiser=name, **example)
    whole, resumed = network(), network()
    first = Optimizer(dict(whole.named_parameters()), recipe)
    before = Optimizer(dict(resumed.named_parameters()), recipe)
    for step in range(4):
        if step == 2:
            state, before = before.state, Optimizer(dict(resumed.named_parameters()), recipe)
            for kind, values in state.items():
                assert values, f"nothing is kept as {kind}"
                before.state[kind] = {key: value.clone() for key, value in values.items()}
        for model, optimizer in ((whole, first), (resumed, before)):
            backward(model, step)
            optimizer.step(0.01)
    for actual, reference in zip(whole.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(actual, reference)


def test_states_have_names_of_their_own():
    """In the file of an unfinished run they stand beside weights, terms and averages."""
    kinds = set(itertools.chain.from_iterable(info.state for info in load_optimizers().values()))
    assert not kinds & {"model", "learnt", "average", "best", "parts"}


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
    student = next(
        iter(tiny_study.planned(recipe={"drop_epochs": []} | RECIPES[case]).runs.values())
    )
    ends = []
    for name in ("whole", "in parts"):
        (tmp_path / name).mkdir()
        store = tiny_study.results(tmp_path / name, shared)
        command = tiny_study.train(student, (), str(store.root))
        for stop in (1, 2, 3) if name == "in parts" else ():
            with monkeypatch.context() as patch:
                tiny_study.stop_after(patch, stop)
                assert main(command) == 75
        assert main(command) == 0
        path = store.run(student.name)
        ends.append([(path / name).read_bytes() for name in ("weights.safetensors", "curve.jsonl")])
    assert ends[0] == ends[1]
