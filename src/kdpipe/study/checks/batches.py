"""Terms that compare images or classes: a batch, the last of an epoch too, must have enough."""

import contextlib
from collections.abc import Iterator

from pydantic import ValidationError

from kdpipe.errors import KdpipeError
from kdpipe.learning import method as methods
from kdpipe.learning.recipe import Recipe
from kdpipe.learning.term import Shapes, Term
from kdpipe.study import salvage
from kdpipe.study.blocks import Block
from kdpipe.study.check import Check
from kdpipe.study.sound import Sound


def _batches(sound: Sound) -> Iterator[str]:
    if sound.card is None:
        return
    if sound.card.classes < 2:
        yield from _one_class(sound)
    for name, networks in _learning(sound).items():
        method = sound.methods.get(name)
        for key, term in methods.terms().items():
            if getattr(method, f"{key}_weight", 0):
                for network in networks:
                    yield from _fewest(sound, f"methods.{name}.{key}_weight", term, network)


def _one_class(sound: Sound) -> Iterator[str]:
    """Of a data set of one class: what compares classes has nothing to compare."""
    for name, method in sound.methods.items():
        asked = {
            f"{key}_weight": term.title
            for key, term in methods.terms().items()
            if term.classes > 1 and getattr(method, f"{key}_weight", 0)
        }
        asked |= {"standardise": "standardising logits"} if method.standardise else {}
        for key, title in asked.items():
            yield f"methods.{name}.{key}: {title} needs 2 classes, and the data has one"


def _learning(sound: Sound) -> dict[str, dict[str, None]]:
    """By the method the networks that learn by it, in all experiments."""
    found: dict[str, dict[str, None]] = {}
    for block in sound.blocks.values():
        if {"students", "via"} & salvage.lost(block):
            continue
        for method in block.methods:
            names = [method] if isinstance(method, str) else method
            for name, network in _steps(block, names):
                found.setdefault(name, {})[network] = None
    return found


def _steps(block: Block, names: list[str]) -> Iterator[tuple[str, str]]:
    """A method for each step of a chain: the last of `names` serves for the rest, and for the
    direct students that the chain is compared with.
    """
    for student in block.students:
        path = [*(block.via or []), *[student] * len(names)]
        for place, network in enumerate(path if names else ()):
            yield names[min(place, len(names) - 1)], network


def _fewest(sound: Sound, where: str, term: Term, network: str) -> Iterator[str]:
    """The images of an epoch's last batch, which has what is left over."""
    data, recipe = sound.images.data, recipe_of(sound, network)
    assert sound.card is not None
    if data is None or recipe is None or {"train_size", "validation"} & salvage.lost(data):
        return
    size = data.train_size or sound.card.train - data.validation
    last = size % recipe.batch_size
    learnt = term.learns_from(_groups(sound, network))
    needed = max(term.images, learnt)
    if 0 < last < needed:
        why = "compares the images of a batch"
        if learnt > term.images:
            why = "normalises over a batch what is 1 x 1"
        yield (
            f"{where}: {term.title} {why} and needs {needed}; of "
            f"{size:,} in batches of {recipe.batch_size} ({network}) the last has {last}: change "
            "recipe.batch_size or data.train_size"
        )


def _groups(sound: Sound, network: str) -> Shapes:
    """Of its group outputs; none where they are not known."""
    with contextlib.suppress(KdpipeError):  # a network that does not exist is said elsewhere
        return sound.networks.group_shapes(network) or []
    return []


def recipe_of(sound: Sound, network: str) -> Recipe | None:
    """The recipe of a network, as far as it is sound."""
    change = dict(salvage.items(sound.content.get("network_recipes"))).get(network, {})
    with contextlib.suppress(ValidationError):
        if isinstance(change, dict):
            return Recipe.model_validate(sound.recipe_with(change))
    return None


CHECK = Check(85, _batches)
