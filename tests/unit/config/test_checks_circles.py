"""Experiments and ensembles that need each other."""

import pytest
from helpers.rich_study import assert_named, mistakes_of, said_of

from kdpipe.config import load
from kdpipe.plan import planner

# Where one wrong value makes two lines: for each of two circles.
TWICE = ["again -> better"]


@pytest.mark.parametrize(
    ("path", "value", "begins", "says"),
    [
        (
            "experiments.1.teachers",
            ["again"],
            "circular dependency: ",
            "again -> again",
        ),
        (
            "experiments.1.teachers",
            ["better"],
            "circular dependency: ",
            "again -> better",
        ),
        (
            "experiments.1.teachers",
            ["line"],
            "circular dependency: ",
            "again -> line",
        ),
        ("ensembles.equal.operations_of", "equal", "circular dependency: ", "equal"),
    ],
)
def test_each_mistake_is_named(path, value, begins, says):
    assert_named(said_of(path, value), begins, says, 2 if says in TWICE else 1)


def chain_of_blocks(count):
    """Experiments of which each learns from the one before."""
    block = {"students": ["wrn10-1"], "methods": ["kd"]}
    return [{"name": "b0", "teachers": ["self"], **block}] + [
        {"name": f"b{i}", "teachers": [f"b{i - 1}"], **block} for i in range(1, count)
    ]


def test_experiments_may_lean_on_one_another_but_not_without_end(content):
    content["experiments"] = chain_of_blocks(50)
    plan = planner.build_plan(load.validate_study(content, "f"))
    assert len(plan.runs) == 51  # the scratch run and 50 generations
    content["experiments"] = chain_of_blocks(600)
    assert mistakes_of(content) == ["b50 is at the end of a chain of more than 50 dependencies"]
