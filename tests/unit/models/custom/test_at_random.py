"""Networks of one's own that draw random numbers in training, as dropout does."""

import hashlib
import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from helpers import tiny_study
from helpers.custom_networks import NETWORKS, forget, study, trained
from safetensors.torch import load_file, save_file

from kdpipe import hashing
from kdpipe.cli.main import main
from kdpipe.data import splits
from kdpipe.data.batches import ImageBatches
from kdpipe.data.views import Views
from kdpipe.errors import KdpipeError
from kdpipe.jobs.train import train_run
from kdpipe.models.custom import builder, fingerprint
from kdpipe.models.custom.fingerprint import DeterministicRng
from kdpipe.runs.execution_options import ExecutionOptions
from kdpipe.runs.recipe import learning_rate
from kdpipe.training import loop


@pytest.fixture
def dropping(folder):
    """A study whose student draws at random, in each of three layers in another way."""
    networks = NETWORKS | {"dropping": {"build": "mine.dropping"}}
    folder.write(study(networks=networks, main={"teachers": ["small"], "students": ["dropping"]}))
    assert folder.kdpipe("network") == 0
    return folder


def its_scratch(folder):
    runs = folder.plan().runs.values()
    return next(run for run in runs if run.network == "dropping" and not run.spec.teacher)


def test_one_that_draws_at_random_learns_what_a_plain_loop_learns(dropping, store):
    """Before each step torch is seeded with (seed, stage, member, network, step, epoch)."""
    import mine  # pyright: ignore

    run = its_scratch(dropping)
    path = trained(run, store, dropping)
    split, recipe = splits.load_split(run.spec.data, store), run.spec.recipe
    views = Views.from_spec(run.spec.data.views)
    images = ImageBatches(split.train.images, views, split.mean, split.std)
    labels = torch.from_numpy(np.array(split.train.labels))
    torch.manual_seed(hashing.derive_seed(0, 0, 0, "dropping", "init"))
    model = mine.dropping(num_classes=10, in_channels=1).train()
    optimiser = torch.optim.SGD(model.parameters(), momentum=0.9, weight_decay=5e-4)
    for epoch in range(recipe.epochs):
        optimiser.param_groups[0]["lr"] = learning_rate(recipe, epoch)
        order, view = loop._draw_order_and_views(run.spec, epoch, len(images), views)
        for step, (index, _, x) in enumerate(images.batches(order, view, recipe.batch_size)):
            torch.manual_seed(hashing.derive_seed(0, 0, 0, "dropping", f"step {step}", epoch))
            optimiser.zero_grad()
            F.cross_entropy(model(x), labels[index]).backward()
            optimiser.step()
    actual = load_file(path / "weights.safetensors")
    for key, value in model.state_dict().items():
        torch.testing.assert_close(actual[key], value, rtol=1e-3, atol=1e-5, msg=key)


def test_cut_off_within_an_epoch_it_drops_what_it_would_have_dropped(
    dropping, tmp_path, shared, monkeypatch
):
    run = its_scratch(dropping)
    ends = []
    for name, last in (("whole", None), ("in two", 1), ("in three", 2)):
        (tmp_path / name).mkdir()
        store = tiny_study.results(tmp_path / name, shared)
        command = [*tiny_study.train(run, (), str(store.root)), f"--code={dropping.path}"]
        for stop in [] if last is None else range(1, last + 1):
            with monkeypatch.context() as patch:
                tiny_study.stop_after(patch, stop)
                torch.manual_seed(stop)
                assert main(command) == 75
        assert main(command) == 0
        path = store.run(run.name)
        ends.append([(path / name).read_bytes() for name in ("weights.safetensors", "curve.jsonl")])
    assert ends[0] == ends[1] == ends[2]


def test_another_chance_under_an_old_revision_is_not_mixed_in(dropping, store, capsys):
    run = its_scratch(dropping)
    dropping.change("nn.Dropout(0.5)", "nn.Dropout(0.4)")
    forget()
    assert main([*tiny_study.train(run, (), str(store.root)), f"--code={dropping.path}"]) == 2
    assert "the outputs of mine.dropping have changed since this run" in capsys.readouterr().err
    assert dropping.kdpipe("check") == 2
    assert "networks.dropping.build: mine.dropping is not as in its card" in capsys.readouterr().err


class Edited(torch.nn.Module):
    """A network that drops, of which one number is edited."""

    def __init__(self, what, number):
        super().__init__()
        self.what, self.number = what, number
        self.conv, self.linear = torch.nn.Conv2d(1, 4, 3, padding=1), torch.nn.Linear(256, 10)
        momentum = number if what == "momentum" else 0.1
        self.norm, self.drop = torch.nn.BatchNorm2d(4, momentum=momentum), torch.nn.Dropout(0.1)

    def forward(self, x):
        x = self.drop(F.relu(self.norm(self.conv(x))))
        if self.what == "scale" and self.training:
            x = x * self.number
        if self.what == "function":
            x = F.dropout(x, self.number, self.training)
        if self.what == "path" and self.training:  # as timm drops whole paths
            keep = 1 - self.number
            x = x * x.new_empty(len(x), 1, 1, 1).bernoulli_(keep).div_(keep)
        if self.what == "noise" and self.training:
            x = x + self.number * torch.randn_like(x)
        if self.what == "difference" and self.training:
            x = x + self.number * (torch.randn_like(x) - torch.randn_like(x))
        if self.what == "resampled" and self.training:
            while torch.rand(()) < 0.7:
                x = x * self.number
        return self.linear(x.flatten(1))


def steady(model):
    """Its logits after a step in eval mode, and the chance of its dropout: by hand."""
    torch.manual_seed(0)
    again = Edited(model.what, model.number)
    fingerprint.perturb_weights(again)
    x = fingerprint.make_images((1, 8, 8))
    F.cross_entropy(again.eval()(x), torch.arange(2)).backward()
    with torch.no_grad():
        for parameter in again.parameters():
            parameter -= 0.1 * parameter.grad
        logits = again(x).flatten()[: fingerprint.MAX_LOGITS].tolist()
    return (*(float(f"{value:.6g}") for value in logits), 0.1)


@pytest.mark.parametrize(
    ("what", "before", "after"),
    [
        ("function", 0.1, 0.7),
        ("path", 0.1, 0.4),
        ("momentum", 0.1, 0.9),
        ("scale", 1.0, 3.0),
        ("noise", 0.1, 0.3),
        ("difference", 0.1, 5.0),
        ("resampled", 1.0, 1.5),
    ],
)
def test_whatever_of_its_training_is_edited_is_found(what, before, after):
    """None of these is the `p` of a module, and none acts in eval mode."""
    one, same, other = (
        fingerprint.compute_fingerprint(lambda n=n: Edited(what, n), (1, 8, 8), "contiguous")
        for n in (before, before, after)
    )
    assert one == same and one.draws and one.other is not None
    assert fingerprint.matches_fingerprint(
        one.logits, same
    ) and not fingerprint.matches_fingerprint(one.logits, other)
    assert one.eval_logits == other.eval_logits
    # The card of an earlier version, which took the step in eval mode, is one of it still.
    assert fingerprint.matches_fingerprint([*one.eval_logits, *one.other[0]], one)
    assert one.other[0] == steady(Edited(what, before)) != one.trained


def test_what_is_drawn_in_a_way_that_is_not_known_takes_its_step_in_eval_mode():
    class Poisson(Edited):
        def forward(self, x):
            return super().forward(x) + (torch.poisson(torch.ones(10)) if self.training else 0)

    message = fingerprint.compute_fingerprint(lambda: Poisson("", 0), (1, 8, 8), "contiguous")
    assert (
        message.draws
        and message.other is None
        and len(message.trained) == fingerprint.MAX_LOGITS + 1
    )


def test_what_draws_without_end_or_says_nothing_finite_takes_its_step_in_eval_mode():
    class Endless(Edited):
        def forward(self, x):
            while self.training and torch.rand(()) < 1 - 1e-5:  # one in 100,000
                pass
            return super().forward(x)

    class Large(Edited):
        def forward(self, x):
            actual = super().forward(x)
            return actual + 1e30 * (actual - actual.detach()) if self.training else actual

    for one in (Endless, Large):
        message = fingerprint.compute_fingerprint(
            lambda one=one: one("", 0), (1, 8, 8), "contiguous"
        )
        assert message.draws and len(message.trained) == fingerprint.MAX_LOGITS + 1, one


def test_a_network_in_which_rounding_shows_takes_its_step_in_eval_mode():
    class Steep(Edited):
        def forward(self, x):
            actual = super().forward(x)
            return actual + torch.sin(1e6 * actual) if self.training else actual

    message = fingerprint.compute_fingerprint(lambda: Steep("", 0), (1, 8, 8), "contiguous")
    assert (
        message.draws
        and message.other is not None
        and len(message.trained) == fingerprint.MAX_LOGITS + 1
    )
    assert message.trained != message.other[0]
    # Where it does not show, the other is what is said first: one answers the card of the other.
    elsewhere = fingerprint.Fingerprint(
        message.eval_logits, *message.other, True, (message.trained, message.of_groups)
    )
    assert fingerprint.matches_fingerprint(
        message.logits, elsewhere
    ) and fingerprint.matches_fingerprint(elsewhere.logits, message)


def test_even_numbers_are_distributed_as_what_is_drawn():
    before = torch.get_rng_state()
    with DeterministicRng():
        drawn = {
            "rand": torch.rand(100, 100),
            "uniform": torch.empty(10_000).uniform_(2, 4) / 2 - 1,
            "like": torch.rand_like(torch.empty(10_000)),
        }
        normal = [torch.randn(100, 100), torch.empty(10_000).normal_(3, 2) / 2 - 1.5]
        normal.append(torch.randn_like(torch.empty(10_000)))
        remaining = [torch.empty(10_000).bernoulli_(0.3), torch.full((10_000,), 0.3).bernoulli()]
        remaining.append((F.dropout(torch.ones(10_000), 0.7) > 0).float())
        dice, order = torch.randint(1, 7, (6000,)), torch.randperm(50)
        mask = torch.native_dropout(torch.ones(10_000), 0.7, True)
    assert torch.equal(before, torch.get_rng_state())
    for name, values in drawn.items():
        quartiles = torch.quantile(values.flatten(), torch.tensor([0.0, 0.25, 0.5, 0.75, 1.0]))
        expected = torch.tensor([0.0, 0.25, 0.5, 0.75, 1.0])
        torch.testing.assert_close(quartiles, expected, atol=0.01, rtol=0, msg=name)
    for values in normal:
        assert abs(float(values.mean())) < 0.01 and abs(float(values.std()) - 1) < 0.02
    assert [round(float(each.mean()), 2) for each in remaining] == [0.3] * 3
    assert torch.bincount(dice, minlength=7)[1:].float().sub(1000).abs().max() < 20
    assert sorted(order.tolist()) == list(range(50)) != order.tolist()
    assert round(float(mask[1].float().mean()), 2) == 0.3
    assert torch.allclose(mask[0], mask[1] / 0.3)


def test_runs_named_by_a_card_from_before_it_could_train_are_found(dropping):
    """Its answer was then of eval mode alone; the card is kept, and names what it named."""
    path = dropping.path / "dropping-1x8x8-10.network.json"
    old = dropping.card("dropping") | {"trained": []}
    path.write_text(json.dumps(hashing.add_checksum(old)))
    names = list(dropping.plan().runs)
    assert dropping.kdpipe("check") == 0 and dropping.kdpipe("network") == 0
    assert list(dropping.plan().runs) == names and dropping.card("dropping")["trained"] == []
    forget()
    builder.build_custom_model(its_scratch(dropping).spec.network, dropping.path)
    dropping.change("        Noisy(),", "        nn.GELU(),")
    forget()
    with pytest.raises(KdpipeError, match="have changed since this run"):
        builder.build_custom_model(its_scratch(dropping).spec.network, dropping.path)


def test_one_that_draws_at_random_teaches_with_weights_it_brings(dropping, store):
    import mine  # pyright: ignore

    weights = dropping.path / "weights.safetensors"
    model = mine.dropping(num_classes=10, in_channels=1)
    save_file(model.state_dict(), weights)
    source = {"network": "dropping", "path": "weights.safetensors"}
    source["sha256"] = hashlib.sha256(weights.read_bytes()).hexdigest()
    networks = NETWORKS | {"dropping": {"build": "mine.dropping"}}
    main = {"teachers": ["brought"], "students": ["wrn10-0.5"]}
    dropping.write(study(networks=networks, pretrained={"brought": source}, main=main))
    assert dropping.kdpipe("check") == 0
    plan = dropping.plan()
    for run in plan.runs.values():
        path = plan.weights.get(run.name)
        train_run(
            run.spec, [], store, ExecutionOptions(weights=path and weights, code=dropping.path)
        )
    taught = tiny_study.record(store, run)
    assert taught["status"] == "done" and taught["spec"]["teacher"]["members"]
    brought = next(run for run in plan.runs.values() if run.network == "dropping")
    written = load_file(store.run(brought.name) / "weights.safetensors")
    assert all(torch.equal(written[key], value) for key, value in model.state_dict().items())
