"""Settings for single networks: recipe keys, and checkpoints to keep."""

from collections.abc import Iterator

from pydantic import ValidationError

from kdpipe.config import partial_config
from kdpipe.config.partial_config import PartialConfig, explain_errors
from kdpipe.config.rule import Rule
from kdpipe.json_types import is_object
from kdpipe.runs.recipe import Recipe


def _check_recipes(config: PartialConfig) -> Iterator[str]:
    """Check the sections that are keyed by network."""
    for network, change in partial_config.iter_items(config.content.get("network_recipes")):
        location = f"network_recipes.{network}"
        yield from config.check_network(location, network)
        if is_object(change):
            recipe = config.merge_recipe(change)
            try:
                Recipe.model_validate(recipe)
            except ValidationError as error:
                yield from explain_errors(error, recipe, Recipe, location)
    for network, texts in partial_config.iter_items(config.content.get("keep_checkpoints")):
        location = f"keep_checkpoints.{network}"
        yield from config.check_network(location, network)
        for text in partial_config.keep_valid_stops(texts):
            if text.startswith("schedule"):
                yield f"{location}: {text} is a separate run; write checkpoint E or every K"
            else:
                yield from config.check_stop(location, text, network)


RULE = Rule(40, _check_recipes)
