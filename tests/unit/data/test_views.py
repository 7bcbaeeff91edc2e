"""Every view of every image, against a twin that pads, crops and flips one image at a time."""

import itertools

import numpy as np
import pytest
import torch

from kdpipe.data.batches import ImageBatches
from kdpipe.data.views import IDENTITY_VIEWS, Views

RNG = np.random.RandomState(0)
IMAGES = RNG.randint(0, 256, (3, 2, 6, 5)).astype(np.uint8)  # not square, two channels
MEAN, STD = np.array([0.4, 0.6]), np.array([0.2, 0.3])


def twin(image, pad, padding, flip, view):
    """View `view` of one image (C, H, W), written as one would explain it."""
    channels, height, width = image.shape
    offset, flipped = divmod(view, 2) if flip else (view, 0)
    down, right = divmod(offset, 2 * pad + 1)
    out = np.zeros((channels, height, width))
    for c, y, x in itertools.product(range(channels), range(height), range(width)):
        row, column = y + down - pad, x + right - pad
        if padding == "reflect":
            row = -row if row < 0 else 2 * (height - 1) - row if row >= height else row
            column = (
                -column if column < 0 else 2 * (width - 1) - column if column >= width else column
            )
        inside = 0 <= row < height and 0 <= column < width
        pixel = image[c, row, column] / 255 if inside else 0.0
        out[c, y, width - 1 - x if flipped else x] = (pixel - MEAN[c]) / STD[c]
    return out


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("padding", ["zero", "reflect"])
@pytest.mark.parametrize("pad", [0, 1, 3])
def test_every_view_is_the_twins(pad, padding, flip):
    views = Views.from_spec({"pad": pad, "padding": padding, "flip": flip})
    images = ImageBatches(IMAGES, views, MEAN, STD)
    pairs = list(itertools.product(range(len(IMAGES)), range(views.count)))
    index, view = torch.tensor(pairs).T
    actual = images.batch(index, view)
    expected = np.stack([twin(IMAGES[i], pad, padding, flip, v) for i, v in pairs])
    assert actual.dtype == torch.float32 and actual.shape == expected.shape
    np.testing.assert_allclose(actual.numpy(), expected, rtol=0, atol=2e-6)


@pytest.mark.parametrize(
    ("pad", "flip", "count"), [(0, False, 1), (0, True, 2), (1, False, 9), (4, True, 162)]
)
def test_counts(pad, flip, count):
    assert Views.from_spec({"pad": pad, "flip": flip}).count == count


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("pad", [0, 1, 4])
def test_the_centre_is_the_image_itself(pad, flip):
    views = Views.from_spec({"pad": pad, "flip": flip})
    actual = ImageBatches(IMAGES, views, MEAN, STD).unaugmented_batch(1, 99)
    expected = (IMAGES[1:] / 255 - MEAN[:, None, None]) / STD[:, None, None]
    np.testing.assert_allclose(actual.numpy(), expected, rtol=0, atol=2e-6)
    assert 0 <= views.identity_view < views.count


@pytest.mark.parametrize("pad", [1, 2])
def test_the_views_of_an_image_are_all_different(pad):
    views = Views.from_spec({"pad": pad, "flip": True})
    everything = torch.arange(views.count)
    actual = ImageBatches(IMAGES, views, MEAN, STD).batch(torch.zeros_like(everything), everything)
    assert len({image.numpy().tobytes() for image in actual}) == views.count


def test_a_view_does_not_depend_on_its_batch():
    """To the bit: a table of views is computed in other batches than training asks for."""
    views = Views.from_spec({"pad": 2, "padding": "reflect", "flip": True})
    images = ImageBatches(IMAGES, views, MEAN, STD)
    index, view = torch.tensor([0, 2, 1, 1]), torch.tensor([7, 0, 49, 13])
    together = images.batch(index, view)
    for i in range(4):
        assert torch.equal(images.batch(index[i : i + 1], view[i : i + 1])[0], together[i])


def test_of_a_spec():
    keys = {"pad": 2, "padding": "reflect", "flip": True}
    views = Views.from_spec(keys | {"crop": None, "revision": 1})
    assert views == Views.from_spec(keys) != Views.from_spec(keys | {"padding": "zero"})
    assert len(ImageBatches(IMAGES, views, MEAN, STD)) == 3
    assert (
        IDENTITY_VIEWS
        == Views.from_spec({})
        == Views.from_spec({"pad": 0, "padding": "reflect", "flip": False})
    )


def test_the_source_is_left_alone():
    before = IMAGES.copy()
    images = ImageBatches(IMAGES, IDENTITY_VIEWS, MEAN, STD)
    images.batch(torch.tensor([0]), torch.tensor([0])).zero_()
    np.testing.assert_array_equal(IMAGES, before)
    assert len(images) == 3
