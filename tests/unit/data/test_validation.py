"""Validation that the user has made: a part of its own, used as it is, and never guessed."""

from dataclasses import replace

import numpy as np
import pytest
from helpers import synthetic_data

from kdpipe.config import load
from kdpipe.data import cards, splits
from kdpipe.data.data_spec import build_data_spec
from kdpipe.data.imagefolder.custom_card import make_card
from kdpipe.errors import DataError, StudyError
from kdpipe.jobs.prepare import prepare_dataset
from kdpipe.plan import planner
from kdpipe.runs.store import Store

SHAPE, CLASSES = (3, 12, 12), 4


@pytest.fixture
def parts():
    """train, val and test: 48, 12 and 16 images."""
    arrays = synthetic_data.arrays(SHAPE, CLASSES, 48, 16)
    arrays["val_images"], arrays["val_labels"] = synthetic_data.images(12, CLASSES, SHAPE, seed=7)
    return arrays


@pytest.fixture
def folder(tmp_path, parts):
    return synthetic_data.class_folders(tmp_path / "mine", parts, parts=("train", "val", "test"))


def study(folder, **of_data):
    return {
        "study": "mine",
        "seeds": [0],
        "data": {"name": "mine", "path": str(folder), **of_data},
        "recipe": {"epochs": 1, "batch_size": 16, "lr": 0.05},
        "experiments": [{"name": "a", "teachers": ["wrn10-0.5"], "students": ["wrn10-0.5"]}],
    }


def split_of(folder, tmp_path, **of_data):
    plan = planner.build_plan(load.validate_study(study(folder, **of_data), "s"))
    store = Store(tmp_path / "results")
    prepare_dataset("mine", store, str(folder))
    spec = next(iter(plan.runs.values())).spec.data
    return spec, splits.load_split(spec, store)


def in_order(images, labels):
    """Pixels in the order of folders: by class, then by number."""
    order = np.argsort(labels, kind="stable")
    return np.asarray(images)[order]


@pytest.mark.parametrize("form", ["folder", "npz"])
def test_it_is_used_as_validation_and_a_redrawn_split_redraws_train_alone(
    form, folder, parts, tmp_path
):
    if form == "npz":
        folder = tmp_path / "mine.npz"
        np.savez(folder, **parts)
    assert "48 training, 12 validation and 16 test images" in make_card(folder, "mine", None)
    spec, split = split_of(folder, tmp_path, train_size=24)
    assert (spec.train_size, spec.validation) == (24, 12)
    expected = in_order(parts["val_images"], parts["val_labels"])
    assert np.array_equal(in_order(split.val.images, split.val.labels), expected)
    other = splits.load_split(replace(spec, split_seed=1), Store(tmp_path / "results"))
    assert not np.array_equal(other.train.images, split.train.images)
    for part in ("val", "test"):
        actual, reference = getattr(split, part), getattr(other, part)
        assert np.array_equal(actual.images, reference.images)
    whole, everything = split_of(folder, tmp_path)
    assert whole.train_size == len(everything.train) == 48


def test_images_that_stream_have_theirs_too(folder, tmp_path):
    make_card(folder, "mine", None, stream=16)
    inputs = {"mean": [0.5] * 3, "std": [0.2] * 3, "train_size": 24}
    spec, split = split_of(folder, tmp_path, **inputs)
    assert spec.validation == len(split.val) == 12 and split.val.images.part == "val"
    paths = {path.decode() for path in split.val.images.open_index()[0]}
    assert len(paths) == 12 and all(path.startswith("val/") for path in paths)


def test_validation_beside_it_is_refused(folder):
    make_card(folder, "mine", None)
    with pytest.raises(StudyError, match="a validation set of 12 images, which is used: remove"):
        load.validate_study(study(folder, validation=8), "s")
    assert load.collect_notes(load.validate_study(study(folder), "s")) == []


def test_what_val_is_is_asked_and_not_guessed(folder, tmp_path):
    (folder / "test").rename(tmp_path / "away")
    with pytest.raises(DataError, match="Is val/ for model selection or for the final results"):
        make_card(folder, "mine", None)
    make_card(folder, "mine", None, val_is="test")
    card = cards.read_card(cards.get_card_path(folder))
    assert (card.train, card.validation, card.test) == (48, 0, 12)
    with pytest.raises(DataError, match="use --test-share"):
        make_card(folder, "mine", None, val_is="validation")
    make_card(folder, "mine", None, val_is="validation", test_share=0.25)
    card = cards.read_card(cards.get_card_path(folder))
    assert (card.train, card.validation, card.test) == (36, 12, 12)


@pytest.mark.parametrize(
    ("left", "output", "message"),
    [
        (("train", "test"), "test", "does not have both train/ and val/"),
        (("train", "val", "test"), "test", "--val-is test is not allowed"),
    ],
)
def test_an_answer_that_does_not_fit_is_refused(left, output, message, parts, tmp_path):
    folder = synthetic_data.class_folders(tmp_path / "other", parts, parts=left)
    with pytest.raises(DataError, match=message):
        make_card(folder, None, None, val_is=output)


def test_a_card_from_before_means_what_it_meant(folder):
    """Then `val` beside `test` was passed over, and the runs have names that stay."""
    (folder / "val").rename(folder.parent / "val")
    make_card(folder, "mine", None)
    before = planner.build_plan(load.validate_study(study(folder, validation=8), "s"))
    (folder.parent / "val").rename(folder / "val")
    after = planner.build_plan(load.validate_study(study(folder, validation=8), "s"))
    assert list(before.runs) == list(after.runs)
    card = cards.read_card(cards.get_card_path(folder))
    assert build_data_spec(load.validate_study(study(folder), "s").data, card).validation == 0


def test_an_image_in_val_and_train_is_named(folder, parts):
    twin = next((folder / "train" / "class-3").iterdir())
    (folder / "val" / "class-3" / "twin.png").write_bytes(twin.read_bytes())
    with pytest.raises(DataError, match=r"twin.png is the same image as .*: train and val must"):
        make_card(folder, "mine", None)
    with pytest.raises(DataError, match=r"twin.png is the same file as .*: train and val must"):
        make_card(folder, "mine", None, stream=16)


def test_a_part_of_its_own_is_the_same_in_every_split(folder):
    make_card(folder, "mine", None, val_is="validation")
    with pytest.raises(StudyError, match=r"splits: .* a fixed validation set, the same in every"):
        load.validate_study(study(folder) | {"splits": [0, 1, 2]}, "s")
