"""Attention transfer as a method: what a run learns, when it ends, and where it is refused."""

import json

import numpy as np
import pytest
import torch
from helpers import synthetic_data, tiny_study
from torch.nn import functional as F

from kdpipe import hashing
from kdpipe.analysis import dataframe
from kdpipe.config import load
from kdpipe.data import splits
from kdpipe.data.batches import ImageBatches
from kdpipe.errors import StudyError
from kdpipe.jobs.train import train_run
from kdpipe.models import factory
from kdpipe.models.factory import build_named_model
from kdpipe.plan import planner
from kdpipe.runs import run_folder
from kdpipe.runs.files import read_arrays
from kdpipe.runs.store import Store
from kdpipe.training import loop
from kdpipe.training.checkpoint import SAVE_ENV

AT = {"ce_weight": 1.0, "kd_weight": 0.0, "attention_weight": 50.0}


def planned(**method):
    return tiny_study.planned(methods={"kd": {**AT, **method}}, recipe={"epochs": 3})


def trained(store, **method):
    """The student of a study with one method; its curve and record."""
    runs = list(planned(**method).runs.values())
    for run in runs:
        train_run(run.spec, [0, 1], store)
    folder = store.run(runs[-1].name)
    curve = [json.loads(line) for line in (folder / "curve.jsonl").open()]
    return runs[-1], curve, tiny_study.record(store, runs[-1])


def maps(groups):
    """Attention by hand: squares, mean over channels, each image's map of length one."""
    actual = []
    for group in groups:
        flat = (group.double().numpy() ** 2).mean(axis=1).reshape(len(group), -1)
        actual.append(flat / np.sqrt((flat**2).sum(axis=1, keepdims=True)))
    return actual


def network(store, run, name, epoch):
    model = build_named_model(name, num_classes=10, in_channels=1)
    folder = store.run(run.name)
    path = folder / "weights.safetensors"
    if epoch < 3:
        path = run_folder.weights_path(folder, epoch)
    arrays, _ = read_arrays(path)
    model.load_state_dict({key: torch.from_numpy(value) for key, value in arrays.items()})
    return model.eval()


def test_the_record_says_the_distance_of_the_maps(store):
    run, curve, record = trained(store)
    split = splits.load_split(run.spec.data, store)
    teacher, student = (
        network(store, run.parents[0], "wrn10-1", 3),
        network(store, run, "wrn10-0.5", 3),
    )
    for name, part in (("val", split.val), ("test", split.test), ("train", split.train)):
        pixels = (part.images / 255 - split.mean[:, None, None]) / split.std[:, None, None]
        x = torch.tensor(pixels, dtype=torch.float32)
        with torch.no_grad():
            actual, reference = maps(student.features(x)[1]), maps(teacher.features(x)[1])
        expected = sum(((a - b) ** 2).mean() for a, b in zip(actual, reference, strict=True))
        assert record["last"][name]["at"] == pytest.approx(expected, rel=1e-4)
    assert curve[-1]["val"]["at"] == pytest.approx(record["last"]["val"]["at"], rel=1e-6)
    assert record["checkpoints"]["1"]["val"]["at"] > 0


def test_the_loss_of_a_step_is_its_parts(store):
    _, curve, _ = trained(store)
    for line in curve:
        parts = line["train"]
        assert parts["loss"] == pytest.approx(parts["ce"] + 50 * parts["at"], rel=1e-5)
        assert "kd" not in parts


def test_with_kd_all_three_parts_are_learned(store):
    _, curve, _ = trained(store, kd_weight=0.9, ce_weight=0.1)
    for line in curve:
        parts = line["train"]
        expected = 0.1 * parts["ce"] + 0.9 * parts["kd"] + 50 * parts["at"]
        assert parts["loss"] == pytest.approx(expected, rel=1e-5)


def test_the_stop_ends_it_and_cross_entropy_goes_on(store):
    _, curve, record = trained(store, stop_epoch=2, ce_weight_after_stop=0.5)
    assert ["at" in line["train"] for line in curve] == [True, True, False]
    assert curve[2]["train"]["loss"] == pytest.approx(0.5 * curve[2]["train"]["ce"], rel=1e-6)
    assert record["last"]["test"]["at"] > 0  # it is still looked at


def test_the_maps_come_closer_than_without_it(store):
    _, _, record = trained(store, attention_weight=2000.0)
    run, _, plain = trained(store, attention_weight=1e-9)
    assert record["last"]["test"]["at"] < 0.8 * plain["last"]["test"]["at"]
    assert run.spec.teacher.outputs == "live"


def test_the_first_step_is_that_of_a_second_implementation(store):
    """One step of SGD on CE + weight * AT, from the same weights, images and views, by hand."""
    plan = tiny_study.planned(
        methods={"kd": AT}, recipe={"epochs": 1, "batch_size": 64, "drop_epochs": []}
    )
    *_, run = plan.runs.values()
    for each in plan.runs.values():
        train_run(each.spec, [], store)
    model = factory.create_model(run.spec).train()
    teacher = build_named_model("wrn10-1", num_classes=10, in_channels=1)
    arrays, _ = read_arrays(store.run(run.parents[0].name) / "weights.safetensors")
    teacher.load_state_dict({key: torch.from_numpy(value) for key, value in arrays.items()})
    teacher.eval()
    split = splits.load_split(run.spec.data, store)
    views = loop.Views.from_spec(run.spec.data.views)
    order, view = loop._draw_order_and_views(run.spec, 0, 64, views)
    x = ImageBatches(split.train.images, views, split.mean, split.std).batch(order, view)
    y = torch.from_numpy(np.array(split.train.labels))[order]

    def attention(group):
        return F.normalize(group.pow(2).mean(1).reshape(len(group), -1))

    logits, own_value = model.features(x)
    with torch.no_grad():
        reference = teacher.features(x)[1]
    loss = F.cross_entropy(logits, y) + 50 * sum(
        F.mse_loss(attention(a), attention(b)) for a, b in zip(own_value, reference, strict=True)
    )
    loss.backward()
    written, _ = read_arrays(store.run(run.name) / "weights.safetensors")
    for name, parameter in model.named_parameters():
        expected = parameter - 0.05 * (parameter.grad + 5e-4 * parameter)
        actual = torch.from_numpy(written[name])
        torch.testing.assert_close(actual, expected.detach(), rtol=1e-4, atol=1e-6)


def test_a_run_killed_on_the_way_ends_the_same(store, monkeypatch):
    runs = list(planned().runs.values())
    for run in runs:
        train_run(run.spec, [], store)
    folder = store.run(runs[-1].name)
    whole = tiny_study.exact(folder)
    for path in [*folder.rglob("*.json"), *folder.glob("*.safetensors"), folder / "curve.jsonl"]:
        path.unlink(missing_ok=True)
    saves = []

    def dies(*arguments):
        training_save(*arguments)
        saves.append(1)
        if len(saves) == 2:
            raise KeyboardInterrupt

    training_save = loop.save_state
    monkeypatch.setenv(SAVE_ENV, "0")
    monkeypatch.setattr(loop, "save_state", dies)
    with pytest.raises(KeyboardInterrupt):
        train_run(runs[-1].spec, [], store)
    monkeypatch.undo()
    train_run(runs[-1].spec, [], store)
    assert tiny_study.exact(folder) == whole


def test_a_method_without_it_keeps_its_name():
    """The weight 0 is left out of what is hashed."""
    *_, run = tiny_study.planned().runs.values()
    assert run.spec.method.keys().isdisjoint({"attention_weight", "attention_revision"})
    *_, other = planned().runs.values()
    canonical = json.loads(hashing.canonical_json(other.spec))
    assert canonical["method"]["attention_weight"] == 50
    assert canonical["method"]["attention_revision"] == 1
    assert hashing.hash_spec(canonical) == other.digest


# --- refused before any job


@pytest.mark.parametrize(
    ("method", "kind"),
    [
        ({"kd_weight": 0.9}, "at+kd"),
        ({}, "at"),
        ({"stop_epoch": 1}, "at, stopped"),
        ({"kd_weight": 0.9, "stop_epoch": 1}, "at+kd, stopped"),
        ({"kd_weight": 0.9, "attention_weight": 0.0}, "kd"),
        ({"kd_weight": 0.9, "attention_weight": 0.0, "stop_epoch": 1}, "eskd"),
    ],
)
def test_a_report_tells_it_from_kd(tmp_path, method, kind):
    frame = dataframe.build_results_frame(planned(**method), Store(tmp_path / "none"))
    assert set(frame[frame.kind == "student"].method_kind) == {kind}


def refused(**changes):
    with pytest.raises(StudyError) as error:
        load.validate_study(tiny_study.study(**changes), "s")
    return str(error.value)


def test_weights_of_which_none_is_the_teachers():
    message = refused(methods={"kd": {"kd_weight": 0.0}})
    assert "all distillation weights are 0" in message and "kd_weight, attention_weight" in message


def test_maps_of_other_sizes_are_refused(tmp_path, monkeypatch):
    made_data_npz(tmp_path)
    content = tiny_study.study(methods={"kd": AT}, main={"teachers": ["densenet-bc10-8"]})
    content["data"] = {"name": "odd", "path": "odd.npz"}
    with pytest.raises(StudyError, match=r"densenet-bc10-8 has 9x9, 4x4, 2x2 where wrn10-0.5 has"):
        load.validate_study(content, "s", tmp_path)
    content["methods"]["kd"] = {}
    assert planner.build_plan(load.validate_study(content, "s", tmp_path)).runs


def made_data_npz(folder):
    from kdpipe.data.imagefolder.custom_card import make_card

    np.savez(folder / "odd.npz", **synthetic_data.arrays((1, 9, 9), 3, 12, 6))
    make_card(folder / "odd.npz", None, None)


def test_an_ensemble_has_no_attention_to_transfer():
    ensembles = {"pair": {"networks": ["wrn10-1"], "copies": 2}}
    message = refused(methods={"kd": AT}, main={"teachers": ["pair"]}, ensembles=ensembles)
    assert "attention transfer needs one network, and pair is an ensemble" in message


def test_a_step_of_a_chain_that_attends_is_looked_at(tmp_path):
    made_data_npz(tmp_path)
    content = tiny_study.study(
        methods={"kd": {}, "at": AT},
        main={"via": ["densenet-bc10-8"], "methods": [["kd", "at"]]},
    )
    content["data"] = {"name": "odd", "path": "odd.npz"}
    with pytest.raises(StudyError, match=r"densenet-bc10-8 has .* where wrn10-0.5 has"):
        load.validate_study(content, "s", tmp_path)
    content["experiments"][0]["methods"] = [["at", "kd"]]
    with pytest.raises(StudyError, match=r"wrn10-1 has .* where densenet-bc10-8 has"):
        load.validate_study(content, "s", tmp_path)
