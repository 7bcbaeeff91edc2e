"""Keys of a recipe with a second spelling: the same runs, and one message where both are given."""

import json

import jsonschema
import pytest
from helpers.rich_study import mistakes_of

from kdpipe.config import load
from kdpipe.config.schema import build_json_schema
from kdpipe.plan import planner


def plan_with(content, key):
    content["recipe"][key] = "adamw"
    content["network_recipes"] = {"wrn10-0.5": {key: "sgd", "nesterov": True}}
    jsonschema.validate(content, build_json_schema())
    return planner.build_plan(load.validate_study(content, "f"))


def test_optimizer_is_optimiser_in_names_and_specs(content):
    plan, other = (
        plan_with(json.loads(json.dumps(content)), key) for key in ("optimiser", "optimizer")
    )
    assert list(plan.runs) == list(other.runs) and plan.study == other.study
    assert [run.spec for run in plan.runs.values()] == [run.spec for run in other.runs.values()]
    recipes = [run.spec.recipe for run in other.runs.values()]
    assert {recipe.optimiser for recipe in recipes} == {"adamw", "sgd"}
    assert not any("optimizer" in recipe for recipe in recipes)


def test_a_network_may_use_either_spelling_whatever_the_recipe_does(content):
    content["recipe"]["optimiser"] = "adamw"
    content["network_recipes"] = {"wrn10-0.5": {"optimizer": "sgd"}}
    study = load.validate_study(content, "f")
    assert study.get_recipe("wrn10-0.5").optimiser == "sgd"
    assert study.network_recipes == {"wrn10-0.5": {"optimiser": "sgd"}}


def test_the_content_that_is_validated_is_left_as_it_is(content):
    content["recipe"]["optimizer"] = "adamw"
    load.validate_study(content, "f")
    assert content["recipe"]["optimizer"] == "adamw"


@pytest.mark.parametrize("location", ["recipe", "network_recipes.wrn10-0.5"])
def test_both_spellings_are_one_mistake(content, location):
    both = {"optimizer": "adamw", "optimiser": "sgd"}
    content["recipe"] |= both if location == "recipe" else {}
    content["network_recipes"] = {"wrn10-0.5": {} if location == "recipe" else both}
    assert mistakes_of(content) == [
        f"{location}.optimizer: an alias of optimiser: give only one of the two"
    ]
    if location == "recipe":
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(content, build_json_schema())


@pytest.mark.parametrize("key", ["optimizer", "optimiser"])
def test_a_wrong_value_is_refused_under_the_spelling_of_the_user(content, key):
    content["recipe"][key] = "adam"
    content["network_recipes"] = {"wrn10-0.5": {key: "lion"}}
    expected = "input should be 'sgd' or 'adamw'"
    assert mistakes_of(content) == [
        f"recipe.{key}: 'adam': {expected}",
        f"network_recipes.wrn10-0.5.{key}: 'lion': {expected}",
    ]
