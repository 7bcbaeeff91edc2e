"""The grammar: strict, frozen, and described to editors by a generated schema."""

import json
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
from pydantic import ValidationError

from kdpipe.config import load
from kdpipe.config.schema import BlockConfig, Study
from kdpipe.losses.config import Method
from kdpipe.runs.recipe import Recipe

SCHEMA = Path(__file__).parents[3] / "workflow" / "schemas" / "study.schema.json"


def test_the_schema_is_in_step():
    """If this fails: python -m kdpipe schema > workflow/schemas/study.schema.json"""
    process = subprocess.run(
        [sys.executable, "-m", "kdpipe", "schema"], capture_output=True, text=True, check=True
    )
    assert SCHEMA.read_text() == process.stdout, test_the_schema_is_in_step.__doc__


def test_the_schema_describes_every_key():
    schema = json.loads(SCHEMA.read_text())
    parts = {"Study": schema, **schema["$defs"]}
    keys = {f"{part}.{key}": value for part in parts for key, value in properties(parts[part])}
    assert len(keys) > 50
    assert [key for key, value in keys.items() if len(value.get("description", "")) < 5] == []


def properties(part):
    return part.get("properties", {}).items()


def test_the_schema_refuses_and_accepts_what_the_model_does(content):
    schema = json.loads(SCHEMA.read_text())
    jsonschema.validate(content, schema)
    content["recipe"]["epoch"] = 3
    with pytest.raises(jsonschema.ValidationError, match="epoch"):
        jsonschema.validate(content, schema)


def test_defaults_are_those_of_the_paper():
    """0.1 x CE + 0.9 x KD at T = 4; SGD with momentum 0.9, decay 5e-4, drops by 0.2."""
    method, recipe = Method(), Recipe(epochs=200, batch_size=128, lr=0.1)
    assert (method.ce_weight, method.kd_weight, method.temperature) == (0.1, 0.9, 4)
    assert method.stop_epoch is None
    assert (recipe.momentum, recipe.weight_decay, recipe.drop_factor) == (0.9, 0.0005, 0.2)
    assert (recipe.label_smoothing, recipe.threads, recipe.drop_epochs) == (0, 1, [])


def test_a_study_is_frozen(content):
    study = load.validate_study(content, "f")
    for part, key in [(study, "seeds"), (study.recipe, "lr"), (study.experiments[0], "name")]:
        with pytest.raises(ValidationError, match="frozen"):
            setattr(part, key, None)


def test_whole_numbers_do_for_fractions_and_mean_the_same(content):
    content["methods"]["kd"] = {"temperature": 4}
    other = Study.model_validate(content)
    content["methods"]["kd"] = {"temperature": 4.0}
    assert other == Study.model_validate(content)
    assert repr(other.methods["kd"].temperature) == "4.0"


@pytest.mark.parametrize(
    ("keys", "steps"),
    [
        ({}, 1),
        ({"generations": 3}, 3),
        ({"via": ["wrn10-1"]}, 2),
        ({"via": ["wrn16-1", "wrn10-1", "wrn16-1"], "generations": 2}, 5),
    ],
)
def test_steps_of_a_block(keys, steps):
    block = {"name": "b", "teachers": ["self"], "students": ["wrn10-1"], "methods": ["kd"]}
    assert BlockConfig(**block, **keys).steps == steps


def test_a_recipe_for_one_network_changes_just_what_it_says(content):
    content["network_recipes"] = {"wrn16-1": {"lr": 0.01, "epochs": 8}}
    study = load.validate_study(content, "f")
    assert study.get_recipe("wrn10-0.5") == study.recipe
    actual = study.get_recipe("wrn16-1")
    assert (actual.lr, actual.epochs) == (0.01, 8)
    assert actual.model_copy(update={"lr": 0.05, "epochs": 2}) == study.recipe
