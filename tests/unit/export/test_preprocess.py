"""A picture becomes the very pixels that training had, as torchvision and the study make them."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from helpers import synthetic_data
from PIL import Image
from torchvision.transforms import v2

from kdpipe.data import cache, cards, splits, streaming
from kdpipe.data.config import DataConfig
from kdpipe.data.data_spec import build_data_spec
from kdpipe.data.imagefolder import custom_card as own_card
from kdpipe.data.views import IDENTITY_VIEWS
from kdpipe.errors import DataError
from kdpipe.export import classifier
from kdpipe.export.classifier import Classifier
from kdpipe.export.exporter import build_input_config
from kdpipe.runs.store import Store

SIZES = [(31, 47), (64, 48), (16, 16), (100, 17), (23, 23), (17, 200)]
SPLIT = SimpleNamespace(mean=np.zeros(3), std=np.ones(3))


@pytest.fixture
def pictures():
    rng = np.random.default_rng(0)
    return [Image.fromarray(rng.integers(0, 256, (h, w, 3), np.uint8)) for w, h in SIZES]


def requests(steps, channels=3):
    return {"channels": channels, "by_mode_alone": False, "steps": steps}


def test_images_that_stream_are_scaled_and_cropped_as_torchvision_does(pictures):
    for side in (16, 14, 15):
        by_torch = v2.Compose(
            [v2.Resize(round(side * streaming.RESIZE_RATIO)), v2.CenterCrop(side)]
        )
        steps = [{"shorter": round(side * streaming.RESIZE_RATIO)}, {"centre": side}]
        for picture in pictures:
            reference = np.asarray(by_torch(picture)).transpose(2, 0, 1)
            assert np.array_equal(
                classifier.preprocess_image(picture, "", requests(steps)), reference
            )


@pytest.mark.parametrize(
    ("how", "resize"),
    [
        ({"stream": 16}, None),
        ({"stream": 16}, 20),
        ({"resize": 12}, None),
        ({"resize": 12, "channels": 1}, None),
    ],
)
def test_a_file_is_what_training_was_given_of_it(tmp_path, how, resize):
    """Whatever way from the files to the array a card says, an export goes it again."""
    folder = tmp_path / "photos"
    synthetic_data.photographs(folder, ["ant", "bee"], 6, 5)
    card = own_card.build_card(folder, "photos", **how).card
    store = Store(tmp_path / "results")
    cache.prepare_dataset(card, store, folder)
    message = {key: [value] * card.shape[0] for key, value in (("mean", 0.3), ("std", 0.35))}
    data = DataConfig(name="photos", path=str(folder), resize=resize, **message)
    split = splits.load_split(build_data_spec(data, card), store)
    images = streaming.create_batches(split.test, IDENTITY_VIEWS, split)
    reference = (
        torch.cat(list(images.unaugmented_batches(3))).permute(0, 2, 3, 1).numpy() * 0.35 + 0.3
    )
    reference = (255 * reference).round().astype(np.uint8).transpose(0, 3, 1, 2)
    about = build_input_config(card, resize, split)
    assert reference.shape[1:] == (about["channels"], about["height"], about["width"])
    classifier = Classifier({"classes": ["ant", "bee"], "input": about}, None)
    paths = sorted((folder / "test").rglob("*.JPEG"))
    assert np.array_equal(np.stack([classifier.preprocess(path) for path in paths]), reference)
    # What a graph is asked is the same too.
    assert np.array_equal(np.concatenate(list(streaming.iterate_pixels(split.test, 2))), reference)


def test_what_the_study_scales_is_scaled_as_it_does():
    """Of a hundred thousand pixels a few are a level apart, where many are added up for each."""
    rng, different = np.random.default_rng(1), 0
    sizes = {(3, 32, 32): 24, (1, 28, 28): 32, (3, 8, 8): 20, (3, 64, 48): 48, (3, 100, 80): 32}
    for shape, side in sizes.items():
        images = rng.integers(0, 256, (40, *shape), np.uint8)
        reference = splits._resize_images(images, side).astype(int)
        steps = [{"as_it_is": list(shape[1:])}, {"scale": side}]
        for image, one in zip(images, reference, strict=True):
            picture = Image.fromarray(image.transpose(1, 2, 0).squeeze())
            actual = classifier.preprocess_image(picture, "", requests(steps, shape[0])).astype(int)
            assert actual.shape == one.shape and np.abs(actual - one).max() <= 1
            different += (actual != one).sum()
    assert different <= 10


def test_a_picture_of_another_size_is_refused_where_nobody_said_how_it_is_scaled(pictures):
    with pytest.raises(DataError, match=r"one.jpg has 31 x 47 pixels, .* of 32 x 32 as they are"):
        classifier.preprocess_image(
            pictures[0], Path("one.jpg"), requests([{"as_it_is": [32, 32]}])
        )


def test_steps_follow_from_the_card_and_the_study():
    cifar, imagenet = cards.load_known_card("cifar10"), cards.load_known_card("imagenet")
    assert build_input_config(cifar, None, SPLIT)["steps"] == [{"as_it_is": [32, 32]}]
    scaled = build_input_config(cifar, 16, SPLIT)
    assert scaled["steps"] == [{"as_it_is": [32, 32]}, {"scale": 16}]
    assert (scaled["channels"], scaled["height"], scaled["width"]) == (3, 16, 16)
    streamed = build_input_config(imagenet, 112, SPLIT)
    assert streamed["steps"] == [{"shorter": 128}, {"centre": 112}] and streamed["by_mode_alone"]
    assert (
        "the shorter side scaled to 128 (bilinear), then the centre of 112"
        in classifier.describe_steps(streamed)
    )
