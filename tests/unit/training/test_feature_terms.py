"""Terms on features in a run: what it learns, what its record says, its plan, its refusals."""

import json
import shutil

import numpy as np
import pytest
import torch
from helpers import tiny_study
from torch.nn import functional as F

from kdpipe.config import load
from kdpipe.data import splits
from kdpipe.data.batches import ImageBatches
from kdpipe.errors import StudyError
from kdpipe.hashing import derive_run_seed
from kdpipe.jobs.train import train_run
from kdpipe.models import factory
from kdpipe.models.factory import build_named_model
from kdpipe.models.study_models import StudyModels
from kdpipe.plan import render
from kdpipe.runs.files import read_arrays
from kdpipe.runs.recipe import Recipe
from kdpipe.runs.spec import ModelSpec
from kdpipe.training import evaluate, loop
from kdpipe.training.forward import FeatureExtractor, make_train_forward

METHOD = {
    "ce_weight": 1.0, "kd_weight": 0.0, "sp_weight": 30.0, "rkd_weight": 0.5, "fitnet_weight": 3.0,
}  # fmt: skip


def planned(recipe=None, **method):
    recipe = {"epochs": 1, "batch_size": 64, "drop_epochs": []} | (recipe or {})
    return tiny_study.planned(methods={"kd": METHOD | method}, recipe=recipe)


def run_to_end(plan, store):
    for run in plan.runs.values():
        train_run(run.spec, [], store)
    return list(plan.runs.values())[-1]


def weights(store, run):
    return read_arrays(store.run(run.name) / "weights.safetensors")[0]


def embedded(model, groups):
    return model.tail(groups[-1]).mean((2, 3))


def alike(groups):
    flat = groups[-1].flatten(1)
    return F.normalize(torch.einsum("if,jf->ij", flat, flat))


def relations(features):
    """Distances by torch.cdist, and angles from inner products about each image."""
    apart = torch.cdist(features, features, compute_mode="donot_use_mm_for_euclid_dist")
    between = ~torch.eye(len(features), dtype=torch.bool)
    far = apart / apart[between].mean()
    at_zero = features[None, :, :] - features[:, None, :]
    products = torch.einsum("abf,acf->abc", at_zero, at_zero)
    return far, products / (apart[:, :, None] * apart[:, None, :]).clamp(min=1e-12)


def by_hand(student, teacher, x, y, regressor):
    """The sum of the terms, by other calls of torch than ours."""
    logits, actual = student.features(x)
    with torch.no_grad():
        reference = teacher.features(x)[1]
        there = relations(embedded(teacher, reference))
    here = relations(embedded(student, actual))
    parts = {
        "ce": F.cross_entropy(logits, y),
        "sp": F.mse_loss(alike(actual), alike(reference)),
        "rkd": 25 * F.smooth_l1_loss(here[0], there[0]) + 50 * F.smooth_l1_loss(here[1], there[1]),
        "fitnet": F.mse_loss(regressor(actual[1]), reference[1]),
    }
    return parts


def test_the_first_step_is_that_of_a_second_implementation(store):
    """One step of SGD on all three, from the same weights, images and views; and its curve."""
    plan = planned()
    run = run_to_end(plan, store)
    student = factory.create_model(run.spec).train()
    teacher = build_named_model("wrn10-1", num_classes=10, in_channels=1)
    arrays = weights(store, run.parents[0])
    teacher.load_state_dict({key: torch.from_numpy(value) for key, value in arrays.items()})
    teacher.eval()
    torch.manual_seed(derive_run_seed(run.spec, "learnt fitnet"))
    convolution = torch.nn.Conv2d(16, 32, 1)

    def regressor(group):
        return F.batch_norm(convolution(group), None, None, training=True).clamp(min=0)

    split = splits.load_split(run.spec.data, store)
    views = loop.Views.from_spec(run.spec.data.views)
    order, view = loop._draw_order_and_views(run.spec, 0, 64, views)
    x = ImageBatches(split.train.images, views, split.mean, split.std).batch(order, view)
    y = torch.from_numpy(np.array(split.train.labels))[order]
    parts = by_hand(student, teacher, x, y, regressor)
    loss = parts["ce"] + 30 * parts["sp"] + 0.5 * parts["rkd"] + 3 * parts["fitnet"]
    loss.backward()
    (line,) = map(json.loads, (store.run(run.name) / "curve.jsonl").open())
    for part, value in parts.items():
        assert line["train"][part] == pytest.approx(value.item(), rel=1e-4), part
    assert line["train"]["loss"] == pytest.approx(loss.item(), rel=1e-4)
    actual = weights(store, run)
    assert not any("learnt" in name or "fitnet" in name for name in actual), "it is thrown away"
    for name, parameter in student.named_parameters():
        expected = parameter - 0.05 * (parameter.grad + 5e-4 * parameter)
        after = torch.from_numpy(actual[name])
        torch.testing.assert_close(after, expected.detach(), rtol=1e-3, atol=1e-5)


def test_validation_is_looked_at_in_batches_of_training(store):
    """40 images in batches of 16: the values of terms that compare images depend on it."""
    run = run_to_end(planned({"batch_size": 16}), store)
    student, teacher = (
        build_named_model(name, num_classes=10, in_channels=1) for name in ("wrn10-0.5", "wrn10-1")
    )
    for model, result in ((student, run), (teacher, run.parents[0])):
        arrays = weights(store, result)
        model.load_state_dict({key: torch.from_numpy(value) for key, value in arrays.items()})
        model.eval()
    split = splits.load_split(run.spec.data, store)
    pixels = (split.val.images / 255 - split.mean[:, None, None]) / split.std[:, None, None]
    x = torch.tensor(pixels, dtype=torch.float32)
    y = torch.from_numpy(np.array(split.val.labels))
    totals = dict.fromkeys(("sp", "rkd"), 0.0)
    with torch.no_grad():
        for start in range(0, 40, 16):
            rows = slice(start, start + 16)
            ones = torch.nn.Conv2d(16, 32, 1)
            parts = by_hand(student, teacher, x[rows], y[rows], ones)
            for part in totals:
                totals[part] += parts[part].item() * len(x[rows]) / 40
    record = tiny_study.record(store, run)
    for part, value in totals.items():
        assert record["last"]["val"][part] == pytest.approx(value, rel=1e-4)


def test_a_run_killed_on_the_way_ends_the_same(store, monkeypatch):
    """Its regressor and the momentum of it are part of the state."""
    plan = planned({"epochs": 3, "batch_size": 16}, stop_epoch=2)
    run = run_to_end(plan, store)
    folder = store.run(run.name)
    whole = tiny_study.exact(folder)
    lines = [json.loads(line) for line in (folder / "curve.jsonl").open()]
    assert [sorted({"sp", "rkd", "fitnet"} & line["train"].keys()) for line in lines] == [
        *[["fitnet", "rkd", "sp"]] * 2, [],
    ]  # fmt: skip
    shutil.rmtree(folder)
    saves, save = [], loop.save_state

    def dies(*arguments):
        save(*arguments)
        saves.append(1)
        if len(saves) == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(loop, "save_state", dies)
    with pytest.raises(KeyboardInterrupt):
        train_run(run.spec, [], store)
    monkeypatch.undo()
    train_run(run.spec, [], store)
    assert tiny_study.exact(folder) == whole


@pytest.mark.skipif(shutil.which("g++") is None, reason="no g++: the loop refuses to compile")
def test_a_compiled_student_says_the_same(monkeypatch):
    """The embedding of a step traced as a compiler does, and its gradient, beside a plain one."""
    actual, real = [], torch.compile
    monkeypatch.setattr(torch, "compile", lambda *a, **k: real(*a, backend="aot_eager", **k))
    for compiled in (False, True):
        torch.manual_seed(0)
        model = build_named_model("wrn10-0.5", num_classes=10, in_channels=1).train()
        answers = FeatureExtractor(
            model,
            ModelSpec(name="x", revision=1, classes=10, channels=1),
            frozenset({"embedding", "groups"}),
        )
        forward = make_train_forward(answers, Recipe(epochs=1, lr=0.1, compile=compiled))
        torch.manual_seed(1)
        message = forward(torch.randn(4, 1, 8, 8), {"rkd": 1.0})
        (message.embedding.pow(2).sum() + message.groups[1].sum()).backward()
        slopes = [torch.zeros(()) if p.grad is None else p.grad for p in model.parameters()][:-2]
        actual.append([message.logits, message.embedding, *message.groups, *slopes])
    for own_value, reference in zip(*actual, strict=True):
        torch.testing.assert_close(own_value, reference, rtol=1e-3, atol=1e-4)


# --- the plan, and what it refuses


def test_the_plan_makes_their_runs_live_and_says_so():
    plan = tiny_study.planned(
        teacher_outputs="table",
        methods={"kd": {}, "rkd": {"ce_weight": 1.0, "kd_weight": 0.0, "rkd_weight": 1.0}},
        main={"methods": ["kd", "rkd"]},
    )
    ways = {cell.method: cell.run.spec.teacher.outputs for cell in plan.cells}
    assert ways == {"kd": "float16", "rkd": "live"}
    text = render.render_plan_text(plan, dict.fromkeys(plan.runs, "to do"))
    (macs,) = {cell.run.teacher_multiply_adds for cell in plan.cells}
    assert f"as 1 table of 9 views; {macs:.2e} mult-adds live (the study takes tables)" in text
    assert f"of 1 students: {macs:.2e} mult-adds, always live" in text
    assert text.splitlines()[-1].endswith("since only logits are cached: relational KD")
    plain = tiny_study.planned(teacher_outputs="table")
    assert "in any case" not in render.render_plan_text(plain, dict.fromkeys(plain.runs, "to do"))


def refused(**changes):
    with pytest.raises(StudyError) as error:
        load.validate_study(tiny_study.study(**changes), "s")
    return str(error.value)


@pytest.mark.parametrize("scaled", ["wrn10-1", "wrn10-0.5"])
def test_networks_that_do_not_end_in_a_linear_classifier_are_refused(monkeypatch, scaled):
    monkeypatch.setattr(StudyModels, "is_linear", lambda self, name: name != scaled)
    changes = {"methods": {"kd": {"kd_weight": 0.0, "rkd_weight": 1.0}}}
    message = refused(**changes)
    assert (
        "experiments[0] (main).methods: relational KD compares the inputs of final linear"
        in message
    )
    assert f"{scaled} does not end in one" in message and message.count("end in one") == 1
    changes["methods"]["kd"] = {"kd_weight": 0.0, "sp_weight": 1.0}
    assert load.validate_study(tiny_study.study(**changes), "s")


def test_an_ensemble_has_no_embedding():
    message = refused(
        methods={"kd": {"kd_weight": 0.0, "rkd_weight": 1.0}},
        main={"teachers": ["pair"]},
        ensembles={"pair": {"networks": ["wrn10-1"], "copies": 2}},
    )
    assert "relational KD needs one network, and pair is an ensemble" in message


def test_features_that_memory_was_not_enough_for_are_asked_half_as_many_at_a_time(
    store, shared, tmp_path, monkeypatch, capfd
):
    """Attention transfer compares images one by one: its loss over a split is the same."""
    method = {"ce_weight": 1.0, "kd_weight": 0.0, "attention_weight": 60.0}
    plan = tiny_study.planned(methods={"kd": method}, data={"validation": 400})
    run, elsewhere = run_to_end(plan, store), tiny_study.results(tmp_path / "tight", shared)
    most: list[int] = []

    class Tight(FeatureExtractor):
        def __call__(self, x):
            most.append(len(x))
            if len(x) > 128:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
            return super().__call__(x)

    monkeypatch.setattr(evaluate, "FeatureExtractor", Tight)
    capfd.readouterr()
    run_to_end(plan, elsewhere)
    assert max(most) == 256 and "out of memory with batches of 256 images" in capfd.readouterr().out
    one, other = (tiny_study.record(of, run)["last"] for of in (store, elsewhere))
    for split in ("train", "val", "test"):
        assert one[split]["at"] == pytest.approx(other[split]["at"], rel=1e-5)
