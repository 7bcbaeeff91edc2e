"""Linear probes: features, the classifier on them, the job, and the table."""

import io
import json
import math
import os
import re
import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from helpers import tiny_study
from helpers.snakemake_sandbox import Lab
from helpers.synthetic_data import arrays, class_folders
from helpers.synthetic_frames import cell, frame
from scipy.optimize import minimize
from scipy.special import log_softmax
from sklearn.linear_model import LogisticRegression
from torch.nn import functional as F
from torchvision.models import get_model
from torchvision.models.feature_extraction import create_feature_extractor

from kdpipe import hashing
from kdpipe.analysis import dataframe
from kdpipe.cli.main import main
from kdpipe.config import load
from kdpipe.data import cache, splits, streaming
from kdpipe.data.batches import ImageBatches
from kdpipe.data.imagefolder.custom_card import make_card
from kdpipe.data.views import IDENTITY_VIEWS
from kdpipe.devices import determinism, leases
from kdpipe.errors import DivergedError, KdpipeError, StudyError
from kdpipe.jobs.probe import probe_run as do_probe
from kdpipe.jobs.train import train_run
from kdpipe.models import factory, layers, registry
from kdpipe.plan import planner, render, resources, status
from kdpipe.report.table import load_tables, render_table_by_name, table_to_markdown
from kdpipe.runs import records
from kdpipe.runs.execution_options import ExecutionOptions
from kdpipe.runs.files import read_arrays
from kdpipe.runs.integrity.prune import prune_store
from kdpipe.runs.integrity.verify import verify_store
from kdpipe.runs.spec import ModelSpec
from kdpipe.runs.store import Store
from kdpipe.training import linear_probe
from kdpipe.workflow import status_text


def net(name, classes):
    return ModelSpec(name=name, revision=1, classes=classes, channels=1)


def pictures(shape, count=5, seed=0):
    rng = np.random.default_rng(seed)
    mean, std = np.full(shape[0], 0.4), np.full(shape[0], 0.3)
    pixels = rng.integers(0, 256, (count, *shape), np.uint8)
    return ImageBatches(pixels, IDENTITY_VIEWS, mean, std), torch.from_numpy(
        (pixels / 255 - 0.4) / 0.3
    ).float()


# --- features


@pytest.mark.parametrize("name", ["wrn10-0.5", "resnet8", "densenet-bc10-4"])
def test_features_are_what_the_pooled_tail_puts_out(name):
    torch.manual_seed(0)
    model = factory.build_named_model(name, num_classes=7, in_channels=1).eval()
    images, x = pictures((1, 8, 8), count=300)  # more than a batch
    actual = linear_probe.extract_features(model, net(name, 7), images)
    with torch.no_grad():
        expected = model.stem(x)
        for group in model.groups:
            expected = group(expected)
        expected = F.adaptive_avg_pool2d(model.tail(expected), 1).flatten(1)
        logits = model(x)
    np.testing.assert_allclose(actual, expected.numpy(), rtol=1e-4, atol=1e-5)
    by_hand = actual @ model.linear.weight.detach().numpy().T + model.linear.bias.detach().numpy()
    np.testing.assert_allclose(by_hand, logits.numpy(), rtol=1e-4, atol=1e-5)
    assert not model.linear._forward_hooks


@pytest.mark.parametrize(
    ("name", "node"), [("resnet18", "flatten"), ("mobilenet_v3_small", "classifier.2")]
)
def test_features_of_torchvisions_networks(name, node):
    torch.manual_seed(0)
    model = factory.build_named_model(name, num_classes=7, in_channels=3).eval()
    images, x = pictures((3, 224, 224), count=2)
    actual = linear_probe.extract_features(model, net(name, 7), images)
    with torch.no_grad():
        expected = create_feature_extractor(model.network, [node])(x)[node]
    np.testing.assert_allclose(actual, expected.numpy(), rtol=1e-4, atol=1e-4)


HEADS = ("alexnet", "convnext_tiny", "densenet121", "efficientnet_b0", "maxvit_t", "mnasnet0_5")
HEADS += ("mobilenet_v2", "resnext50_32x4d", "shufflenet_v2_x0_5", "swin_t", "vgg11", "vit_b_16")
HEADS += ("squeezenet1_0", "squeezenet1_1")


@pytest.mark.parametrize("name", HEADS)
def test_which_networks_end_in_a_linear_layer(name):
    with torch.device("meta"):
        model = get_model(name, num_classes=7)
    if registry.has_linear_head(name):
        layer = layers.find_head(model, 7, name)
        last = [module for module in model.modules() if not list(module.children())][-1]
        assert layer is last
    else:
        with pytest.raises(KdpipeError, match=f"{name} has no linear layer with 7 outputs"):
            layers.find_head(model, 7, name)


def test_a_network_that_goes_on_after_its_linear_layer_is_refused():
    class Scaled(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = torch.nn.Linear(64, 7)

        def forward(self, x):
            return self.linear(x.flatten(1)) * 2

    with pytest.raises(KdpipeError, match="does not end in its linear classifier"):
        linear_probe.extract_features(Scaled(), net("wrn10-1", 7), pictures((1, 8, 8))[0])


def test_the_last_of_several_layers_of_that_size_is_the_classifier():
    sizes = [torch.nn.Linear(64, 7), torch.nn.ReLU(), torch.nn.Linear(7, 7)]
    model = torch.nn.Sequential(torch.nn.Flatten(), *sizes)
    images, x = pictures((1, 8, 8))
    actual = linear_probe.extract_features(model, net("wrn10-1", 7), images)
    with torch.no_grad():
        expected = sizes[0](x.flatten(1)).relu()
    np.testing.assert_allclose(actual, expected.numpy(), rtol=1e-4, atol=1e-5)


def test_features_that_are_not_finite_are_an_outcome():
    model = factory.build_named_model("wrn10-0.5", num_classes=7, in_channels=1)
    model.stem.weight.data[0] = math.inf
    with pytest.raises(DivergedError, match="not finite"):
        linear_probe.extract_features(model, net("wrn10-0.5", 7), pictures((1, 8, 8))[0])


# --- the classifier


def build(classes, noise, counts=(120, 60, 90), width=6, seed=0):
    """Features whose class is their nearest centre, and noise."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(classes, width)) * 10
    inputs, labels = {}, {}
    for part, count in zip(("train", "val", "test"), counts, strict=True):
        labels[part] = np.arange(count) % classes
        inputs[part] = centres[labels[part]] + rng.normal(0, noise, (count, width))
        inputs[part] = inputs[part].astype(np.float32)
    return inputs, labels


def error(fitted, labels, part="test"):
    return (fitted.logits[part].argmax(1) != labels[part]).mean()


@pytest.mark.parametrize("classes", [2, 3, 10])
def test_separable_features_have_no_error(classes):
    inputs, labels = build(classes, noise=0.1)
    assert error(linear_probe.fit_classifier(inputs, labels, classes), labels) == 0


def test_features_of_noise_are_chance():
    inputs, labels = build(4, noise=1, counts=(2000, 500, 2000))
    rng = np.random.default_rng(1)
    inputs = {part: rng.normal(size=each.shape) for part, each in inputs.items()}
    actual = error(linear_probe.fit_classifier(inputs, labels, 4), labels)
    assert abs(actual - 0.75) < 3.5 * math.sqrt(0.75 * 0.25 / 2000)


def test_the_loss_is_minimised_by_another_minimiser_too():
    """mean CE + strength / 2 |W|^2 on standardised features, by hand and by scipy."""
    inputs, labels = build(3, noise=12, counts=(90, 45, 30))
    fitted = linear_probe.fit_classifier(inputs, labels, 3)
    x = inputs["train"].astype(float)
    scaled = {part: (each - x.mean(0)) / x.std(0) for part, each in inputs.items()}
    y = labels["train"]

    def loss(flat):
        w, b = flat[:18].reshape(3, 6), flat[18:]
        log_p = log_softmax(scaled["train"] @ w.T + b, axis=1)
        return -log_p[np.arange(len(y)), y].mean() + fitted.strength / 2 * (w**2).sum()

    best = minimize(loss, np.zeros(21), method="BFGS", options={"gtol": 1e-8}).x
    logits = scaled["test"] @ best[:18].reshape(3, 6).T + best[18:]
    actual = log_softmax(fitted.logits["test"], axis=1)
    np.testing.assert_allclose(actual, log_softmax(logits, axis=1), atol=5e-3)


def test_the_strength_is_that_of_the_lowest_validation_error():
    inputs, labels = build(3, noise=12, seed=4)  # neither the first of equals nor the lowest NLL
    fitted = linear_probe.fit_classifier(inputs, labels, 3)
    x = inputs["train"].astype(float)
    actual = {}
    for strength in linear_probe.L2_STRENGTHS:
        model = LogisticRegression(C=1 / (120 * strength), max_iter=1000)
        model.fit((x - x.mean(0)) / x.std(0), labels["train"])
        scaled = (inputs["val"] - x.mean(0)) / x.std(0)
        p = model.predict_proba(scaled)[np.arange(60), labels["val"]]
        actual[strength] = 1 - model.score(scaled, labels["val"]), -np.log(p).mean()
    assert fitted.strength == min(actual, key=actual.get)
    others = {min(actual, key=lambda s: actual[s][which]) for which in (0, 1)}
    assert len(others) == 2 and fitted.strength not in others
    for one in fitted.sweep:
        errors, nll = actual[one["strength"]]
        assert (1 - one["val_accuracy"], one["val_nll"]) == pytest.approx((errors, nll), abs=1e-5)
    assert not fitted.unconverged


def test_test_images_decide_nothing():
    inputs, labels = build(3, noise=12)
    fitted = linear_probe.fit_classifier(inputs, labels, 3)
    inputs["test"] = inputs["test"][::-1] * 3
    again = linear_probe.fit_classifier(inputs, labels, 3)
    assert again.sweep == fitted.sweep and again.strength == fitted.strength


def test_what_has_not_converged_is_said(monkeypatch):
    monkeypatch.setattr(linear_probe, "MAX_ITER", 2)
    inputs, labels = build(3, noise=12)
    fitted = linear_probe.fit_classifier(inputs, labels, 3)
    assert fitted.unconverged == list(linear_probe.L2_STRENGTHS)
    assert {one["rounds"] for one in fitted.sweep} == {2}


def test_a_class_without_images_is_named():
    inputs, labels = build(3, noise=1)
    labels["train"][labels["train"] == 1] = 0
    with pytest.raises(KdpipeError, match="class 1 has no training image"):
        linear_probe.fit_classifier(inputs, labels, 3)


# --- the job


@pytest.fixture(scope="session")
def waves(shared):
    """One's own data of another kind, in the shape of the digits: 4 classes."""

    def build(folder):
        folder.mkdir()
        np.savez(folder / "waves.npz", **arrays((1, 8, 8), 4, train=160, test=80))
        make_card(folder / "waves.npz", "waves", None)

    return tiny_study.once(shared / "waves", build) / "waves.npz"


def study(waves, **changes):
    """Two students of a teacher at two stops, a scratch run; all are probed."""
    block = {"stops": ["full", "checkpoint 1"]} | changes.pop("main", {})
    other = {"name": "waves", "path": str(waves), "train_size": 80, "validation": 40}
    transfers = {"other": {"data": other, "blocks": ["main"]}}
    tables = {"transfer": ["main"]}
    return tiny_study.study(main=block, transfers=transfers, tables=tables, **changes)


def planned(waves, **changes):
    return planner.build_plan(load.validate_study(study(waves, **changes), "f"))


@pytest.fixture
def finished_runs(tmp_path, shared, waves):
    """(plan, store) with every run trained and nothing probed."""
    plan = planned(waves)

    def build(folder):
        store = tiny_study.results(folder, shared)
        for run in plan.runs.values():
            train_run(run.spec, sorted(plan.checkpoints_to_keep.get(run.name, ())), store)
        cache.prepare_dataset(next(iter(plan.probes.values())).card, store, waves)

    source = tiny_study.once(shared / "probed", build)
    shutil.copytree(source / "results", tmp_path / "results")
    return plan, Store(tmp_path / "results")


def test_what_is_planned(waves):
    plan = planned(waves, seeds=[0, 1])
    requests = {
        (row.role, row.probe.run.name, row.probe.spec.epoch, row.cell.seed)
        for row in plan.probe_rows
    }
    expected = set()
    for each in plan.cells:
        (teacher, epoch), seed = each.teacher.members[0], each.seed
        expected |= {("student", each.run.name, 2, seed), ("teacher", teacher.name, epoch, seed)}
        expected |= {("scratch", plan.scratch["wrn10-0.5", seed, 0].name, 2, seed)}
    assert requests == expected and len(plan.probes) == 2 * (1 + 2 + 2)
    for name, probe in plan.probes.items():
        assert name == probe.spec.name
        assert name.startswith(f"{probe.run.network}-on-waves-s{probe.seed}-")
        assert probe.multiply_adds == (80 + 40 + 80) * probe.run.cost.multiply_adds
    without = study(waves, seeds=[0, 1])
    without.pop("transfers")
    assert list(planner.build_plan(load.validate_study(without, "f")).runs) == list(plan.runs)


def test_only_the_last_networks_of_a_chain_are_probed_and_no_ensemble(waves):
    plan = planned(
        waves,
        main={"teachers": ["self"], "stops": ["full"], "generations": 2},
        ensembles={"pair": {"networks": ["wrn10-0.5"], "copies": 2}},
    )
    last = plan.cells[-1]
    requests = {(row.role, row.probe.run.name) for row in plan.probe_rows}
    scratch = plan.scratch["wrn10-0.5", 0, 0].name
    assert requests == {("scratch", scratch), ("teacher", scratch), ("student", last.run.name)}
    assert len(plan.probes) == 2
    team = planned(
        waves,
        main={"teachers": ["pair"], "stops": ["full"]},
        ensembles={"pair": {"networks": ["wrn10-1"], "copies": 2}},
    )
    assert {row.role for row in team.probe_rows} == {"scratch", "student"}


@pytest.mark.parametrize(
    ("change", "renames"),
    [
        ({"split_seed": 1}, True),
        ({"train_size": 60}, True),
        ({"mean": [0.5]}, True),
        ({"pad": 0, "flip": False}, False),
    ],
)
def test_what_renames_a_probe(waves, change, renames):
    before = planned(waves)
    content = study(waves)
    content["transfers"]["other"]["data"] |= change
    content["transfers"] = {"named-anew": content["transfers"]["other"]}
    after = planner.build_plan(load.validate_study(content, "f"))
    assert list(after.runs) == list(before.runs)
    assert (set(after.probes) == set(before.probes)) is not renames


def test_a_probe_is_what_it_is_computed_by_hand(finished_runs):
    """The network read from its file, the images from theirs, the classifier by scikit-learn."""
    plan, store = finished_runs
    probe = next(row.probe for row in plan.probe_rows if row.probe.spec.epoch == 1)
    do_probe(probe.spec, store)
    record = tiny_study.record_of(store.probe(probe.name))

    file = store.run(probe.run.name) / "checkpoints/epoch-0001.safetensors"
    weights, _ = read_arrays(file)
    model = factory.build_named_model("wrn10-1", num_classes=10, in_channels=1)
    model.load_state_dict({key: torch.from_numpy(value) for key, value in weights.items()})
    model.linear = torch.nn.Identity()
    split = splits.load_split(probe.spec.data, store)
    assert split.train.images.mean() / 255 == pytest.approx(split.mean[0])  # the other set's own
    x = {
        part: ((images.images / 255 - split.mean[0]) / split.std[0]).astype(np.float32)
        for part, images in (("train", split.train), ("val", split.val), ("test", split.test))
    }
    with torch.no_grad():
        x = {part: model.eval()(torch.from_numpy(each)).numpy() for part, each in x.items()}
    mean, std = x["train"].mean(0), x["train"].std(0)
    oracle = LogisticRegression(C=1 / (80 * record["strength"]), max_iter=1000)
    oracle.fit((x["train"] - mean) / std, split.train.labels)
    for part, labels in (("val", split.val.labels), ("test", split.test.labels)):
        p = oracle.predict_proba((x[part] - mean) / std)[np.arange(len(labels)), labels]
        assert record["last"][part]["nll"] == pytest.approx(-np.log(p).mean(), abs=2e-3)
        right = oracle.score((x[part] - mean) / std, labels)
        assert record["last"][part]["accuracy"] == pytest.approx(right, abs=1.5 / len(labels))
    assert record["features"] == 64 and record["spec"]["run"] == probe.run.digest
    assert record["last"]["test"]["n"] == 80 and record["seconds"]["total"] > 0
    assert {"torch", "scikit-learn", "kdpipe"} <= set(record["versions"])
    outputs, about = read_arrays(store.probe(probe.name) / "outputs.safetensors")
    assert about == {"run": probe.digest, "epoch": 1}
    right = (outputs["test_logits"].argmax(1) == outputs["test_labels"]).mean()
    assert right == pytest.approx(record["last"]["test"]["accuracy"])


def test_a_probe_is_the_same_again_and_is_not_made_twice(finished_runs, monkeypatch):
    plan, store = finished_runs
    probe = next(iter(plan.probes.values()))
    folder = store.probe(probe.name)
    do_probe(probe.spec, store)
    first = tiny_study.record_of(folder), (folder / "outputs.safetensors").read_bytes()
    shutil.rmtree(folder)
    do_probe(probe.spec, store)
    second = tiny_study.record_of(folder), (folder / "outputs.safetensors").read_bytes()
    assert second[1] == first[1]
    for key in ("last", "sweep", "strength", "files", "digest"):
        assert second[0][key] == first[0][key]
    (folder / records.RECORD_FILE).unlink()  # as Snakemake does before it starts a job again
    monkeypatch.setattr(linear_probe, "extract_probe_data", None)
    assert "finished before" in do_probe(probe.spec, store)
    assert tiny_study.record_of(folder) == second[0]


def test_others_have_its_gpu_while_a_probe_fits_on_the_cpu(finished_runs, monkeypatch):
    plan, store = finished_runs
    probe = next(iter(plan.probes.values()))
    gpu = f"GPU-probe-{os.getpid()}"
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", gpu)
    monkeypatch.setenv("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
    monkeypatch.setattr(determinism, "prepare_torch_device", lambda *_: torch.device("cpu"))
    monkeypatch.setattr(determinism, "get_gpu_info", lambda: {"name": "pretended"})
    free = {}
    for name in ("extract_features", "fit_classifier"):
        real = getattr(linear_probe, name)

        def noted(*inputs, name=name, real=real):
            free[name] = leases.is_free(gpu)
            return real(*inputs)

        monkeypatch.setattr(linear_probe, name, noted)
    do_probe(probe.spec, store, ExecutionOptions("cuda"))
    assert free == {"extract_features": False, "fit_classifier": True}
    device = tiny_study.record_of(store.probe(probe.name))["device"]
    assert device["type"] == "cuda" and device["name"] == "pretended"


def test_a_diverged_parent_skips_its_probe_until_it_has_come(finished_runs):
    plan, store = finished_runs
    probe = next(row.probe for row in plan.probe_rows if row.role == "student")
    whole = tiny_study.record(store, probe.run)
    whole.pop("sha256")
    bad = whole | {"status": "diverged", "reason": "the loss is nan"}
    records.publish_record(store.run(probe.run.name), bad)
    assert "skipped" in do_probe(probe.spec, store)
    record = tiny_study.record_of(store.probe(probe.name))
    assert record["status"] == "skipped" and "the loss is nan" in record["reason"]
    assert status.get_plan_status(plan, store)[probe.name] == "skipped"
    records.publish_record(store.run(probe.run.name), whole)
    assert status.get_plan_status(plan, store)[probe.name] == "to do"
    assert "validation error" in do_probe(probe.spec, store)
    assert status.get_plan_status(plan, store)[probe.name] == "done"


def test_what_has_not_converged_stands_in_record_and_table(finished_runs, monkeypatch):
    plan, store = finished_runs
    monkeypatch.setattr(linear_probe, "MAX_ITER", 1)
    for probe in plan.probes.values():
        do_probe(probe.spec, store)
        record = tiny_study.record_of(store.probe(probe.name))
        assert record["status"] == "done" and not record["converged"]
        assert "L-BFGS stopped after 1 rounds at strength 1, 0.1, 0.01" in record["reason"]
    actual = render_table_by_name("transfer", dataframe.build_results_frame(plan, store)).data
    assert actual.notes.str.contains("1 classifiers had not converged").all()


@pytest.mark.parametrize(
    "path, value",
    [
        (["network", "name"], "../../wrn10-1"),
        (["data", "name"], "../../../etc/passwd"),
        (["data", "validation"], 0),
        (["seed"], "0/../../../x"),
        (["run"], "../../etc"),
        (["epoch"], "1"),
        (["revision"], 99),
        (["data", "split_revision"], 99),
        (["threads"], 10**9),
        (["data"], None),
    ],
)
def test_a_hostile_or_foreign_spec_is_refused(waves, tmp_path, capsys, path, value):
    spec = json.loads(hashing.canonical_json(next(iter(planned(waves).probes.values())).spec))
    *keys, last = path
    part = spec
    for key in keys:
        part = part[key]
    part[last] = value
    store = tmp_path / "inner" / "results"
    assert main(["probe", "--spec", json.dumps(spec), "--results", str(store)]) == 2
    message = capsys.readouterr().err
    assert message.startswith("kdpipe: ") and "Traceback" not in message
    assert not list(tmp_path.iterdir()), "something was written"


def test_a_run_that_is_not_there_is_a_fault(finished_runs):
    plan, store = finished_runs
    probe = next(iter(plan.probes.values()))
    shutil.rmtree(store.run(probe.run.name))
    with pytest.raises(KdpipeError, match="a parent is missing"):
        do_probe(probe.spec, store)
    assert "a parent is missing" in status_text.format_status(plan, store)
    assert status.get_plan_status(plan, store)[probe.name] == "to do"


def test_plan_status_verify_and_prune_know_probes(finished_runs, tmp_path, waves):
    plan, store = finished_runs
    states = status.get_plan_status(plan, store)
    assert "5 probes on waves" in render.render_plan_text(plan, states)
    assert len(render.render_plan_json(plan, states)["probes"]) == 5
    assert "5 probes on other data: 0 finished" in status_text.format_status(plan, store)
    for probe in plan.probes.values():
        do_probe(probe.spec, store)
        written = (store.probe(probe.name) / "outputs.safetensors").stat().st_size
        assert (
            resources.count_probe_bytes(probe)
            <= written
            < resources.count_probe_bytes(probe) + 2000
        )
    assert "5 probes on other data: 5 finished" in status_text.format_status(plan, store)
    assert list(verify_store(store)) == []
    assert "all results are needed" in prune_store([plan], store, apply=False)
    path = store.probe(probe.name) / "outputs.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    (fault,) = verify_store(store)
    assert str(path) in fault and "altered" in fault
    content = study(waves)
    content.pop("transfers")
    alone = planner.build_plan(load.validate_study(content, "f"))
    prune_store([alone], store, apply=True)
    assert not list((store.root / "probes").iterdir())
    assert [path.name.split("-")[0] for path in (store.root / "data").iterdir()] == ["digits"]


def test_what_a_cluster_is_asked_for_grows_with_the_network(waves):
    small, large = (
        next(iter(planned(waves, main={"students": [name]}).probes.values()))
        for name in ("wrn10-0.5", "wrn28-10")
    )
    few, many = (resources.estimate_resources(probe, probe.card, "cpu") for probe in (small, large))
    assert resources.MIN_MINUTES <= few.minutes <= many.minutes
    assert few.megabytes > resources.BASE_MEGABYTES["cpu"]


def test_images_that_stream_are_probed_as_they_are(tmp_path, shared):
    """The features of a folder of files, against the network by hand on their batches."""
    store = tiny_study.results(tmp_path, shared)
    folder = class_folders(tmp_path / "files", arrays((1, 16, 16), 4, train=60, test=20))
    make_card(folder, "files", None, stream=16)
    other = {"name": "files", "path": str(folder), "train_size": 32, "validation": 12}
    content = tiny_study.study(
        data={"resize": 16},
        transfers={"other": {"data": other, "blocks": ["main"]}},
    )
    with pytest.raises(StudyError, match=r"transfers\.other\.data\.mean: missing required key"):
        load.validate_study(content, "f")
    other |= {"mean": [0.5], "std": [0.3]}
    plan = planner.build_plan(load.validate_study(content, "f"))
    (probe,) = [row.probe for row in plan.probe_rows if row.role == "scratch"]
    train_run(probe.run.spec, [], store)
    cache.prepare_dataset(probe.card, store, folder)
    do_probe(probe.spec, store)
    record = tiny_study.record_of(store.probe(probe.name))
    assert [record["last"][part]["n"] for part in ("train", "val", "test")] == [32, 12, 20]
    split = splits.load_split(probe.spec.data, store)
    weights, _ = read_arrays(store.run(probe.run.name) / "weights.safetensors")
    model = factory.build_named_model("wrn10-0.5", num_classes=10, in_channels=1).eval()
    model.load_state_dict({key: torch.from_numpy(value) for key, value in weights.items()})
    actual = linear_probe.extract_features(
        model, net("wrn10-0.5", 10), streaming.create_batches(split.test, IDENTITY_VIEWS, split)
    )
    model.linear = torch.nn.Identity()
    with torch.no_grad():
        x = torch.cat(
            list(streaming.create_batches(split.test, IDENTITY_VIEWS, split).unaugmented_batches(7))
        )
        np.testing.assert_allclose(actual, model(x).numpy(), rtol=1e-4, atol=1e-5)
    alone, with_workers = (
        resources.estimate_resources(probe, probe.card, "cpu", n) for n in (0, 4)
    )
    assert with_workers.minutes >= resources.MIN_MINUTES
    assert with_workers.megabytes > alone.megabytes


def test_a_teacher_that_does_not_end_in_a_linear_layer_is_refused():
    pixels = {"mean": [0.5] * 3, "std": [0.2] * 3}
    content = tiny_study.study(
        data={"name": "imagenet", "path": "nowhere", "train_size": 1000, "pad": 0} | pixels,
        pretrained={"tiny": {"network": "squeezenet1_0", "weights": "IMAGENET1K_V1"}},
        main={"teachers": ["tiny"], "students": ["resnet18"]},
        transfers={
            "small": {
                "data": {"name": "cifar10", "resize": 224, "train_size": 500, "validation": 100},
                "blocks": ["main"],
            }
        },
    )
    with pytest.raises(StudyError, match=r"1 error\n  transfers.small.blocks: squeezenet1_0, a"):
        load.validate_study(content, "f")
    content["pretrained"]["tiny"] |= {"network": "resnet34"}
    assert planner.build_plan(load.validate_study(content, "f")).probes


# --- the table


def probed(errors, of, **labels):
    """Rows of a cell's probes, as `records` makes them."""
    own = labels.pop("own_error", 5.0)
    rows = cell(errors, kind=of, **labels)
    more = {"of": of, "transfer": labels.get("transfer", "other"), "data": "clothes"}
    for row in rows:
        row |= more | {"kind": "probe", "run": f"{row['run']}-on-clothes", "own_error": own}
    return rows


def test_the_table_of_a_transfer_by_hand():
    rows = frame(
        cell([10.0, 11.0, 12.0], kind="scratch", data="digits"),
        cell([9.0, 9.0, 9.0], teacher="mid", data="digits"),
        probed([30.0, 32.0, 34.0], "scratch", block="main", own_error=11.0),
        probed([29.0, 30.0, 31.0], "student", teacher="mid", own_error=9.0),
        probed([31.0, "skipped", 35.0], "student", teacher="large"),
        probed([20.0, 21.0, 22.0], "teacher", teacher="mid", student="", block="main"),
    ).assign(converged=True)
    actual = render_table_by_name("transfer", rows.sample(frac=1, random_state=0))
    lines = actual.data.fillna({"teacher": ""}).set_index(["features", "teacher"])
    assert list(lines.index) == [
        ("scratch", ""), ("student", "mid"), ("student", "large"), ("teacher", "mid"),
    ]  # fmt: skip
    scratch, mid = lines.loc["scratch", ""], lines.loc["student", "mid"]
    assert (scratch.n, scratch.error, scratch.own_error) == (3, 32.0, 11.0)
    # Student's t: 4.303 * 2 / sqrt(3)
    assert scratch.error_high - scratch.error == pytest.approx(4.3027 * 2 / math.sqrt(3), rel=1e-4)
    assert (mid.error, mid.vs_scratch, mid.vs_scratch_n) == (30.0, -2.0, 3)
    assert mid.vs_scratch_high == pytest.approx(-2 + 4.3027 / math.sqrt(3), rel=1e-4)
    large = lines.loc["student", "large"]
    assert (large.n, large.vs_scratch, large.vs_scratch_n) == (2, 1.0, 2)
    assert "1 skipped" in large.notes and large.vs_scratch_mark == "too few seeds"
    assert lines.loc["teacher", "mid"].error == 21.0
    assert pd.isna(lines.loc["teacher", "mid"].vs_scratch)
    assert set(actual.data.data) == {"clothes"}
    read = pd.read_csv(io.StringIO(rows.to_csv(index=False)))
    assert table_to_markdown(render_table_by_name("transfer", read)) == table_to_markdown(
        render_table_by_name("transfer", rows)
    )


def test_two_transfers_are_not_mixed():
    parts = [
        part
        for name, base in (("a", 30.0), ("b", 50.0))
        for part in (
            probed([base] * 3, "scratch", block="main", transfer=name, run=name + "1"),
            probed([base - 1] * 3, "student", teacher="mid", transfer=name, run=name + "2"),
        )
    ]
    rows = frame(*parts).assign(converged=True)
    rows["run"] = rows.run + rows.seed.astype(str)
    actual = render_table_by_name("transfer", rows).data
    assert list(actual.error) == [30.0, 29.0, 50.0, 49.0]
    assert list(actual.vs_scratch.dropna()) == [-1.0, -1.0]


@pytest.mark.parametrize("name", [name for name in load_tables() if name != "transfer"])
def test_probes_are_in_no_other_table(name):
    rows = frame(cell([10.0, 11.0, 12.0], kind="scratch"), cell([9.0, 9.0, 10.0], teacher="mid"))
    more = [
        probed([30.0] * 3, "scratch", block="main"),
        probed([29.0] * 3, "student", teacher="mid"),
    ]
    both = pd.concat([rows, frame(*more)], ignore_index=True)
    pd.testing.assert_frame_equal(
        render_table_by_name(name, both).display, render_table_by_name(name, rows).display
    )


def test_the_frame_of_a_study_with_probes(finished_runs):
    plan, store = finished_runs
    for probe in plan.probes.values():
        do_probe(probe.spec, store)
    rows = dataframe.build_results_frame(plan, store)
    context = rows[rows.kind == "probe"]
    assert set(context.data) == {"waves"} and set(rows[rows.kind != "probe"].data) == {"digits"}
    assert set(context.run) == set(plan.probes) and list(context.columns[:3]) == [
        "kind",
        "block",
        "data",
    ]
    student = context[(context.of == "student") & (context.stop == "full")].iloc[0]
    record = tiny_study.record_of(store.probe(student.run))
    assert student.test_error == 100 * (1 - record["last"]["test"]["accuracy"])
    at_home = rows[(rows.kind == "student") & (rows.stop == "full")].iloc[0]
    assert student.own_error == at_home.test_error and student.method == at_home.method


# --- the workflow


@pytest.mark.slow
def test_the_real_snakemake_with_a_parent_that_diverges_and_a_probe_that_fails(
    tmp_path, waves, warm
):
    lab = Lab(tmp_path / "lab", warm)
    absurd = {"wrn10-0.75": {"lr": 99.0, "epochs": 60, "drop_epochs": []}}
    content = study(
        waves,
        main={"students": ["wrn10-0.5", "wrn10-0.75"], "stops": ["full"]},
        network_recipes=absurd,
    )
    plan = planner.build_plan(load.validate_study(content, "f"))
    assert (len(plan.runs), len(plan.probes)) == (5, 5)
    message = re.findall(
        r"^(?:local)?rule probe:\n +input: (.*)\n +output: (.*)$", lab.dry(content), re.M
    )
    waits = {output.split("/")[2]: needs for needs, output in message}
    assert set(waits) == set(plan.probes)
    for name, probe in plan.probes.items():
        needs = waits[name].split(", ")
        assert f"results/runs/{probe.run.name}/record.json" in needs and len(needs) == 2
        assert f"logs/data/{probe.card.folder}.prepared" in needs
    lab.run(content)
    actual = lab.records()
    assert set(actual) == {*plan.runs, *plan.probes}
    for name, probe in plan.probes.items():
        parent = actual[probe.run.name]["status"]
        assert (parent, actual[name]["status"]) == (
            ("diverged", "skipped") if "0.75" in name else ("done", "done")
        )
    table = (lab.folder / "reports/tiny/tables/transfer.csv").read_text()
    assert table.count("1 skipped") == 2 and len(table.splitlines()) == 6
    assert len(re.findall("^probe,", lab.results_csv(), re.MULTILINE)) == 5
    assert "Nothing to be done" in lab.dry(content)
    prepared = {path.name.split("-")[0] for path in (lab.folder / "results/data").iterdir()}
    assert prepared == {"digits", "waves"}

    # A fault leaves the rest alone, stands in the report, and is tried again.
    probe = next(row.probe for row in plan.probe_rows if row.role == "teacher")
    weights = lab.store.run(probe.run.name) / "weights.safetensors"
    shutil.rmtree(lab.store.probe(probe.name))
    weights.write_bytes(weights.read_bytes()[:-1])
    message = lab.run(content, code=1)
    assert f"logs/probes/{probe.name}.log" in message
    (line,) = [line for line in lab.results_csv().splitlines() if f",{probe.name}," in line]
    assert "failed" in line and "weights.safetensors is damaged" in line
    assert f"results/probes/{probe.name}/record.json" in lab.dry(content)
