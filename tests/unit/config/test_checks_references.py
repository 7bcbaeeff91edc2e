"""Tables and claims, and what they read."""

import pytest
from helpers.rich_study import assert_named, said_of


@pytest.mark.parametrize(
    ("path", "value", "begins", "says"),
    [
        ("tables.eskds", ["size"], "tables: there is no table 'eskds'", "did you mean eskd?"),
        ("claims", {"c1": ["size"]}, "claims: there is no claim 'c1'", "(known: C1, C2, C3, "),
        ("claims", {"C1": ["agian"]}, "claims.C1: ", "no experiment or ensemble agian; did you "),
        (
            "tables.eskd",
            ["sizes"],
            "tables.eskd: ",
            "no experiment or ensemble sizes; did you mean size?",
        ),
    ],
)
def test_each_mistake_is_named(path, value, begins, says):
    assert_named(said_of(path, value), begins, says)
