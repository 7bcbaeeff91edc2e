"""Tables of mixed views against a live teacher, and runs that learn from them."""

import json

import numpy as np
import pytest
import torch
from helpers import slow_mixtures, tiny_study

from kdpipe import hashing
from kdpipe.cli.main import main
from kdpipe.data import splits
from kdpipe.data.batches import ImageBatches
from kdpipe.data.views import IDENTITY_VIEWS, Views
from kdpipe.training import evaluate
from kdpipe.training.teachers import cached

STUDY = {
    "data": {"views": 3},
    "recipe": {"mixup": 0.3, "cutmix": 1.0},
    "teacher_outputs": "table",
    "seeds": [0, 1],
}


def build(store, plan, *students) -> None:
    """Train teachers, make their tables, and train students, by the commands of the jobs."""
    options = ["--results", str(store.root)]
    for run in plan.runs.values():
        if run.network == "wrn10-1":
            assert main(tiny_study.train(run, (), str(store.root))) == 0
    for cache in plan.logit_caches.values():
        spec = hashing.canonical_json(cache.spec)
        assert main(["tabulate", "--spec", spec, *options]) == 0
    for run in students:
        assert main(tiny_study.train(run, (), str(store.root))) == 0


def list_students(plan) -> list:
    return [run for run in plan.runs.values() if run.spec.teacher]


def test_a_table_holds_what_a_live_teacher_says_of_each_mixed_view(tmp_path, shared):
    """Mixed one by one by torchvision; to the eleven bits of half precision."""
    store = tiny_study.results(tmp_path, shared)
    plan = tiny_study.planned(**STUDY | {"seeds": [0]})
    build(store, plan)
    (cache,) = plan.logit_caches.values()
    table = np.load(store.logit_cache(cache.name) / "table.npy").astype(np.float64)
    split = splits.load_split(cache.spec.data, store)
    views = Views.from_spec(cache.spec.data.views | {"drawn": 0})
    drawn = Views.from_spec(cache.spec.data.views)
    every = ImageBatches(split.train.images, views, split.mean, split.std)
    teacher = cached._load_cache_teacher(cache.spec, store)
    assert table.shape == (64, 3 + 1, 10) and drawn.mixes == (("mixup", 0.3), ("cutmix", 1.0))
    mixed = []
    for view in range(3):
        for one in range(64):
            mixture = slow_mixtures.draw(drawn, one, view, 64, 8, 8)
            pairs = ((mixture.partner, mixture.view), (one, view))
            numbers = torch.tensor([drawn.find_numbers(*pair) for pair in pairs])
            images = torch.tensor([image for image, _ in pairs])
            pixels = every._apply_augmentations(images, every._augmentation_values(images, numbers))
            mixed.append(slow_mixtures.mix(mixture, pixels, torch.zeros(2).long(), 10)[0])
    plain = ImageBatches(split.train.images, IDENTITY_VIEWS, split.mean, split.std)
    mixed += [x[None][0] for x in plain.unaugmented_batch(0, 64)]
    live = teacher.forward(torch.stack(mixed)).double().numpy().reshape(4, 64, 10)
    live = (live - live.mean(2, keepdims=True)).transpose(1, 0, 2)
    np.testing.assert_allclose(table, live, rtol=2**-10, atol=2e-5)
    unlike = np.abs(table[:, 0] - table[:, 3]).max(1)
    assert np.median(unlike) > 0.05, "mixed views say something else than the images"


def test_a_student_sees_the_same_mixtures_in_all_epochs_and_seeds_and_ends_in_the_same_bytes(
    tmp_path, shared, monkeypatch
):
    """Cut off or not; its labels are mixed as its images."""
    plan = tiny_study.planned(**STUDY)
    students = list_students(plan)
    seen: dict[tuple[int, int], list[torch.Tensor]] = {}
    targets: list[torch.Tensor] = []
    batches, log = ImageBatches.batches_at, evaluate.log_batch

    def note(self, order, view, rows):
        for index, number, x in batches(self, order, view, rows):
            if self.views.mixes and rows[0].stop == 16 and len(order) == 64:
                for *key, image in zip(index.tolist(), number.tolist(), x, strict=True):
                    seen.setdefault(tuple(key), []).append(image.clone())
            yield index, number, x

    def note_targets(row, names, parts, logits, shares):
        targets.append(shares.clone())
        return log(row, names, parts, logits, shares)

    store = tiny_study.results(tmp_path, shared)
    build(store, plan)
    with monkeypatch.context() as patch:
        patch.setattr(ImageBatches, "batches_at", note)
        patch.setattr(evaluate, "log_batch", note_targets)
        for student in students:
            assert main(tiny_study.train(student, (), str(store.root))) == 0
    whole = tiny_study.exact(store.run(students[0].name))
    store.run(students[0].name).rename(tmp_path / "whole")
    command = tiny_study.train(students[0], (), str(store.root))
    for stop in (1, 4):  # in an epoch, and after one
        with monkeypatch.context() as patch:
            tiny_study.stop_after(patch, stop)
            assert main(command) == 75
    assert main(command) == 0
    assert tiny_study.exact(store.run(students[0].name)) == whole
    assert sum(map(len, seen.values())) == 2 * 2 * 64 and max(map(len, seen.values())) > 1
    for images in seen.values():
        assert all(torch.equal(image, images[0]) for image in images)
    labels = torch.from_numpy(splits.load_split(students[0].spec.data, store).train.labels)
    drawn, known = Views.from_spec(students[0].spec.data.views), set()
    for one in range(64):
        for view in range(3):
            mixture = slow_mixtures.draw(drawn, one, view, 64, 8, 8)
            pair = labels[torch.tensor([mixture.partner, one])]
            _, shares = slow_mixtures.mix(mixture, torch.zeros(2, 1, 8, 8), pair, 10)
            known.add(tuple((1000 * shares).round().int().tolist()))
    logged = torch.cat(targets)
    assert len(logged) == 2 * 2 * 64
    assert {tuple(row) for row in (1000 * logged).round().int().tolist()} <= known
    curve = store.run(students[0].name) / "curve.jsonl"
    lines = [json.loads(line)["train"] for line in curve.read_text().splitlines()]
    assert any(
        line["accuracy"] * 64 != pytest.approx(round(line["accuracy"] * 64)) for line in lines
    )


@pytest.mark.parametrize("data", [{"views": 3}, {"augment": {"policy": "rand"}, "views": 2}])
def test_a_student_of_a_table_learns_what_one_of_a_live_teacher_learns(tmp_path, shared, data):
    store = tiny_study.results(tmp_path, shared)
    outputs = {}
    for way in ("live", "table"):
        plan = tiny_study.planned(**STUDY | {"seeds": [0], "data": data, "teacher_outputs": way})
        (student,) = list_students(plan)
        build(store, plan, student)
        assert len(plan.logit_caches) == (way == "table")
        outputs[way] = tiny_study.record(store, student)["last"]["test"]
    for key in ("nll", "kl", "entropy"):
        assert outputs["live"][key] == pytest.approx(outputs["table"][key], rel=1e-2)


def test_unlabelled_images_are_not_mixed_and_their_table_is_shared(tmp_path, shared, monkeypatch):
    changes = {
        "methods": {"kd": {"unlabelled": 4}},
        "data": {"views": 3, "unlabelled": "rest"},
        "main": {"students": ["wrn10-0.5", "wrn10-0.25"]},
        "network_recipes": {"wrn10-0.25": {"mixup": 0.9}},
        "seeds": [0],
    }
    plan = tiny_study.planned(**STUDY | changes)
    mixed = [cache for cache in plan.logit_caches.values() if "mixed" in cache.spec.data.views]
    others = [cache for cache in plan.logit_caches.values() if cache not in mixed]
    assert len(mixed) == 2 and all(cache.spec.unlabelled_from is None for cache in mixed)
    assert len(others) == 1 and others[0].spec.unlabelled_from == "rest"
    students = list_students(plan)
    assert all(others[0] in student.logit_caches for student in students)
    store = tiny_study.results(tmp_path, shared)
    sizes, batches = [], ImageBatches._unmixed_batches

    def note(self, order, view, rows):
        sizes.append((len(self), rows[0].stop - rows[0].start))
        return batches(self, order, view, rows)

    monkeypatch.setattr(ImageBatches, "_unmixed_batches", note)
    build(store, plan, *students)
    assert (64, 2 * 16) in sizes, "a batch and its partners"
    assert {size for images, size in sizes if images > 64} <= {4, 16, 256}, "and none for others"
