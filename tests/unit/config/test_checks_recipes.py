"""Recipes and checkpoints of single networks."""

import pytest
from helpers.rich_study import assert_named, said_of


@pytest.mark.parametrize(
    ("path", "value", "begins", "says"),
    [
        ("network_recipes.wrn16-2.epoch", 4, "network_recipes.wrn16-2.epoch: 4: ", "mean epochs?"),
        ("network_recipes.wrn16-2.epochs", 5, "network_recipes.wrn16-2: ", "the drop at 5 is not"),
        ("network_recipes.wrn16", {}, "network_recipes.wrn16: ", "nearest: wrn16-"),
        ("keep_checkpoints.wrn16", [], "keep_checkpoints.wrn16: ", "nearest: wrn16-"),
        (
            "keep_checkpoints.wrn16-1",
            ["checkpoint 11"],
            "keep_checkpoints.wrn16-1: ",
            "after the last epoch",
        ),
        (
            "keep_checkpoints.wrn16-1",
            ["schedule 1/2"],
            "keep_checkpoints.wrn16-1: ",
            "is a separate run",
        ),
        (
            "network_recipes.wrn16-2",
            {"epochs": 6, "annealing": "cosine", "drop_epochs": []},
            "experiments[0] (size).stops: schedule 2/5 ",
            "wrn16-2 has annealing: cosine; write schedule 5",
        ),
    ],
)
def test_each_mistake_is_named(path, value, begins, says):
    assert_named(said_of(path, value), begins, says)
