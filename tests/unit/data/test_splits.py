"""The digits prepared and split, against scikit-learn and by counting; and what damages them."""

import pickle
import shutil
from dataclasses import replace

import numpy as np
import pytest
from helpers import synthetic_data, tiny_study
from sklearn.datasets import load_digits

from kdpipe.config import load
from kdpipe.data import arrays, cache, cards, splits
from kdpipe.data.arrays import ARRAY_NAMES, draw_balanced_order, draw_proportional_order
from kdpipe.data.config import DataConfig
from kdpipe.data.data_spec import build_data_spec
from kdpipe.data.imagefolder.custom_card import make_card
from kdpipe.errors import DataError
from kdpipe.jobs.prepare import prepare_dataset
from kdpipe.plan.planner import build_plan
from kdpipe.runs.files import write_npy
from kdpipe.runs.store import Store

CARD = cards.load_known_card("digits")


def spec(**changes):
    """The `data` part of a run's spec."""
    content = tiny_study.study(data={"train_size": 600, "validation": 400, "pad": 0} | changes)
    return next(iter(build_plan(load.validate_study(content, "f")).runs.values())).spec.data


@pytest.fixture(scope="module")
def ready(tmp_path_factory):
    """A results folder with the digits prepared; not to be changed."""
    store = Store(tmp_path_factory.mktemp("digits"))
    cache.prepare_dataset(CARD, store)
    return store


def rows(images):
    """Each image as bytes: something to compare and to count."""
    return [image.tobytes() for image in np.asarray(images)]


def test_the_arrays_are_scikit_learns_images_each_once(ready):
    arrays = cache.load_arrays(CARD, ready)
    images = np.concatenate([arrays["train_images"], arrays["test_images"]])
    labels = np.concatenate([arrays["train_labels"], arrays["test_labels"]])
    actual = sorted(zip(rows(images), labels, strict=True))
    digits = load_digits()
    reference = (digits.images * 15).astype(np.uint8)  # 17 grey levels, 0 ... 16
    assert actual == sorted(zip(rows(reference), digits.target, strict=True))
    assert images.dtype == np.uint8 and labels.dtype == np.int64


def test_the_card_says_what_is_there(ready):
    arrays = cache.load_arrays(CARD, ready)
    assert arrays["train_images"].shape == (CARD.train, *CARD.shape) == (1097, 1, 8, 8)
    assert arrays["test_images"].shape == (CARD.test, *CARD.shape) == (700, 1, 8, 8)
    assert set(arrays["train_labels"]) == set(range(CARD.classes)) == set(range(10))
    assert np.bincount(arrays["test_labels"]).tolist() == [70] * 10


def test_preparing_twice_gives_the_same_bytes(ready, tmp_path):
    store = Store(tmp_path)
    cache.prepare_dataset(CARD, store)
    first, second = ready.data(CARD.folder), store.data(CARD.folder)
    names = [f"{name}.npy" for name in ARRAY_NAMES] + ["card.json"]
    for name in names:
        assert (first / name).read_bytes() == (second / name).read_bytes()
    cache.prepare_dataset(CARD, store)
    assert {path.name for path in second.iterdir()} == {*names, ".lock"}


# --- the split


def test_train_and_validation_are_disjoint_balanced_and_of_train_alone(ready):
    """Equal images with equal labels may occur twice among the digits; so count, not compare."""
    split = splits.load_split(spec(label_noise=0.0), ready)
    assert (len(split.train), len(split.val), len(split.test)) == (600, 400, 700)
    assert np.bincount(split.train.labels).tolist() == [60] * 10
    assert np.bincount(split.val.labels).tolist() == [40] * 10
    arrays = cache.load_arrays(CARD, ready)
    left = list(zip(rows(arrays["train_images"]), arrays["train_labels"], strict=True))
    for part in (split.train, split.val):
        for pair in zip(rows(part.images), part.labels, strict=True):
            left.remove(pair)  # each of them is there once
    assert len(left) == 1097 - 600 - 400
    np.testing.assert_array_equal(split.test.images, arrays["test_images"])
    np.testing.assert_array_equal(split.test.labels, arrays["test_labels"])


@pytest.mark.parametrize(("train_size", "validation"), [(95, 33), (1, 0), (None, 97), (None, 0)])
def test_any_size_is_as_balanced_as_it_can_be(ready, train_size, validation):
    split = splits.load_split(spec(train_size=train_size, validation=validation), ready)
    assert (len(split.train), len(split.val)) == (train_size or 1097 - validation, validation)
    for part in (split.train, split.val):
        counts = np.bincount(part.labels, minlength=10)
        if len(part) < 900:  # the smallest class has 104 images
            assert counts.max() - counts.min() <= 1


def test_each_split_draws_train_validation_and_noise_anew_and_the_first_is_what_it_was(ready):
    result = spec(label_noise=0.4)
    first = splits.load_split(result, ready)
    again = splits.load_split(replace(result, split=0), ready)
    others = [splits.load_split(replace(result, split=number), ready) for number in (1, 2)]
    for part in ("train", "val"):
        for split in others:
            actual, reference = getattr(first, part), getattr(split, part)
            assert len(actual) == len(reference) and not np.array_equal(
                actual.images, reference.images
            )
        np.testing.assert_array_equal(getattr(first, part).images, getattr(again, part).images)
        np.testing.assert_array_equal(getattr(first, part).labels, getattr(again, part).labels)
        np.testing.assert_array_equal(first.test.images, others[0].test.images)
    # Of 400 validation images of 1,097 two draws share a share of 400/1,097, 146 (sd 7.6).
    shared = len(set(rows(first.val.images)) & set(rows(others[0].val.images)))
    assert 146 - 5 * 7.6 < shared < 146 + 5 * 7.6 + 5  # and some digits are there twice


def test_label_noise_is_in_train_alone(ready):
    clean, noisy = (splits.load_split(spec(label_noise=share), ready) for share in (0.0, 0.4))
    for part in ("val", "test"):
        np.testing.assert_array_equal(getattr(clean, part).images, getattr(noisy, part).images)
        np.testing.assert_array_equal(getattr(clean, part).labels, getattr(noisy, part).labels)
    np.testing.assert_array_equal(clean.train.images, noisy.train.images)
    # 240 of 600 labels are redrawn; a tenth of those keep their value: 216 differ, +-4.6 (1 sd).
    changed = clean.train.labels != noisy.train.labels
    assert 216 - 4 * 4.6 < changed.sum() < 216 + 4 * 4.6
    # What is redrawn is uniform: chi-squared of 10 classes, 99.9 % below 27.9.
    drawn = np.bincount(noisy.train.labels[changed], minlength=10)
    expected = changed.sum() / 10
    assert ((drawn - expected) ** 2 / expected).sum() < 27.9
    assert len(set(clean.train.labels[changed])) == 10


@pytest.mark.parametrize(("share", "most"), [(0.0, 0), (0.01, 6), (0.5, 300), (1.0, 600)])
def test_the_share_of_redrawn_labels(ready, share, most):
    clean, noisy = (splits.load_split(spec(label_noise=s), ready) for s in (0.0, share))
    changed = int((clean.train.labels != noisy.train.labels).sum())
    assert changed <= most and changed >= 0.8 * most - 3


def test_a_split_depends_on_its_seed_alone(ready):
    one, same = (splits.load_split(spec(label_noise=0.4, split_seed=3), ready) for _ in range(2))
    np.random.seed(1)
    again, other = (splits.load_split(spec(label_noise=0.4, split_seed=s), ready) for s in (3, 4))
    for part in ("train", "val"):
        for actual in (same, again):
            np.testing.assert_array_equal(getattr(one, part).images, getattr(actual, part).images)
            np.testing.assert_array_equal(getattr(one, part).labels, getattr(actual, part).labels)
        assert rows(getattr(one, part).images) != rows(getattr(other, part).images)
    np.testing.assert_array_equal(one.test.images, other.test.images)


def test_validation_is_the_same_whatever_the_size_of_train(ready):
    """So that studies of different train sizes choose on the same images."""
    small, large = (splits.load_split(spec(train_size=size), ready) for size in (100, 600))
    np.testing.assert_array_equal(small.val.images, large.val.images)
    assert set(rows(small.train.images)) <= set(rows(large.train.images))


def test_mean_and_std_are_of_the_train_pixels(ready):
    split = splits.load_split(spec(), ready)
    pixels = [value / 255 for image in split.train.images for value in image.ravel().tolist()]
    mean = sum(pixels) / len(pixels)
    std = (sum((value - mean) ** 2 for value in pixels) / len(pixels)) ** 0.5
    assert split.mean == pytest.approx([mean]) and split.std == pytest.approx([std])


def test_mean_and_std_of_very_many_pixels_are_the_same(monkeypatch):
    images = np.random.RandomState(0).randint(0, 256, (1500, 3, 4, 5)).astype(np.uint8)
    expected = arrays.compute_mean_std(images)
    monkeypatch.setattr(arrays, "MAX_FLOAT_PIXELS", 1)
    assert arrays.compute_mean_std(images) == (
        pytest.approx(expected[0]),
        pytest.approx(expected[1]),
    )
    by_hand = [np.mean(images[:, channel] / 255) for channel in range(3)]
    assert expected[0] == pytest.approx(by_hand)


def test_balanced_order_by_hand():
    """Every prefix holds the classes in equal numbers, as long as there are any left."""
    labels = np.array([0] * 5 + [1] * 3 + [2] * 4)
    order = draw_balanced_order(labels, np.random.RandomState(0))
    assert sorted(order) == list(range(12))
    sorted_rounds = [sorted(labels[order[i : i + 3]]) for i in (0, 3, 6)]
    assert sorted_rounds == [[0, 1, 2]] * 3
    assert sorted(labels[order[9:11]]) == [0, 2] and labels[order[11]] == 0


def test_proportional_order_by_hand():
    """Every prefix holds of each class its share, to one image."""
    labels = np.repeat([0, 1, 2, 3], [60, 50, 8, 2])
    order = draw_proportional_order(labels, np.random.RandomState(0))
    assert sorted(order) == list(range(120))
    for count in (12, 30, 60, 90, 119):
        taken = np.bincount(labels[order[:count]], minlength=4)
        assert np.abs(taken - np.array([60, 50, 8, 2]) * count / 120).max() <= 1
    assert np.bincount(labels[order[:60]]).tolist() == [30, 25, 4, 1]
    other = draw_proportional_order(labels, np.random.RandomState(1))
    assert order.tolist() != other.tolist()


def test_draw_says_how_many_of_each_class_are_held_out(tmp_path):
    """Of a folder of unequal classes; `equal` is what a spec means that says nothing."""
    arrays = synthetic_data.arrays((3, 12, 12), 4, 160, 16)
    keep = ~((arrays["train_labels"] == 3) & (np.arange(160) >= 32))
    arrays |= {key: arrays[key][keep] for key in ("train_images", "train_labels")}
    np.savez(tmp_path / "mine.npz", **arrays)
    make_card(tmp_path / "mine.npz", "mine", None)
    store, actual = Store(tmp_path / "results"), {}
    prepare_dataset("mine", store, str(tmp_path / "mine.npz"))
    for draw in ("equal", "share"):
        keys = {"name": "mine", "path": str(tmp_path / "mine.npz"), "validation": 16, "draw": draw}
        spec = build_data_spec(DataConfig(**keys), cards.load_card("mine", keys["path"], None))
        assert spec.to_dict().get("draw") == (None if draw == "equal" else "share")
        actual[draw] = np.bincount(splits.load_split(spec, store).val.labels).tolist()
    assert actual == {"equal": [4, 4, 4, 4], "share": [5, 5, 5, 1]}


# --- damage


@pytest.fixture
def copied(ready, tmp_path):
    """A prepared folder that may be damaged."""
    shutil.copytree(ready.root, tmp_path / "results")
    return Store(tmp_path / "results")


def damage(path, how):
    whole = path.read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 4
    if how == "gone":
        path.unlink()
    elif how == "pickle":
        path.write_bytes(pickle.dumps({"images": 1}))
    else:
        actual = {"empty": b"", "cut": whole[:-5], "flip": bytes(flipped), "head": whole[:40]}
        path.write_bytes(actual[how])


@pytest.mark.parametrize("how", ["gone", "empty", "cut", "flip", "pickle", "head"])
@pytest.mark.parametrize("name", ARRAY_NAMES)
def test_a_damaged_array_is_named(copied, name, how):
    folder = copied.data(CARD.folder)
    damage(folder / f"{name}.npy", how)
    with pytest.raises(DataError) as error:
        splits.load_split(spec(), copied)
    message = str(error.value)
    assert f"{name}.npy" in message and "remove the folder" in message
    assert not any(f"{other}.npy" in message for other in ARRAY_NAMES if other != name)


def test_a_damaged_array_is_found_without_the_list_of_checksums(copied):
    folder = copied.data(CARD.folder)
    damage(folder / "test_labels.npy", "flip")
    (folder / "card.json").write_text("{}")
    with pytest.raises(DataError, match="are not as in its card"):
        splits.load_split(spec(), copied)


def test_arrays_that_changed_places_are_found(copied):
    folder = copied.data(CARD.folder)
    images, labels = np.load(folder / "train_images.npy"), np.load(folder / "train_labels.npy")
    write_npy(folder / "train_images.npy", images[::-1])
    write_npy(folder / "train_labels.npy", labels.astype(np.int32))
    with pytest.raises(DataError, match=r"train_images.npy, .*train_labels.npy is not as"):
        splits.load_split(spec(), copied)


def test_a_source_that_is_another_version_is_not_prepared(tmp_path, monkeypatch):
    digits = load_digits()
    digits.target = digits.target[::-1]
    monkeypatch.setattr("sklearn.datasets.load_digits", lambda: digits)
    store = Store(tmp_path)
    with pytest.raises(DataError, match="not match its card"):
        cache.prepare_dataset(CARD, store)
    assert not (store.data(CARD.folder) / "card.json").exists()


def test_an_unknown_data_set_has_no_card():
    for name in ("digit", "../digits", ""):
        with pytest.raises(DataError, match="has no card"):
            cards.load_known_card(name)
