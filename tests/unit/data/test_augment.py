"""Views without end of images in an array, against torchvision and a twin, an image at a time."""

import math

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torchvision.transforms import v2

from kdpipe.data.augmentations import augment, erase
from kdpipe.data.batches import ImageBatches
from kdpipe.data.views import MAX_SEEDS, Views, split_seed

RNG = np.random.RandomState(0)
IMAGES = {c: RNG.randint(0, 256, (4, c, 10, 9)).astype(np.uint8) for c in (1, 3)}
THEIRS = {"rand": v2.RandAugment(), "trivial": v2.TrivialAugmentWide()}
MASK = 2**64 - 1


def seeds(count: int) -> torch.Tensor:
    return torch.randint(MAX_SEEDS, (count,), generator=torch.Generator().manual_seed(1))


def splitmix(seed: int, number: int) -> int:
    """As it is published, in whole numbers without end."""
    z = (seed + 0x9E3779B97F4A7C15 * (number + 1)) & MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return z ^ (z >> 31)


def test_seeds_are_split_by_splitmix64():
    assert splitmix(1234567, 0) == 6457827717110365317  # the published numbers
    assert splitmix(1234567, 1) == 3203168211198807973
    many = seeds(50)
    for number in (0, 1, 7, 40):
        expected = [splitmix(int(seed), number) % 2**63 for seed in many]
        assert split_seed(many, number).tolist() == expected


@pytest.mark.parametrize("policy", THEIRS)
@pytest.mark.parametrize("size", [(8, 8), (32, 20)])
def test_operations_and_strengths_are_torchvisions(policy, size):
    space = THEIRS[policy]._AUGMENTATION_SPACE
    assert list(space) == list(augment.OPERATIONS)
    for name, (strengths, signed) in space.items():
        actual, reference = augment.compute_magnitudes(policy, name, *size), strengths(31, *size)
        assert (actual is None) == (reference is None) == (name in augment.WITHOUT_MAGNITUDE)
        assert actual is None or torch.equal(actual, reference), name
        assert signed == (name not in augment.WITHOUT_MAGNITUDE | augment.UNSIGNED)


def drawn(seed: int, policy: str, operations: int, magnitude: int | None) -> list:
    """What one image goes through, drawn one number after the other from its own seed."""
    space, actual = THEIRS[policy]._AUGMENTATION_SPACE, []
    for step in range(operations):
        which, strong, sign = (splitmix(seed, 3 * step + part) % 2**63 for part in range(3))
        name = list(space)[which % len(space)]
        strengths, signed = space[name]
        values = strengths(31, 10, 9)
        if values is None:
            actual.append((name, 0.0))
            continue
        value = float(values[strong % 31 if magnitude is None else magnitude])
        actual.append((name, -value if signed and sign % 2 == 0 else value))
    return actual


@pytest.mark.parametrize("channels", IMAGES)
@pytest.mark.parametrize(
    "requests",
    [{"policy": "rand", "operations": 2, "magnitude": 20}, {"policy": "trivial"}],
    ids=["rand", "trivial"],
)
def test_groups_are_what_torchvision_does_to_an_image_at_a_time(channels, requests):
    keys = augment.Keys.model_validate({"augment": requests})
    many = seeds(80)
    index = torch.arange(80) % 4
    images = torch.from_numpy(IMAGES[channels])[index]
    inputs = images.permute(0, 2, 3, 1).clone()
    actual = augment.transform_uint8(keys, many, inputs).permute(0, 3, 1, 2)
    reference, names = THEIRS[requests["policy"]], set()
    for one, seed in enumerate(many.tolist()):
        image = images[one]
        steps = drawn(
            seed, requests["policy"], requests.get("operations", 1), requests.get("magnitude")
        )
        for name, strength in steps:
            image = reference._apply_image_or_video_transform(
                image, name, strength, interpolation=reference.interpolation, fill=reference._fill
            )
            names.add(name)
        assert torch.equal(actual[one], image), steps
    assert names == set(augment.OPERATIONS), "not every operation was tried"


def rectangle(
    seed: int, requests: dict, height: int, width: int
) -> tuple[int, int, int, int] | None:
    """As torchvision's RandomErasing draws it, with its numbers from a seed."""

    def uniform(number: int) -> float:
        return (splitmix(seed, number) % 2**63 >> 10) / 2**53

    if uniform(0) >= requests["probability"]:
        return None
    low, high = (math.log(value) for value in requests["ratio"])
    least, most = requests["scale"]
    for turn in range(10):
        area = height * width * (least + (most - least) * uniform(3 + 2 * turn))
        ratio = math.exp(low + (high - low) * uniform(4 + 2 * turn))
        tall, wide = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if tall < height and wide < width:
            top = splitmix(seed, 1) % 2**63 % (height - tall + 1)
            left = splitmix(seed, 2) % 2**63 % (width - wide + 1)
            return top, left, tall, wide
    return None


def test_erased_is_what_is_erased_in_an_image_at_a_time():
    """Of large rectangles many do not fit at once; none at all where none ever does."""
    requests = {"probability": 0.6, "scale": [0.3, 1.0], "ratio": [0.2, 5.0]}
    keys = erase.Keys.model_validate({"erase": requests})
    many = seeds(300)
    x = torch.rand(300, 2, 10, 9) + 1
    inputs = x.clone(memory_format=torch.channels_last)
    actual = erase.transform_tensor(keys, many, inputs)
    assert actual.is_contiguous(memory_format=torch.channels_last)
    erased = 0
    for one, seed in enumerate(many.tolist()):
        expected = x[one].clone()
        if (store := rectangle(seed, requests, 10, 9)) is not None:
            top, left, tall, wide = store
            expected[:, top : top + tall, left : left + wide] = 0
            erased += 1
        assert torch.equal(actual[one], expected)
    assert 130 < erased < 210
    never = erase.Keys.model_validate({"erase": {"probability": 1.0, "scale": [1.0, 1.0]}})
    assert torch.equal(erase.transform_tensor(never, many, x.clone()), x)


ALL = {
    "pad": 2,
    "flip": True,
    "augment": {"policy": "trivial"},
    "erase": {"probability": 0.5},
}


def test_a_view_is_its_seed_and_not_its_batch():
    images = ImageBatches(IMAGES[3], Views.from_spec(ALL), [0.4] * 3, [0.2] * 3)
    assert images.views.is_infinite
    index, view = torch.arange(12) % 4, seeds(12)
    together = images.batch(index, view)
    for one in range(12):
        alone = images.batch(index[one : one + 1], view[one : one + 1])[0]
        assert torch.equal(alone, together[one])
    assert len({image.numpy().tobytes() for image in together}) == 12
    later = list(images.batches(index, view, 5, start=1))
    assert torch.equal(torch.cat([x for _, _, x in later]), together[5:])
    plain = torch.from_numpy(IMAGES[3]).float() / 255
    torch.testing.assert_close(images.unaugmented_batch(0, 4), (plain - 0.4) / 0.2)


def test_without_end_every_place_of_a_crop_is_equally_often_taken():
    result = Views.from_spec({"pad": 1, "flip": True, "erase": {"probability": 0.1}})
    values = {digit.position: value for digit, _, value in result.decode(seeds(9000))}
    places, mirrored = torch.bincount(values[2]), torch.bincount(values[1])
    assert len(places) == 9 and all(880 < n < 1120 for n in places.tolist())
    assert len(mirrored) == 2 and abs(int(mirrored[0]) - 4500) < 200


def test_rand_has_its_numbers_and_trivial_has_none():
    rand = augment.Augment.model_validate({"policy": "rand", "magnitude": None})
    assert (rand.operations, rand.magnitude) == (2, 9)
    assert augment.Augment.model_validate(rand.model_dump()) == rand
    with pytest.raises(ValidationError, match="apply only to policy: rand"):
        augment.Augment.model_validate({"policy": "trivial", "magnitude": 3})
