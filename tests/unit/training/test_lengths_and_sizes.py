"""Runs of several lengths and sizes, really trained: their bytes, images and teachers."""

import numpy as np
import pytest
import torch
from helpers import tiny_study
from helpers.trained_runs import do

from kdpipe.data import splits
from kdpipe.jobs.cache_logits import cache_logits
from kdpipe.plan.nodes import Run
from kdpipe.runs.spec import Member
from kdpipe.training.teachers import cached, online

# Images of digits are so alike that a few have other means than many: noise moves them no further.
DATA = {"label_noise": 0.2}
AXES = {"epochs": [2, "2x"], "train_size": [32, 64]}


def plan(**main):
    return tiny_study.planned(data=DATA, main=main)


def find(made, length, size):
    """The taught run of so many epochs and images, and its scratch run."""
    for cell in made.cells:
        if (cell.length, cell.train_size) == (length, size):
            return cell.run, made.get_scratch_run(cell)
    raise AssertionError


def train_with_parents(run: Run, store):
    """Train a run after all that it learns from, which stays if it is there."""
    for parent in run.parents:
        train_with_parents(parent, store)
    for cache in run.logit_caches:
        cache_logits(cache.spec, store, students=["a reader that never ends"])
    return do(run, store)


def test_twice_the_epochs_is_the_recipe_of_twice_the_epochs(tmp_path, shared):
    """The recipe by hand: 4 epochs and a drop after 2, for the student alone."""
    taught, scratch = find(plan(**AXES), 4, 64)
    by_hand = tiny_study.planned(
        data=DATA,
        recipe={"epochs": 4, "drop_epochs": [2]},
        network_recipes={"wrn10-1": {"epochs": 2, "drop_epochs": [1]}},
    )
    stores = [tiny_study.results(tmp_path / name, shared) for name in ("listed", "by-hand")]
    (cell,) = by_hand.cells
    for ours, other in ((taught, cell.run), (scratch, by_hand.get_scratch_run(cell))):
        assert (ours.name, ours.digest) == (other.name, other.digest)
        folders = [
            train_with_parents(run, store) for run, store in zip((ours, other), stores, strict=True)
        ]
        assert tiny_study.exact(folders[0]) == tiny_study.exact(folders[1])
        record = tiny_study.record_of(folders[0])
        assert record["spec"]["recipe"]["drop_epochs"] == [2]
        lines = [line["lr"] for line in stores[0].load_curve(ours.name)]
        assert lines == [0.05, 0.05, pytest.approx(0.01), pytest.approx(0.01)]


def test_a_subset_is_part_of_the_larger_one_and_validation_stays(tmp_path, shared):
    store = tiny_study.results(tmp_path, shared)
    made = plan(**AXES)
    small, large = (splits.load_split(find(made, 2, n)[1].spec.data, store) for n in (32, 64))
    assert (len(small.train), len(large.train)) == (32, 64)
    in_large = [image.tobytes() for image in large.train.images]
    assert all(image.tobytes() in in_large for image in small.train.images)
    for part in ("val", "test"):
        ours, other = getattr(small, part), getattr(large, part)
        assert np.array_equal(ours.images, other.images)
        assert np.array_equal(ours.labels, other.labels)
    # Labels, with their noise, are those of a study that has just so many images.
    alone = tiny_study.planned(data=DATA | {"train_size": 32})
    assert set(alone.runs) == {run.name for run in made.runs.values() if run.epochs == 2 and
                               run.spec.data.train_size == 32}  # fmt: skip

    folder = do(find(made, 2, 32)[1], store)
    record = tiny_study.record_of(folder)
    assert record["last"]["train"]["n"] == 32 and record["last"]["val"]["n"] == 40
    pixels = small.train.images / 255
    assert record["images"]["mean"] == pytest.approx([pixels.mean()], abs=1e-6)
    assert record["images"]["std"] == pytest.approx([pixels.std()], abs=1e-6)


@pytest.mark.parametrize("outputs", ["table", "live"])
def test_a_teacher_of_all_images_gets_its_own_pixels(tmp_path, shared, outputs):
    """By hand: the subset's pixels by the mean and std of all, through the teacher's network."""
    made = tiny_study.planned(
        data=DATA, teacher_outputs=outputs, main=AXES | {"teacher_images": "all"}
    )
    store = tiny_study.results(tmp_path, shared)
    taught, _ = find(made, 2, 32)
    (teacher,) = taught.parents
    assert (teacher.spec.data.train_size, taught.spec.data.train_size) == (64, 32)
    assert {cell.run.parents[0] for cell in made.cells} == {teacher}
    # A table for each size, and one for both lengths.
    assert len(made.logit_caches) == (2 if outputs == "table" else 0)
    train_with_parents(taught, store)

    small, large = (splits.load_split(run.spec.data, store) for run in (taught, teacher))
    assert not np.array_equal(small.mean, large.mean)
    pixels = (small.train.images / 255 - large.mean[:, None, None]) / large.std[:, None, None]
    member = Member(run=teacher.digest, epoch=2)
    _, model = online.load_member(member, teacher.spec.network, store)
    with torch.no_grad():
        expected = model(torch.tensor(pixels, dtype=torch.float32))
    loaded = cached.load_teacher(taught.spec, store, torch.device("cpu"), None)
    images = cached._load_images(_cache_spec(taught, teacher), store)
    logits = torch.from_numpy(loaded.predict_split("train", images))
    atol = 1e-3 if outputs == "table" else 1e-4  # float16
    centered = expected - expected.mean(1, keepdim=True)
    torch.testing.assert_close(logits - logits.mean(1, keepdim=True), centered, atol=atol, rtol=0)
    # The student's own normalization gives other answers: the check can fail.
    wrong = (small.train.images / 255 - small.mean[:, None, None]) / small.std[:, None, None]
    with torch.no_grad():
        other = model(torch.tensor(wrong, dtype=torch.float32))
    assert (other - expected).abs().max() > 2 * atol


def _cache_spec(student: Run, teacher: Run):
    from kdpipe.runs.spec import build_logit_cache_spec

    return build_logit_cache_spec(
        teacher.spec, teacher.digest, 2, "float16", None, student.spec.data
    )
