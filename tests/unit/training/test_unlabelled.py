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
def done(tmp_path_factory, shared):
    """The results of teacher and student."""
    place = tiny_study.results(tmp_path_factory.mktemp("done"), shared)
    for run in (TEACHER, STUDENT):
        train_run(run.spec, [], place)
    return place


def weights(place, run):
    return read_arrays(place.run(run.name) / "weights.safetensors")[0]


def left_by_hand(place) -> np.ndarray:
    """The training images that are in no part of the split, as a set of pixels."""
    split = splits.load_split(STUDENT.spec.data, place)
    used = {image.tobytes() for part in (split.train, split.val) for image in part.images}
    (folder,) = (place.root / "data").iterdir()
    every = np.load(folder / "train_images.npy")
    return np.array([image for image in every if image.tobytes() not in used])


def test_weights_are_those_of_a_plain_loop(done):
    left = left_by_hand(done)
    assert len(left) == THERE
    model = plain_loop.train_plain(STUDENT.spec, done, left)
    found = weights(done, STUDENT)
    for key, value in model.state_dict().items():
        np.testing.assert_allclose(found[key], value.numpy(), rtol=2e-3, atol=1e-3, err_msg=key)


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
def test_cut_off_it_goes_on_to_the_same_bytes(done, monkeypatch, steps):
    whole = tiny_study.exact(done.run(STUDENT.name))
    folder = done.run(STUDENT.name).rename(done.root / f"whole-{steps}")
    with monkeypatch.context() as patch, pytest.raises(InterruptedRun):
        tiny_study.stop_after(patch, steps)
        train_run(STUDENT.spec, [], done)
    train_run(STUDENT.spec, [], done)
    assert tiny_study.exact(done.run(STUDENT.name)) == whole == tiny_study.exact(folder)


def test_mixed_images_have_others_behind_them_as_they_are(done, monkeypatch):
    """Mixup is of labelled images alone; cut off, the run goes on to the same bytes."""
    recipe = STUDENT.spec.recipe.model_copy(update={"mixup": 0.5})
    mixed = replace(STUDENT.spec, recipe=recipe)
    shown, left = [], torch.from_numpy(left_by_hand(done))
    joined = unlabelled.UnlabelledImages.append_unlabelled

    def noted(self, x, taught, beside, *given):
        found = joined(self, x, taught, beside, *given)
        shown.append((len(x), found[0][len(x) :], beside[0], beside[1]))
        return found

    monkeypatch.setattr(unlabelled.UnlabelledImages, "append_unlabelled", noted)
    name = mixed.name
    train_run(mixed, [], done)
    whole = tiny_study.exact(done.run(name))
    split = splits.load_split(mixed.data, done)
    for size, others, index, view in shown:
        assert size == BATCH and len(others) == BESIDE
        wanted = [
            view_image(left[i].numpy(), int(v), split) for i, v in zip(index, view, strict=True)
        ]
        np.testing.assert_allclose(others.numpy(), np.array(wanted), rtol=1e-5, atol=1e-5)
    assert len(shown) == 10
    done.run(name).rename(done.root / "whole-mixed")
    with monkeypatch.context() as patch, pytest.raises(InterruptedRun):
        tiny_study.stop_after(patch, 3)
        train_run(mixed, [], done)
    train_run(mixed, [], done)
    assert tiny_study.exact(done.run(name)) == whole


def test_their_labels_are_not_looked_at(done, monkeypatch):
    """Others in their place, and the same images held out and left: the same bytes."""
    whole = tiny_study.exact(done.run(STUDENT.name))
    done.run(STUDENT.name).rename(done.root / "whole-labels")
    read, ordered = splits.load_arrays, splits.draw_balanced_order

    def relabelled(card, place):
        arrays = read(card, place)
        true = np.array(arrays["train_labels"])
        monkeypatch.setattr(splits, "draw_balanced_order", lambda _, rng: ordered(true, rng))
        left = {image.tobytes() for image in images}
        changed = [i for i, x in enumerate(arrays["train_images"]) if x.tobytes() in left]
        false = true.copy()
        false[changed] = (true[changed] + 1 + np.arange(THERE) % 9) % 10
        return arrays | {"train_labels": false}

    images = left_by_hand(done)
    monkeypatch.setattr(splits, "load_arrays", relabelled)
    train_run(STUDENT.spec, [], done)
    assert tiny_study.exact(done.run(STUDENT.name)) == whole


def test_from_tables_it_learns_the_same(done):
    """Two tables: of the labelled, and of the others, which holds what the teacher says of them."""
    labelled, others = FROM_TABLES.logit_caches
    for table in FROM_TABLES.logit_caches:
        cache_logits(table.spec, done, students=[FROM_TABLES.name, "another"])
    split, left = splits.load_split(STUDENT.spec.data, done), left_by_hand(done)
    x = np.array([[view_image(image, view, split) for image in left] for view in range(9)])
    with torch.no_grad():
        teacher = online.load_online_teacher(STUDENT.spec, done).members[0][1]
        said = torch.stack([teacher(torch.tensor(one, dtype=torch.float32)) for one in x], 1)
    found = np.load(done.logit_cache(others.name) / "table.npy").astype(float)
    assert np.load(done.logit_cache(labelled.name) / "table.npy").shape == (1030, 9, 10)
    np.testing.assert_allclose(found, said - said.mean(2, keepdim=True), rtol=0, atol=0.02)
    train_run(FROM_TABLES.spec, [], done)
    for key, value in weights(done, STUDENT).items():
        np.testing.assert_allclose(weights(done, FROM_TABLES)[key], value, rtol=0.02, atol=0.02)


def test_a_table_of_other_images_is_found_out(done):
    _, others = FROM_TABLES.logit_caches
    cache_logits(others.spec, done, students=["another"])
    table = torch.from_numpy(np.load(done.logit_cache(others.name) / "table.npy"))
    cached._check_against_teacher(others.spec, table, done, "cpu", None)
    with pytest.raises(KdpipeError, match="does not say what its teacher says"):
        cached._check_against_teacher(others.spec, table.roll(1, 0), done, "cpu", None)
    with pytest.raises(KdpipeError, match="is no float16 of 27 images in 9 views"):
        cached._check_against_teacher(others.spec, table[:20], done, "cpu", None)


@pytest.mark.parametrize("name", method.load_terms())
def test_a_job_refuses_terms_that_look_at_labels(name):
    keys = Method.model_validate({f"{name}_weight": 1.0, "unlabelled": 4})
    spec = replace(STUDENT.spec, method=method.build_method_spec(keys, 2))
    if method.load_terms()[name].labelled:
        with pytest.raises(KdpipeError, match="looks at labels, and 4 images of each batch"):
            Objective(spec)
    else:
        Objective(spec)
