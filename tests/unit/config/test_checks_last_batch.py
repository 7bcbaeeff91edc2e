"""A last batch of one image, of which batch normalisation of 1 x 1 can make nothing."""

import re

import numpy as np
import pytest
import torch
from helpers import synthetic_data, tiny_study
from helpers.rich_study import mistakes_of

from kdpipe.config import load
from kdpipe.data.imagefolder.custom_card import make_card
from kdpipe.models import factory
from kdpipe.models.registry import load_families
from kdpipe.models.study_models import StudyModels
from kdpipe.runs.spec import ModelSpec


@pytest.fixture
def study(tmp_path):
    """A study of images of 4 x 4, which every built-in network makes 1 x 1."""
    np.savez(tmp_path / "small.npz", **synthetic_data.arrays((1, 4, 4), 4, 48, 16))
    make_card(tmp_path / "small.npz", "small", None)

    def of(train_size, batch_size, **changes):
        data = {"name": "small", "path": str(tmp_path / "small.npz"), "train_size": train_size}
        recipe = {"batch_size": batch_size}
        return tiny_study.study(data=data | {"validation": 8, "pad": 0}, recipe=recipe, **changes)

    return of


def test_it_is_refused_with_the_sizes_that_fit(study):
    actual = mistakes_of(study(33, 16))
    assert [line.split(" needs")[0].split()[-1] for line in actual] == ["wrn10-1", "wrn10-0.5"]
    assert actual[0].startswith(
        "recipe.batch_size: the last of the batches of 16 of 33 images has 1, "
    )
    below, above = map(int, re.findall(r"(\d+) or (\d+) fit", actual[0])[0])
    assert (below, above) == (15, 17)
    for size in (below, above):
        load.validate_study(study(33, size), "f")
    load.validate_study(study(32, 16), "f")
    load.validate_study(study(34, 16), "f")
    # 16 and 8 leave one of 33 and 40 = 33 + 7 images alike
    assert "31 or 33 fit" in mistakes_of(study(33, 32))[0]
    assert "at least 2" in mistakes_of(study(1, 16))[0]


def test_the_recipe_of_a_network_is_its_own(study):
    content = study(33, 16, network_recipes={"wrn10-1": {"batch_size": 11}})
    (line,) = mistakes_of(content)
    assert "wrn10-0.5 needs" in line


def test_larger_images_have_more_than_one_value(study):
    content = tiny_study.study(data={"train_size": 65})
    load.validate_study(content, "f")  # 8 x 8: 2 x 2 are left


@pytest.mark.parametrize("side", [4, 5, 6, 7, 8])
@pytest.mark.parametrize("name", ["wrn10-0.5", "resnet8", "densenet-bc10-12"])
def test_what_is_said_of_a_network_is_what_torch_does(name, side):
    assert load_families()
    shape = (1, side, side)
    network = ModelSpec(name=name, revision=1, classes=4, channels=1)
    model = factory.build_model(network, None).train()
    fewest = StudyModels(shape, 4).min_batch_size(name)
    model(torch.randn(2, *shape))
    if fewest == 1:
        model(torch.randn(1, *shape))
    else:
        with pytest.raises(ValueError, match="more than 1 value per channel"):
            model(torch.randn(1, *shape))


def test_few_images_and_one_class_are_noted(study, tmp_path):
    def notes(content):
        return "\n".join(load.collect_notes(load.validate_study(content, "f")))

    assert "classes" not in notes(study(32, 16))
    assert "2 training images for 4 classes" in notes(study(2, 16))
    arrays = synthetic_data.arrays((1, 4, 4), 1, 24, 8)
    np.savez(tmp_path / "one.npz", **arrays)
    make_card(tmp_path / "one.npz", "one", None)
    content = study(16, 16)
    content["data"] |= {"name": "one", "path": str(tmp_path / "one.npz")}
    assert "one class" in notes(content)


def test_a_batch_larger_than_the_training_images_is_noted(study):
    def notes(content):
        text = "\n".join(load.collect_notes(load.validate_study(content, "f")))
        return [line for line in text.splitlines() if "single step" in line]

    assert notes(study(32, 32)) == []
    (line,) = notes(study(32, 33))
    assert "recipe.batch_size: 33 is more than the 32 training images" in line
    content = study(32, 16, network_recipes={"wrn10-1": {"batch_size": 64}})
    (line,) = notes(content)
    assert "network_recipes.wrn10-1.batch_size: 64" in line
    content = study(32, 16)
    content["experiments"][0]["train_size"] = [8, 32]
    assert "16 is more than the 8 training images" in notes(content)[0]
