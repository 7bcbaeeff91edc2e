"""Batches of which a term cannot be computed."""

import dataclasses
import json

import pytest
from helpers import tiny_study
from helpers.rich_study import assert_named, mistakes_of, put, rich

from kdpipe.config import load
from kdpipe.config.partial_config import PartialConfig
from kdpipe.models.custom import card as network_card
from kdpipe.models.custom.card import ModelInfo

LAST = (
    "the last of the batches of 50 of 101 ({}) has 1: change recipe.batch_size or data.train_size"
)


def study(**changes):
    """The rich study with DIST as `kd`, whose last batch has one image."""
    content = rich()
    for path, value in {"methods.kd.dist_weight": 1.0, "data.train_size": 101, **changes}.items():
        put(content, path.replace("__", "."), value)
    return content


def test_the_last_batch_of_every_network_that_learns_by_it_is_looked_at():
    actual = mistakes_of(study())
    # wrn16-2 teaches, and learns nothing by this method.
    assert [line.split("(")[1].split(")")[0] for line in actual] == [
        "wrn10-0.5",
        "wrn10-1",
        "wrn16-1",
    ]
    path = "methods.kd.dist_weight: "
    for line, network in zip(actual, ["wrn10-0.5", "wrn10-1", "wrn16-1"], strict=True):
        assert line.startswith(path) and line.endswith(LAST.format(network))
        assert "DIST compares the images of a batch and needs 2" in line


@pytest.mark.parametrize("size", [100, 102])
def test_two_left_over_are_enough_and_so_are_none(size):
    load.validate_study(study(data__train_size=size), "f")


def test_a_network_of_another_batch_size_is_looked_at_by_it():
    content = study(data__train_size=100)
    content["network_recipes"]["wrn16-1"] = {"batch_size": 33}
    assert_named(mistakes_of(content), "methods.kd.dist_weight: ", "of 33 of 100 (wrn16-1)")


def test_a_step_that_learns_by_another_method_is_not():
    """wrn16-1 learns by `eskd` in one chain, and by `kd` in the other."""
    content = study(data__train_size=100)
    content["network_recipes"]["wrn16-1"] = {"batch_size": 33}
    content["experiments"][2]["methods"] = [["eskd", "kd"]]
    load.validate_study(content, "f")
    content["experiments"][2]["methods"] = [["kd", "eskd"]]
    assert len(mistakes_of(content)) == 1


@pytest.mark.parametrize("size, fits", [(100, True), (101, False), (102, True)])
def test_what_fitnet_has_learnt_normalises_over_a_batch(size, fits, tmp_path):
    """A network of one's own without normalisation, whose middle group is 1 x 1."""
    facts = {
        "name": "own", "build": "mine.own", "revision": 1, "shape": (1, 8, 8), "classes": 10,
        "parameters": 9, "multiply_adds": 9, "layout": "contiguous", "random": False,
        "linear": True, "groups": ((4, 2, 2), (8, 1, 1), (8, 1, 1)), "state": {"a": "float32 9"},
        "answer": (1.0,), "trained": (1.0,), "fewest": 1,
    }  # fmt: skip
    result = ModelInfo(**facts)
    path = network_card.card_path(tmp_path, "own", result.shape, result.classes)
    path.write_text(json.dumps(network_card.serialize_card(result)))
    content = tiny_study.study(
        code=str(tmp_path),
        networks={"own": {"build": "mine.own"}},
        methods={"kd": {"fitnet_weight": 1.0}},
        main={"teachers": ["own"], "students": ["own"]},
        data={"name": "digits", "train_size": size, "validation": 10},
        recipe={"batch_size": 50},
    )
    if fits:
        load.validate_study(content, "f")
    else:
        (line,) = mistakes_of(content)
        assert line.startswith("methods.kd.fitnet_weight: FitNet has batch normalization of 1")
        assert "needs 2; " in line and "(own) has 1" in line


def test_images_of_one_class_have_nothing_to_be_compared():
    content = rich()
    content["methods"] |= {"kd": {"dkd_weight": 1.0}, "eskd": {"standardise": True}}
    config = PartialConfig(content, "f")
    config.data_section = dataclasses.replace(  # pyright: ignore (a cached property)
        config.data_section, card=dataclasses.replace(config.card, classes=1)
    )
    from kdpipe.config.rules.term_batch_size import RULE

    assert list(RULE.function(config)) == [
        "methods.kd.dkd_weight: decoupled KD needs at least 2 classes, and the data have one",
        (
            "methods.eskd.standardise: standardizing logits needs at least 2 classes, and the data "
            "have one"
        ),
    ]
