"""A few views of each image, drawn once from all of them."""

import numpy as np
import pytest
import torch
from helpers import tiny_study

from kdpipe.config import load
from kdpipe.data.batches import ImageBatches
from kdpipe.data.views import MAX_SEEDS, Views
from kdpipe.plan import planner

CROPS = {"pad": 2, "padding": "zero", "flip": True}  # 5 * 5 * 2 views


def _draw_all(views: Views, images: int) -> np.ndarray:
    index = torch.arange(images)
    numbers = [views.find_numbers(index, torch.full_like(index, v)) for v in range(views.count)]
    return torch.stack(numbers, 1).numpy()


def test_each_image_has_draws_of_its_own_uniform_over_all_views():
    views = Views.from_spec(CROPS | {"drawn": 8, "drawn_seed": 3})
    assert (views.count, views.cached_count, views.is_infinite) == (8, 9, False)
    numbers = _draw_all(views, 5000)
    counts = np.bincount(numbers.ravel(), minlength=50)
    assert len(counts) == 50
    expected = numbers.size / 50
    chi2 = ((counts - expected) ** 2 / expected).sum()
    assert chi2 < 90, "49 degrees of freedom: above 85 once in a thousand"
    # Two views of an image are equal as often as independent ones.
    same = np.mean(numbers[:, 0] == numbers[:, 1])
    assert abs(same - 1 / 50) < 4 * np.sqrt(0.02 * 0.98 / 5000)
    other = _draw_all(Views.from_spec(CROPS | {"drawn": 8, "drawn_seed": 4}), 5000)
    assert np.mean(numbers == other) == pytest.approx(1 / 50, abs=0.004)


def test_of_infinitely_many_views_the_draws_are_seeds_without_repetition():
    views = Views.from_spec({"erase": {"probability": 1.0}, "drawn": 4, "drawn_seed": 0})
    numbers = _draw_all(views, 2000)
    assert views.is_infinite and (views.count, views.cached_count) == (4, 5)
    assert len(set(numbers.ravel().tolist())) == numbers.size
    assert numbers.min() >= 0 and numbers.max() < MAX_SEEDS
    assert [views.find_numbers(7, view) for view in range(4)] == numbers[7].tolist()


def test_a_drawn_view_is_the_view_of_its_number_and_the_same_in_every_epoch():
    pixels = np.random.default_rng(0).integers(0, 256, (6, 1, 8, 8), np.uint8)
    for keys in (CROPS, {"augment": {"policy": "rand"}, "flip": True}):
        drawn = ImageBatches(pixels, Views.from_spec(keys | {"drawn": 3}), [0.5], [0.5])
        every = ImageBatches(pixels, Views.from_spec(keys), [0.5], [0.5])
        index, view = torch.arange(6).repeat(2), torch.arange(12) % 3
        numbers = drawn.views.find_numbers(index, view)
        reference = every.batch(index, numbers)
        assert torch.equal(drawn.batch(index, view), reference)
        for start in (0, 1):  # whole, and resumed after the first batch
            batches = list(drawn.batches(index, view, 5, start))
            assert torch.equal(torch.cat([x for _, _, x in batches]), reference[5 * start :])
            assert torch.equal(torch.cat([v for _, v, _ in batches]), view[5 * start :])


def test_it_is_part_of_the_spec_and_left_out_when_neutral():
    def names(**data):
        return set(tiny_study.planned(data=data).runs)

    assert names(pad=2) == names(pad=2, views=None)
    by_key = [names(pad=2), names(pad=2, views=4), names(pad=2, views=5)]
    by_key += [names(pad=2, views=4, split_seed=1), names(pad=2, split_seed=1)]
    assert len(set().union(*by_key)) == sum(map(len, by_key))
    (run, *_) = tiny_study.planned(data={"pad": 2, "views": 4}).runs.values()
    (other, *_) = tiny_study.planned(data={"pad": 2, "views": 4, "split_seed": 1}).runs.values()
    assert run.spec.data.views["drawn_seed"] != other.spec.data.views["drawn_seed"]
    revision = {key: run.spec.data.views[key] for key in ("drawn", "drawn_revision")}
    assert revision == {"drawn": 4, "drawn_revision": 1}


def test_tables_are_planned_by_the_drawn_views():
    data = {"augment": {"policy": "trivial"}}
    for views, outputs in ((None, "live"), (3, "float16"), (200, "live")):
        study = tiny_study.study(
            recipe={"epochs": 50}, data=data | {"views": views}, teacher_outputs="auto"
        )
        plan = planner.build_plan(load.validate_study(study, "tiny"))
        (student,) = (run for run in plan.runs.values() if run.spec.teacher)
        assert student.spec.teacher.outputs == outputs
        assert len(plan.logit_caches) == (outputs != "live")
        for cache in plan.logit_caches.values():
            images = student.spec.data.train_size
            assert cache.multiply_adds == images * (3 + 1) * cache.parent.cost.multiply_adds


def test_more_views_than_there_are_and_none_at_all_are_refused():
    for data, message in (
        ({"pad": 1, "flip": False, "views": 9}, "augmentations of this study give 9: remove"),
        ({"pad": 0, "flip": False, "views": 2}, "augmentations of this study give 1: remove"),
        ({"pad": 1, "views": 0}, "data.views"),
    ):
        with pytest.raises(Exception, match=message):
            load.validate_study(tiny_study.study(data=data), "tiny")
    load.validate_study(tiny_study.study(data={"pad": 1, "flip": False, "views": 8}), "tiny")
    table = {"data": {"augment": {"policy": "trivial"}}, "teacher_outputs": "table"}
    with pytest.raises(Exception, match=r"drawn once \(data.views: 16\)"):
        load.validate_study(tiny_study.study(**table), "tiny")
    table["data"]["views"] = 16
    load.validate_study(tiny_study.study(**table), "tiny")
