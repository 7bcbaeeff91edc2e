"""Ensembles: their networks, stops and references."""

import pytest
from helpers.rich_study import assert_named, said_of


@pytest.mark.parametrize(
    ("path", "value", "begins", "says"),
    [
        (
            "ensembles.three.networks",
            ["wrn10-1"] * 2,
            "ensembles.three.networks: ",
            "is listed twice",
        ),
        ("ensembles.three.networks", ["wrn"], "ensembles.three.networks: ", "no network 'wrn'"),
        ("ensembles.line.block", "agains", "ensembles.line.block: ", "did you mean again?"),
        ("ensembles.equal.operations_of", "shot", "ensembles.equal.operations_of: ", "mean shots?"),
        (
            "ensembles.shots.stops",
            ["checkpoint 11"],
            "ensembles.shots.stops: ",
            "after the last epoch",
        ),
    ],
)
def test_each_mistake_is_named(path, value, begins, says):
    assert_named(said_of(path, value), begins, says)
