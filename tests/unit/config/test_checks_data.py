"""The images of a study: enough of them, and of the kind that its keys are for."""

import json

import pytest
from helpers import tiny_study
from helpers.rich_study import assert_named, mistakes_of, said_of
from helpers.synthetic_data import resealed

from kdpipe.config import load
from kdpipe.errors import KdpipeError
from kdpipe.plan import planner


@pytest.mark.parametrize(
    ("path", "value", "begins", "says"),
    [
        ("data.name", "digit", "data.name: ", "did you mean digits?"),
        ("data.train_size", 1048, "data: ", "exceed the 1,097 training images of digits"),
        ("data.validation", 1097, "data: ", "exceed the 1,097 training images"),
        ("data.pad", 8, "data.pad: ", "images of 8x8 are too small for reflection padding by 8"),
        ("reading", "worst", "reading: ", "last"),
    ],
)
def test_each_mistake_is_named(path, value, begins, says):
    assert_named(said_of(path, value), begins, says)


def test_the_best_epoch_on_validation_wants_images_to_be_best_on():
    study = {**tiny_study.STUDY, "reading": "best"}
    assert load.validate_study(study, "f").reading == "best"
    none = {**study, "data": {**tiny_study.STUDY["data"], "validation": 0}}
    with pytest.raises(KdpipeError, match=r"reading: best .* data\.validation is 0: hold out"):
        load.validate_study(none, "f")


def test_validation_that_would_take_every_image_of_a_class_is_refused(tmp_path):
    facts = CARD | {"counts": [500, 400, 92, 8], "classes": 4}
    facts |= {"class_names": ["a", "b", "c", "owl"], "made": {"test_share": 0.2, "draw": "share"}}
    (tmp_path / "mine.card.json").write_text(json.dumps(resealed(facts)))
    data = {"name": "mine", "path": str(tmp_path / "mine")}
    study = {**tiny_study.STUDY, "data": data | {"validation": 72}}
    message = r"data.validation: 72 .* no training image of owl, which has 8: use at most 28, or"
    with pytest.raises(KdpipeError, match=message):
        load.validate_study(study, "f")
    for other in ({"validation": 28}, {"validation": 72, "draw": "share"}):
        assert load.validate_study({**study, "data": data | other}, "f")


CARD = {"name": "mine", "title": "Mine", "source": "a drawer", "shape": [3, 8, 8], "classes": 10}
CARD |= {"train": 1000, "test": 100, "sha256": "ab" * 32}


@pytest.mark.parametrize(
    "change",
    [
        {"sha256": "../../../up"},  # the name of a folder is made of it
        {"sha256": 5},
        {"shape": [3, 8]},
        {"shape": ["3", 8, 8]},
        {"shape": [3, -8, 8]},
        {"shape": None},
        {"classes": 0},
        {"classes": 10.5},
        {"train": True},
        {"test": "many"},
        {"name": "other"},
    ],
)
def test_a_card_that_makes_no_sense_is_refused(content, tmp_path, change):
    path = tmp_path / "card.json"
    content["data"] |= {"name": "mine", "path": str(tmp_path), "card": str(path)}
    path.write_text(json.dumps(resealed(CARD)))
    assert planner.build_plan(load.validate_study(content, "f")).card.folder == "mine-abababababab"
    path.write_text(json.dumps(resealed(CARD | change)))
    (line,) = mistakes_of(content)
    assert str(path) in line and line.startswith("data.name: ")
