"""Names that are taken or mean a network, and seeds that stand twice."""

import pytest
from helpers.rich_study import assert_named, said_of


@pytest.mark.parametrize(
    ("path", "value", "begins", "says"),
    [
        (
            "experiments.3.name",
            "size",
            "experiments[3].name: ",
            "already used by experiments[0].name",
        ),
        ("experiments.3.name", "three", "ensembles.three: ", "already used by experiments[3].name"),
        ("experiments.3.name", "self", "experiments[3].name: ", "self is the name of a network"),
        (
            "experiments.3.name",
            "wrn16-4",
            "experiments[3].name: ",
            "wrn16-4 is the name of a network",
        ),
        ("seeds", [0, 1, 0], "seeds: ", "0 is listed twice"),
        ("experiments.2.seeds", [7, 7], "experiments[2] (steps).seeds: ", "7 is listed twice"),
    ],
)
def test_each_mistake_is_named(path, value, begins, says):
    assert_named(said_of(path, value), begins, says)
