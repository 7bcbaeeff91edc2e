"""Loss terms that compare images or classes: every batch has enough of them, the last too."""

import contextlib
from collections.abc import Iterator

from pydantic import ValidationError

from kdpipe.config import partial_config
from kdpipe.config.partial_config import PartialConfig
from kdpipe.config.rule import Rule
from kdpipe.config.schema import BlockConfig
from kdpipe.errors import KdpipeError
from kdpipe.json_types import is_object
from kdpipe.losses import method as methods
from kdpipe.losses.base import LossTerm, Shapes
from kdpipe.runs.recipe import Recipe


def _check_term_batches(config: PartialConfig) -> Iterator[str]:
    """Check the terms of each method against the batches of the networks that use it."""
    if config.card is None:
        return
    if config.card.classes < 2:
        yield from _check_one_class(config)
    for name, networks in list_networks_by_method(config).items():
        method = config.methods.get(name)
        for key, term in methods.load_terms().items():
            if getattr(method, f"{key}_weight", 0):
                for network, train_size in networks:
                    shapes = _get_group_shapes(config, network)
                    if getattr(method, "student_modules", None) is not None:
                        shapes = [(1, 1, 1)]  # the worst case: their shapes are not known here
                    yield from _check_last_batch(
                        config, f"methods.{name}.{key}_weight", term, network, train_size, shapes
                    )


def _check_one_class(config: PartialConfig) -> Iterator[str]:
    """Check that no method compares classes if the data have only one."""
    for name, method in config.methods.items():
        titles = {
            f"{key}_weight": term.title
            for key, term in methods.load_terms().items()
            if term.classes > 1 and getattr(method, f"{key}_weight", 0)
        }
        titles |= {"standardise": "standardizing logits"} if method.standardise else {}
        for key, title in titles.items():
            yield f"methods.{name}.{key}: {title} needs at least 2 classes, and the data have one"


def list_networks_by_method(
    config: PartialConfig,
) -> dict[str, dict[tuple[str, int | None], None]]:
    """Return, for each method, the networks that use it in any experiment.

    Each stands there with the size of its training set; None: the study's.
    """
    networks: dict[str, dict[tuple[str, int | None], None]] = {}
    for block in config.blocks.values():
        if {"students", "via"} & partial_config.invalid_keys(block):
            continue
        for method in block.methods:
            names = [method] if isinstance(method, str) else method
            for name, network in _iter_steps(block, names):
                keys = [(network, size) for size in block.train_size or [None]]
                networks.setdefault(name, {}).update(dict.fromkeys(keys))
    return networks


def _iter_steps(block: BlockConfig, names: list[str]) -> Iterator[tuple[str, str]]:
    """Yield the method and the network of each step of a block.

    The last of `names` is used for the remaining steps, and for the direct students that a chain is
    compared with.
    """
    for student in block.students:
        path = [*(block.via or []), *[student] * len(names)]
        for index, network in enumerate(path if names else ()):
            yield names[min(index, len(names) - 1)], network


def _check_last_batch(
    config: PartialConfig,
    location: str,
    term: LossTerm,
    network: str,
    train_size: int | None,
    shapes: Shapes,
) -> Iterator[str]:
    """Check that the last batch of an epoch has enough images for a term."""
    data, recipe = config.data_section.data, get_valid_recipe(config, network)
    assert config.card is not None
    if (
        data is None
        or recipe is None
        or {"train_size", "validation"} & partial_config.invalid_keys(data)
    ):
        return
    size = train_size or data.train_size or config.card.train - data.validation
    last_size = size % recipe.batch_size
    learned_needs = term.min_batch_size(shapes)
    needed = max(term.images, learned_needs)
    if 0 < last_size < needed:
        reason = "compares the images of a batch"
        if learned_needs > term.images:
            reason = "has batch normalization of 1 x 1 features"
        yield (
            f"{location}: {term.title} {reason} and needs {needed}; the last of the batches of "
            f"{recipe.batch_size} of {size:,} ({network}) has {last_size}: change "
            "recipe.batch_size or data.train_size"
        )


def _get_group_shapes(config: PartialConfig, network: str) -> Shapes:
    """Return the shapes of the group outputs of a network; none if they are unknown."""
    with contextlib.suppress(KdpipeError):  # another rule reports a missing network
        return config.networks.stage_shapes(network) or []
    return []


def get_valid_recipe(config: PartialConfig, network: str) -> Recipe | None:
    """Return the recipe of a network; None if it is invalid."""
    change = dict(partial_config.iter_items(config.content.get("network_recipes"))).get(network, {})
    with contextlib.suppress(ValidationError):
        if is_object(change):
            return Recipe.model_validate(config.merge_recipe(change))
    return None


RULE = Rule(85, _check_term_batches)
