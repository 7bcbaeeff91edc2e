"""Views without end of images that stream: torchvision's transforms, with the seed of the view."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import synthetic_data, tiny_study
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

from kdpipe.config import load
from kdpipe.data import cards, splits, streaming
from kdpipe.data.augmentations import erase
from kdpipe.data.imagefolder.custom_card import make_card
from kdpipe.data.mixtures import draw_mixtures
from kdpipe.data.views import Views
from kdpipe.jobs.prepare import prepare_dataset
from kdpipe.plan import planner
from kdpipe.runs.store import Store

SIDE = 16
CROP = {"scale": [0.3, 1.0], "ratio": [0.75, 1.3]}
RAND = {"policy": "rand", "operations": 3, "magnitude": 15}


@pytest.fixture(scope="module")
def photographs(shared):
    """A folder of photographs with its card; nobody changes it."""

    def build(new: Path) -> None:
        synthetic_data.photographs(new / "photos", ["ant", "bee"], 12, 8)

    folder = tiny_study.once(shared / "few photographs", build) / "photos"
    if not cards.get_card_path(folder).exists():
        make_card(folder, "photos", None, stream=SIDE)
    return folder


@pytest.mark.parametrize(
    ("requests", "reference"),
    [
        (
            {"crop": CROP, "flip": True, "augment": RAND},
            [
                v2.RandomResizedCrop(SIDE, scale=(0.3, 1.0), ratio=(0.75, 1.3)),
                v2.RandomHorizontalFlip(),
                v2.RandAugment(3, 15),
            ],
        ),
        (
            {"augment": {"policy": "trivial"}},
            [v2.Resize(round(SIDE * 256 / 224)), v2.CenterCrop(SIDE), v2.TrivialAugmentWide()],
        ),
    ],
    ids=["rand", "trivial"],
)
def test_a_view_is_torchvisions_and_then_erased(requests, reference, photographs, tmp_path):
    data = {"name": "photos", "path": str(photographs), "mean": [0.5] * 3, "std": [0.25] * 3}
    data |= {"train_size": None, "validation": 0, "pad": 0} | requests
    data["erase"] = {"probability": 0.7}
    study = tiny_study.study(data=data, teacher_outputs="auto", recipe={"batch_size": 4})
    plan = planner.build_plan(load.validate_study(study, "photos"))
    assert not plan.logit_caches
    store = Store(tmp_path / "results")
    prepare_dataset("photos", store, str(photographs))
    split = splits.load_split(next(iter(plan.runs.values())).spec.data, store)
    views = Views.from_spec(data)
    images = streaming.create_batches(split.test, views, split)
    view = torch.arange(8) * 7919
    oracle = ImageFolder(photographs / "test")
    keys = erase.Keys.model_validate({"erase": data["erase"]})
    ((_, seeds),) = [(d, value) for d, _, value in views.decode(view) if d.transform_tensor]
    erased = 0
    for _, seen, x in images.batches(torch.arange(8), view, 3, start=1):
        for number, actual in zip(seen.tolist(), x, strict=True):
            one = number // 7919
            image = oracle[one][0]
            torch.manual_seed(number)
            for change in reference:
                image = change(image)
            expected = (np.asarray(image).transpose(2, 0, 1) / 255 - 0.5) / 0.25
            (place_,) = erase.draw_rectangles(keys.erase, seeds[one : one + 1], SIDE, SIDE).tolist()
            top, left, rows, columns = place_
            expected[:, top : top + rows, left : left + columns] = 0
            erased += rows > 0
            np.testing.assert_allclose(actual.numpy(), expected, atol=2e-6)
    assert 0 < erased < 5
    drawn = replace(views, drawn=2, drawn_seed=11)
    index, choice = torch.arange(8), torch.arange(8) % 2
    numbers = drawn.find_numbers(index, choice)
    few = streaming.create_batches(split.test, drawn, split).batches(index, choice, 3, start=1)
    for (_, _, x), (_, _, reference) in zip(few, images.batches(index, numbers, 3, 1), strict=True):
        assert torch.equal(x, reference)
    once = replace(drawn, mixes=(("mixup", 0.5), ("cutmix", 1.0)))
    few, mixed = (streaming.create_batches(split.test, each, split) for each in (drawn, once))
    mixtures = draw_mixtures(mixed, index, choice)
    ((_, _, own),), ((_, _, other),) = (
        few.batches(*pair, 8) for pair in ((index, choice), (mixtures.index, mixtures.view))
    )
    actual = torch.cat([x for _, _, x in mixed.batches(index, choice, 3, start=1)])
    assert torch.equal(actual, mixtures.mix_pixels(own, other)[3:])
    assert not torch.equal(actual, own[3:])
