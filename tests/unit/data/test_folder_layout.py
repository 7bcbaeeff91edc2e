"""Folders as people have them: parts under other names, one folder too many, and none at all."""

import dataclasses
import json

import pytest
from helpers import synthetic_data

from kdpipe.data import cards
from kdpipe.data.imagefolder import class_folders
from kdpipe.data.imagefolder.custom_card import build_card
from kdpipe.errors import DataError


@pytest.fixture
def folder(tmp_path):
    """train, val and test of four classes."""
    arrays = synthetic_data.arrays((3, 12, 12), 4, 48, 16)
    arrays["val_images"], arrays["val_labels"] = synthetic_data.images(12, 4, (3, 12, 12), seed=7)
    return synthetic_data.class_folders(tmp_path / "mine", arrays, parts=("train", "val", "test"))


@pytest.mark.parametrize(
    "names", [("Training", "Testing", "Validation"), ("Train", "TEST", "valid")]
)
def test_parts_under_other_names_are_the_same_data(names, folder):
    plain = build_card(folder, "mine").card
    for part, name in zip(("train", "test", "val"), names, strict=True):
        (folder / part).rename(folder / name)
    actual = build_card(folder, "mine").card
    assert actual.sha256 == plain.sha256 and actual.class_names == plain.class_names
    assert actual.made["parts"] == dict(zip(("train", "test", "val"), names, strict=True))
    assert "parts" not in plain.made
    assert cards.load_card("mine", str(folder), None) == actual  # as it is read again


def test_a_card_of_two_classes_that_are_called_so_stays_one(folder):
    """As it was made before these names were known."""
    (folder / "train").rename(folder / "Training")
    (folder / "test").rename(folder / "Testing")
    actual = class_folders.list_images(folder, {"test_share": 0.2, "val": None, "parts": None})
    assert actual.classes == ["Testing", "Training", "val"]


def test_a_class_that_is_called_training_is_a_class(tmp_path):
    for name in ("training", "swimming"):
        (tmp_path / name).mkdir()
    assert class_folders.detect_layout(tmp_path) == ({}, None)


@pytest.mark.parametrize(
    ("inside", "message"),
    [
        ([], "has no folders: its images must be in one folder per class"),
        (["flowers"], "has only one folder, flowers, and so only one class"),
        (["train"], "If the classes are in that folder, give it instead: "),
        (["train", "test", "testing"], "test, testing could each be test"),
    ],
)
def test_what_cannot_be_meant_is_refused(inside, message, tmp_path):
    for name in inside:
        (tmp_path / name).mkdir()
    with pytest.raises(DataError, match=message):
        class_folders.detect_layout(tmp_path)


@pytest.mark.parametrize("parts", [{"train": "../x"}, {"other": "x"}, {"train": 1}, ["train"]])
def test_a_card_whose_parts_lead_elsewhere_is_none(parts, folder):
    plan = build_card(folder, "mine")
    changed = dataclasses.replace(plan.card, made=plan.card.made | {"parts": parts})
    plan.path.write_text(json.dumps(cards.seal_card(changed)))
    with pytest.raises(DataError, match=r"made\.parts"):
        cards.read_card(plan.path)
