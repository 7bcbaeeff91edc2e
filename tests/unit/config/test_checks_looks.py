"""Looks that do not rise, that are not of the seeds, or that go with no splits; primary claims."""

import pytest
from helpers import tiny_study
from helpers.rich_study import assert_named, mistakes_of, said_of

from kdpipe.config import load
from kdpipe.plan import planner


def looking(**keys):
    """A tiny study of five seeds."""
    return tiny_study.study(**{"seeds": [0, 1, 2, 3, 4]} | keys)


@pytest.mark.parametrize(
    ("keys", "begins", "says"),
    [
        ({"looks": [4, 3, 5]}, "looks: [4, 3, 5]: ", "must increase"),
        ({"looks": [3, 3, 5]}, "looks: [3, 3, 5]: ", "must increase"),
        ({"looks": [2, 5]}, "looks: [2, 5]: ", "fewer than 3 seeds give no confidence interval"),
        ({"looks": [3, 4]}, "looks: [3, 4]: ", "at all 5 seeds"),
        ({"looks": [3, 8]}, "looks: [3, 8]: ", "at all 5 seeds"),
        ({"looks": []}, "looks: ", "at least 1 entry"),
        ({"looks": [3, 5], "look": 3}, "look: 3: ", "looks has 2 of them"),
        ({"look": 2}, "look: 2 without looks: ", "looks: [3, 5, 8]"),
        ({"looks": [3, 5], "look": 0}, "look: 0: ", "greater than or equal to 1"),
        ({"looks": [3, 5], "splits": [0, 1, 2]}, "looks: [3, 5]: ", "remove looks or splits"),
        (
            {"looks": [3, 5], "main": {"seeds": [1]}},
            "experiments[0] (main).seeds: ",
            "remove one of the two keys",
        ),
        ({"primary": ["C1", "C99"]}, "primary: ", "no claim 'C99'; did you mean C9?"),
        ({"primary": ["C1", "C1"]}, "primary: ", "C1 is listed twice"),
        ({"primary": ["C1", "C2", "C3", "C4", "C5", "C6"]}, "primary: ", "at most 5"),
        ({"pilots": ["a", "a"]}, "pilots: ", "a is listed twice"),
        ({"pilots": ["tiny"]}, "pilots: tiny ", "is this study"),
        ({"registration": "/nowhere.json"}, "registration: ", "create it with kdpipe register"),
    ],
)
def test_each_mistake_is_named(keys, begins, says):
    assert_named(mistakes_of(looking(**keys)), begins, says)


def test_a_misspelt_key_is_found():
    assert_named(said_of("lok", 2), "lok: ", "did you mean look?")


def test_only_the_seeds_of_the_look_that_is_due_are_planned():
    planned = {}
    for look in (1, 2, 3):
        content = looking(looks=[3, 4, 5], look=look, ensembles={"two": {"networks": ["wrn10-1"]}})
        plan = planner.build_plan(load.validate_study(content, "f"))
        planned[look] = set(plan.runs)
        assert {run.seed for run in plan.runs.values()} == set(range(look + 2))
        assert {row.ensemble.seed for row in plan.ensemble_rows} == set(range(look + 2))
    assert planned[1] < planned[2] < planned[3]
    everything = planner.build_plan(
        load.validate_study(looking(ensembles=content["ensembles"]), "f")
    )
    assert planned[3] == set(everything.runs)
