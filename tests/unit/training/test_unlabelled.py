"""Images without labels: against a slow plain twin, cut off, from tables, and with other labels."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers import plain_loop, tiny_study
from helpers.plain_loop import view_image

from kdpipe.data import splits
from kdpipe.data.views import Views
from kdpipe.errors import InterruptedRun, KdpipeError
from kdpipe.jobs.cache_logits import cache_logits
from kdpipe.jobs.train import train_run
from kdpipe.losses import method
from kdpipe.losses.config import Method
from kdpipe.runs.files import read_arrays
from kdpipe.training.objective import Objective
from kdpipe.training.teachers import cached, online, unlabelled

BATCH, BESIDE, THERE = 103, 20, 27  # 27 images are used up within two steps
# KD ends after the first of two epochs.
METHOD = {"unlabelled": BESIDE, "stop_epoch": 1, "ce_weight_after_stop": 0.5}
STUDY = {
    "data": {"train_size": 1030, "unlabelled": "rest"},
    "recipe": {"batch_size": BATCH},
    "methods": {"kd": METHOD},
}
PLAN = tiny_study.planned(**STUDY)
_, TEACHER, STUDENT = PLAN.runs.values()
FROM_TABLES = list(tiny_study.planned(**STUDY, teacher_outputs="table").runs.values())[-1]


@pytest.fixture(scope="module")
def finished_runs(tmp_path_factory, shared):
    """The results of teacher and student."""
    store = tiny_study.results(tmp_path_factory.mktemp("done"), shared)
    for run in (TEACHER, STUDENT):
        train_run(run.spec, [], store)
    return store


def weights(store, run):
    return read_arrays(store.run(run.name) / "weights.safetensors")[0]


def left_by_hand(store) -> np.ndarray:
    """The training images that are in no part of the split, as a set of pixels."""
    split = splits.load_split(STUDENT.spec.data, store)
    used = {image.tobytes() for part in (split.train, split.val) for image in part.images}
    (folder,) = (store.root / "data").iterdir()
    every = np.load(folder / "train_images.npy")
    return np.array([image for image in every if image.tobytes() not in used])


def test_weights_are_those_of_a_plain_loop(finished_runs):
    left = left_by_hand(finished_runs)
    assert len(left) == THERE
    model = plain_loop.train_plain(STUDENT.spec, finished_runs, left)
    actual = weights(finished_runs, STUDENT)
    for key, value in model.state_dict().items():
        np.testing.assert_allclose(actual[key], value.numpy(), rtol=2e-3, atol=1e-3, err_msg=key)


def test_epochs_take_on_where_the_one_before_ended():
    views, taken = (
        Views.from_spec(STUDENT.spec.data.views),
        plain_loop.iterate_rounds(STUDENT.spec, THERE),
    )
    for epoch in range(5):
        order, view = unlabelled.draw_unlabelled_order(STUDENT.spec, THERE, views, epoch, steps=7)
        expected = [next(taken) for _ in range(7 * BESIDE)]
        assert list(zip(order.tolist(), view.tolist(), strict=True)) == expected


@pytest.mark.parametrize("steps", [1, 6])
def test_cut_off_it_goes_on_to_the_same_bytes(finished_runs, monkeypatch, steps):
    whole = tiny_study.exact(finished_runs.run(STUDENT.name))
    folder = finished_runs.run(STUDENT.name).rename(finished_runs.root / f"whole-{steps}")
    with monkeypatch.context() as patch, pytest.raises(InterruptedRun):
        tiny_study.stop_after(patch, steps)
        train_run(STUDENT.spec, [], finished_runs)
    train_run(STUDENT.spec, [], finished_runs)
    assert tiny_study.exact(finished_runs.run(STUDENT.name)) == whole == tiny_study.exact(folder)


def test_mixed_images_have_others_behind_them_as_they_are(finished_runs, monkeypatch):
    """Mixup is of labelled images alone; cut off, the run goes on to the same bytes."""
    recipe = STUDENT.spec.recipe.model_copy(update={"mixup": 0.5})
    mixed = replace(STUDENT.spec, recipe=recipe)
    displayed, left = [], torch.from_numpy(left_by_hand(finished_runs))
    joined = unlabelled.UnlabelledImages.append_unlabelled

    def noted(self, x, taught, beside, *inputs):
        actual = joined(self, x, taught, beside, *inputs)
        displayed.append((len(x), actual[0][len(x) :], beside[0], beside[1]))
        return actual

    monkeypatch.setattr(unlabelled.UnlabelledImages, "append_unlabelled", noted)
    name = mixed.name
    train_run(mixed, [], finished_runs)
    whole = tiny_study.exact(finished_runs.run(name))
    split = splits.load_split(mixed.data, finished_runs)
    for size, others, index, view in displayed:
        assert size == BATCH and len(others) == BESIDE
        expected = [
            view_image(left[i].numpy(), int(v), split) for i, v in zip(index, view, strict=True)
        ]
        np.testing.assert_allclose(others.numpy(), np.array(expected), rtol=1e-5, atol=1e-5)
    assert len(displayed) == 10
    finished_runs.run(name).rename(finished_runs.root / "whole-mixed")
    with monkeypatch.context() as patch, pytest.raises(InterruptedRun):
        tiny_study.stop_after(patch, 3)
        train_run(mixed, [], finished_runs)
    train_run(mixed, [], finished_runs)
    assert tiny_study.exact(finished_runs.run(name)) == whole


def test_their_labels_are_not_looked_at(finished_runs, monkeypatch):
    """Others in their place, and the same images held out and left: the same bytes."""
    whole = tiny_study.exact(finished_runs.run(STUDENT.name))
    finished_runs.run(STUDENT.name).rename(finished_runs.root / "whole-labels")
    read, ordered = splits.load_arrays, splits.draw_balanced_order

    def relabelled(card, store):
        arrays = read(card, store)
        true = np.array(arrays["train_labels"])
        monkeypatch.setattr(splits, "draw_balanced_order", lambda _, rng: ordered(true, rng))
        left = {image.tobytes() for image in images}
        changed = [i for i, x in enumerate(arrays["train_images"]) if x.tobytes() in left]
        false = true.copy()
        false[changed] = (true[changed] + 1 + np.arange(THERE) % 9) % 10
        return arrays | {"train_labels": false}

    images = left_by_hand(finished_runs)
    monkeypatch.setattr(splits, "load_arrays", relabelled)
    train_run(STUDENT.spec, [], finished_runs)
    assert tiny_study.exact(finished_runs.run(STUDENT.name)) == whole


def test_from_tables_it_learns_the_same(finished_runs):
    """Two tables: of the labelled, and of the others, which holds what the teacher says of them."""
    labelled, others = FROM_TABLES.logit_caches
    for table in FROM_TABLES.logit_caches:
        cache_logits(table.spec, finished_runs, students=[FROM_TABLES.name, "another"])
    split, left = splits.load_split(STUDENT.spec.data, finished_runs), left_by_hand(finished_runs)
    x = np.array([[view_image(image, view, split) for image in left] for view in range(9)])
    with torch.no_grad():
        teacher = online.load_online_teacher(STUDENT.spec, finished_runs).members[0][1]
        message = torch.stack([teacher(torch.tensor(one, dtype=torch.float32)) for one in x], 1)
    actual = np.load(finished_runs.logit_cache(others.name) / "table.npy").astype(float)
    assert np.load(finished_runs.logit_cache(labelled.name) / "table.npy").shape == (1030, 9, 10)
    np.testing.assert_allclose(actual, message - message.mean(2, keepdim=True), rtol=0, atol=0.02)
    train_run(FROM_TABLES.spec, [], finished_runs)
    for key, value in weights(finished_runs, STUDENT).items():
        np.testing.assert_allclose(
            weights(finished_runs, FROM_TABLES)[key], value, rtol=0.02, atol=0.02
        )


def test_a_table_of_other_images_is_found_out(finished_runs):
    _, others = FROM_TABLES.logit_caches
    cache_logits(others.spec, finished_runs, students=["another"])
    table = torch.from_numpy(np.load(finished_runs.logit_cache(others.name) / "table.npy"))
    cached._check_against_teacher(others.spec, table, finished_runs, "cpu", None)
    with pytest.raises(KdpipeError, match="differs from its teacher's outputs"):
        cached._check_against_teacher(others.spec, table.roll(1, 0), finished_runs, "cpu", None)
    with pytest.raises(KdpipeError, match="expected float16 of 27 images in 9 views"):
        cached._check_against_teacher(others.spec, table[:20], finished_runs, "cpu", None)


@pytest.mark.parametrize("name", method.load_terms())
def test_a_job_refuses_terms_that_look_at_labels(name):
    keys = Method.model_validate({f"{name}_weight": 1.0, "unlabelled": 4})
    spec = replace(STUDENT.spec, method=method.build_method_spec(keys, 2))
    if method.load_terms()[name].labelled:
        with pytest.raises(KdpipeError, match="uses labels, but 4 images of each batch"):
            Objective(spec)
    else:
        Objective(spec)
