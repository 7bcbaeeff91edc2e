"""Folders as people have them: parts under other names, one folder too many, and none at all."""

import dataclasses

import made_data
import pytest

from kdpipe.data import cards
from kdpipe.data.own import folders, layout
from kdpipe.data.own.card import make
from kdpipe.errors import DataError


@pytest.fixture
def folder(tmp_path):
    """train, val and test of four classes."""
    made = made_data.arrays((3, 12, 12), 4, 48, 16)
    made["val_images"], made["val_labels"] = made_data.images(12, 4, (3, 12, 12), seed=7)
    return made_data.class_folders(tmp_path / "mine", made, parts=("train", "val", "test"))


@pytest.mark.parametrize(
    "names", [("Training", "Testing", "Validation"), ("Train", "TEST", "valid")]
)
def test_parts_under_other_names_are_the_same_data(names, folder):
    plain = make(folder, "mine").card
    for part, name in zip(("train", "test", "val"), names, strict=True):
        (folder / part).rename(folder / name)
    found = make(folder, "mine").card
    assert found.sha256 == plain.sha256 and found.class_names == plain.class_names
    assert found.made["parts"] == dict(zip(("train", "test", "val"), names, strict=True))
    assert "parts" not in plain.made
    assert cards.of("mine", str(folder), None) == found  # as it is read again


def test_a_card_of_two_classes_that_are_called_so_stays_one(folder):
    """As it was made before these names were known."""
    (folder / "train").rename(folder / "Training")
    (folder / "test").rename(folder / "Testing")
    found = folders.listed(folder, {"test_share": 0.2, "val": None, "parts": None})
    assert found.classes == ["Testing", "Training", "val"]


def test_a_class_that_is_called_training_is_a_class(tmp_path):
    for name in ("training", "swimming"):
        (tmp_path / name).mkdir()
    assert layout.of(tmp_path) == ({}, None)


@pytest.mark.parametrize(
    ("inside", "said"),
    [
        ([], "has no folders: its images are to lie in one folder for each class"),
        (["flowers"], "has one folder only, flowers, which would be one class"),
        (["train"], "If the classes lie in it, name it instead: "),
        (["train", "test", "testing"], "test, testing may each be test"),
    ],
)
def test_what_cannot_be_meant_is_refused(inside, said, tmp_path):
    for name in inside:
        (tmp_path / name).mkdir()
    with pytest.raises(DataError, match=said):
        layout.of(tmp_path)


@pytest.mark.parametrize("parts", [{"train": "../x"}, {"other": "x"}, {"train": 1}, ["train"]])
def test_a_card_whose_parts_lead_elsewhere_is_none(parts, folder):
    card = make(folder, "mine").card
    with pytest.raises(ValueError, match=r"made\.parts"):
        cards._card(dataclasses.asdict(card) | {"made": card.made | {"parts": parts}})
