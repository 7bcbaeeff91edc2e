"""The average of a network's weights: torch's, by hand, and in a run that is cut off."""

import numpy as np
import pytest
import torch
from helpers import tiny_study
from safetensors.numpy import load_file
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from kdpipe.cli.main import main
from kdpipe.errors import KdpipeError
from kdpipe.runs import ownership, run_folder
from kdpipe.runs.recipe import Recipe
from kdpipe.training import ema
from kdpipe.training.optim import Optimizer


class Indexed(nn.Module):
    """A network with statistics, a counter, and an index, as window attention has one."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Linear(8, 3))
        self.register_buffer("index", torch.arange(30))

    def forward(self, x):
        return self.layers(x)


def test_it_is_torchs_average_and_an_index_stays_an_index():
    torch.manual_seed(0)
    model = Indexed()
    average = ema.build_ema(model, Recipe(epochs=1, lr=0.1, ema=0.9))
    assert average is not None
    reference = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.9), use_buffers=True)
    first: list[float] = []
    for step in range(4):
        model(torch.randn(6, 4))  # moves the statistics
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.1 * (step + 1))
        first.append(model.layers[0].weight[0, 0].item())
        average.update_parameters(model)
        reference.update_parameters(model)
    for (name, actual), other in zip(
        average.module.state_dict().items(), reference.module.state_dict().values(), strict=True
    ):
        if actual.is_floating_point():
            assert torch.equal(actual, other), name
    by_hand = first[0]
    for value in first[1:]:
        by_hand = 0.9 * by_hand + 0.1 * value
    assert average.module.layers[0].weight[0, 0].item() == pytest.approx(by_hand)
    assert average.module.index.tolist() == list(range(30))
    assert int(average.module.layers[1].num_batches_tracked) == 4


def test_a_network_that_cannot_be_copied_is_refused():
    model = nn.Linear(2, 2)
    model.made = model.weight * 2  # pyright: ignore (not a leaf: torch refuses its copy)
    with pytest.raises(KdpipeError, match=r"cannot be copied.*leave ema out"):
        ema.build_ema(model, Recipe(epochs=1, lr=0.1, ema=0.9))


def test_what_a_run_leaves_is_its_average_whatever_cut_it_off(tmp_path, shared, monkeypatch):
    recipe = {"epochs": 3, "ema": 0.8, "optimiser": "adamw", "lr": 0.01}
    run = next(iter(tiny_study.planned(recipe=recipe).runs.values()))
    seen: list[dict[str, np.ndarray]] = []
    whole = Optimizer.step

    def step(self, lr):
        whole(self, lr)
        seen.append({name: p.detach().numpy().copy() for name, p in self.parameters.items()})

    ends = []
    for name in ("whole", "in parts"):
        (tmp_path / name).mkdir()
        store = tiny_study.results(tmp_path / name, shared)
        command = tiny_study.train(run, (0, 1), str(store.root))
        for stop in (1, 3, 4) if name == "in parts" else ():
            with monkeypatch.context() as patch:
                tiny_study.stop_after(patch, stop)
                assert main(command) == 75
        with monkeypatch.context() as patch:
            if name == "whole":
                patch.setattr(Optimizer, "step", step)
            assert main(command) == 0
        ends.append(store.run(run.name))
    assert tiny_study.exact(ends[0]) == tiny_study.exact(ends[1])
    steps = len(seen) // 3
    by_hand = {key: value.astype(np.float64) for key, value in seen[0].items()}
    for number, weights in enumerate(seen[1:], 2):
        by_hand = {key: 0.8 * value + 0.2 * weights[key] for key, value in by_hand.items()}
        if number in (steps, len(seen)):
            remaining = run_folder.weights_path(ends[0], 1 if number == steps else None)
            actual = load_file(remaining)
            for key, value in by_hand.items():
                np.testing.assert_allclose(actual[key], value, rtol=1e-4, atol=1e-6)
                assert not np.allclose(actual[key], weights[key], rtol=1e-4, atol=1e-6), key
    raw = load_file(run_folder.unaveraged_weights_path(ends[0]))
    for key, value in seen[-1].items():
        np.testing.assert_array_equal(raw[key], value)


def test_the_network_itself_is_judged_beside_its_average(tmp_path, shared):
    store = tiny_study.results(tmp_path, shared)
    plain, averaged_ = (
        next(iter(tiny_study.planned(recipe={"epochs": 3} | more).runs.values()))
        for more in ({}, {"ema": 0.999})
    )
    for run in (plain, averaged_):
        assert main(tiny_study.train(run, (), str(store.root))) == 0
    alone, beside = store.run(plain.name), store.run(averaged_.name)
    # Training does not know of the average: the network itself is that of a run without one.
    for one, other in (
        (run_folder.weights_path(alone), run_folder.unaveraged_weights_path(beside)),
        (run_folder.outputs_path(alone), run_folder.unaveraged_outputs_path(beside)),
    ):
        actual, reference = load_file(one), load_file(other)
        assert actual.keys() == reference.keys()
        for key, value in actual.items():
            np.testing.assert_array_equal(reference[key], value)
    records = [tiny_study.record(store, run) for run in (plain, averaged_)]
    assert records[1]["unaveraged"] == records[0]["last"] != records[1]["last"]
    assert "unaveraged" not in records[0] and not list(alone.glob("unaveraged*"))
    listed = {path.name for path in beside.glob("unaveraged*")}
    assert len(listed) == 2 and listed <= records[1]["files"].keys()
    assert ownership.foreign_reason(beside, "runs") is None  # else prune would leave it
