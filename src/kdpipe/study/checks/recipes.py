"""What differs for one network: keys of its recipe, and checkpoints to keep of it."""

from collections.abc import Iterator

from pydantic import ValidationError

from kdpipe.learning.recipe import Recipe
from kdpipe.study import salvage
from kdpipe.study.check import Check
from kdpipe.study.mistakes import explain
from kdpipe.study.sound import Sound


def _recipes(sound: Sound) -> Iterator[str]:
    for network, change in salvage.items(sound.content.get("network_recipes")):
        where = f"network_recipes.{network}"
        yield from sound.follow_network(where, network)
        if isinstance(change, dict):
            recipe = sound.recipe_with(change)
            try:
                Recipe.model_validate(recipe)
            except ValidationError as error:
                yield from explain(error, recipe, Recipe, where)
    for network, texts in salvage.items(sound.content.get("keep_checkpoints")):
        where = f"keep_checkpoints.{network}"
        yield from sound.follow_network(where, network)
        for text in salvage.sound_stops(texts):
            if text.startswith("schedule"):
                yield f"{where}: {text} is a training of its own; write checkpoint E or every K"
            else:
                yield from sound.follow_stop(where, text, network)


CHECK = Check(40, _recipes)
