"""Splits that stand twice, that cannot be told apart, or that data cannot have."""

import pytest
from helpers import tiny_study
from helpers.rich_study import assert_named, mistakes_of, rich, said_of

from kdpipe.config import load
from kdpipe.config.count_runs import RunCounter
from kdpipe.config.partial_config import PartialConfig


@pytest.mark.parametrize(
    ("path", "value", "begins", "says"),
    [
        ("splits", [0, 2, 0], "splits: ", "0 is listed twice"),
        ("splits", [], "splits: ", "expected at least 1 entry"),
        ("splits", ["a"], "splits[0]: ", "valid integer"),
        ("splits", [-1], "splits[0]: ", "greater than or equal to 0"),
        ("splts", [0, 1], "splts: ", "did you mean splits?"),
    ],
)
def test_each_mistake_is_named(path, value, begins, says):
    assert_named(said_of(path, value), begins, says)


def test_splits_between_which_nothing_differs_are_refused():
    whole = {"train_size": None, "validation": 0}
    content = tiny_study.study(splits=[0, 1], data=whole)
    assert_named(mistakes_of(content), "splits: [0, 1]: ", "they would not differ")
    for draws in ({"train_size": 64}, {"validation": 40}, {"label_noise": 0.1}):
        load.validate_study(tiny_study.study(splits=[0, 1], data=whole | draws), "f")
    load.validate_study(tiny_study.study(splits=[4], data=whole), "f")


def test_images_that_stream_have_one_split(tmp_path):
    data = {"name": "imagenet", "path": str(tmp_path), "mean": [0.5] * 3, "std": [0.2] * 3}
    content = tiny_study.study(splits=[0, 1]) | {
        "data": data | {"train_size": 1000, "validation": 40}
    }
    lines = [line for line in mistakes_of(content) if line.startswith("splits")]
    assert_named(lines, "splits: [0, 1]: ", "have a single split: remove splits")


def test_a_study_is_counted_with_its_splits():
    one, three = (
        RunCounter(PartialConfig(rich(splits=splits), "f")).count_runs()
        for splits in ([5], [0, 1, 7])
    )
    assert three == 3 * one > 0
