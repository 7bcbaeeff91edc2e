"""Unlabelled images: they exist, a method uses them, and its terms need no labels."""

from collections.abc import Iterator

from kdpipe.config import partial_config
from kdpipe.config.partial_config import PartialConfig
from kdpipe.config.rule import Rule
from kdpipe.config.rules.term_batch_size import get_valid_recipe, list_networks_by_method
from kdpipe.data.config import DataConfig
from kdpipe.data.imagefolder import unlabelled_card as unlabelled
from kdpipe.errors import KdpipeError
from kdpipe.losses import method as methods
from kdpipe.losses.custom.card import TermCard
from kdpipe.text import join_names


def _check_unlabelled(config: PartialConfig) -> Iterator[str]:
    """Check `data.unlabelled` and the methods that use it."""
    data = config.data_section.data
    if data is None or "unlabelled" in partial_config.invalid_keys(data):
        return
    batch_counts = {
        name: method.unlabelled
        for name, method in config.methods.items()
        if "unlabelled" not in partial_config.invalid_keys(method) and method.unlabelled
    }
    if data.unlabelled is None:
        for name in batch_counts:
            yield (
                f"methods.{name}.unlabelled: the data have no unlabelled images: set "
                "data.unlabelled (rest: the training images that train_size leaves out; or the "
                "path of a folder or a .npz)"
            )
        return
    is_unknown = any(
        "unlabelled" in partial_config.invalid_keys(method) for method in config.methods.values()
    )
    if not batch_counts and not is_unknown and not config.is_incomplete["method"]:
        yield (
            f"data.unlabelled: {data.unlabelled}: no method uses them: set "
            "methods.NAME.unlabelled, their number per batch, or remove data.unlabelled"
        )
    if unlabelled.has_unlabelled_images(data):
        yield from _check_custom_images(config, data, batch_counts)
    elif config.card is not None and not {"train_size", "validation"} & partial_config.invalid_keys(
        data
    ):
        yield from _check_leftover_images(config, batch_counts)
    for name in batch_counts:
        yield from _check_label_use(config, name)
    yield from _check_shards(config, batch_counts)


def _check_custom_images(
    config: PartialConfig, data: DataConfig, batch_counts: dict[str, int]
) -> Iterator[str]:
    """Check that images in a folder or .npz have a card that belongs to this study."""
    if config.card is None or not config.require_cards:
        return
    has_unknown_splits = {"validation", "split_seed", "draw"} & partial_config.invalid_keys(data)
    try:
        splits = [split for split in config.splits if type(split) is int]
        card = unlabelled.load_unlabelled_card(
            data, [] if has_unknown_splits else splits, config.source
        )
    except KdpipeError as error:
        yield f"data.unlabelled: {error}"
        return
    yield from _check_batch_counts(batch_counts, card.count)


def _check_batch_counts(batch_counts: dict[str, int], available: int) -> Iterator[str]:
    """Check that a batch does not have more images than are available."""
    for name, size in batch_counts.items():
        if size > available:
            yield (
                f"methods.{name}.unlabelled: {size:,} per batch, but there are only {available:,}: "
                f"use at most {available:,}"
            )


def _check_leftover_images(config: PartialConfig, batch_counts: dict[str, int]) -> Iterator[str]:
    """Check that `train_size` leaves enough training images."""
    data, card = config.data_section.data, config.card
    assert data is not None and card is not None
    available = card.train - data.validation - (data.train_size or card.train)
    if available < 1 and (data.train_size or 0) + data.validation <= card.train:
        yield (
            f"data.unlabelled: rest: none of the {card.train:,} training images of {data.name} is "
            "left over: reduce data.train_size"
        )
        return
    if available > 0:
        yield from _check_batch_counts(batch_counts, available)


def _check_shards(config: PartialConfig, batch_counts: dict[str, int]) -> Iterator[str]:
    """Check that each part of a batch that is cut gets an unlabelled image."""
    for name, networks in list_networks_by_method(config).items():
        recipes = {network: get_valid_recipe(config, network) for network, _ in networks}
        for network, recipe in recipes.items():
            if recipe is not None and 0 < batch_counts.get(name, 0) < recipe.shards:
                yield (
                    f"methods.{name}.unlabelled: {batch_counts[name]} per batch, but "
                    f"recipe.shards: {recipe.shards} ({network}) cuts each batch into more parts: "
                    f"use at least {recipe.shards}, or fewer shards"
                )


def _check_label_use(config: PartialConfig, name: str) -> Iterator[str]:
    """Check that no term of a method uses labels, which these images lack."""
    method = config.methods[name]
    label_free_titles = [
        other_term.title for other_term in methods.load_terms().values() if not other_term.labelled
    ]
    for key, term in methods.load_terms().items():
        if term.labelled and getattr(method, f"{key}_weight", 0):
            yield (
                f"methods.{name}.{key}_weight: {term.title} uses the label of each image, and "
                "unlabelled images have none: remove unlabelled, or use other terms "
                f"({join_names(label_free_titles)})"
            )
    card = config.term_cards.get(name)
    if isinstance(card, TermCard) and card.labelled:
        yield (
            f"methods.{name}.term: {card.title} uses the label of each image, and unlabelled "
            "images have none: remove unlabelled; if it uses no labels, set labelled=False in its "
            "code and run: kdpipe check STUDY --write"
        )


RULE = Rule(87, _check_unlabelled)
