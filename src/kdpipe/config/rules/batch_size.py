"""The last batch of an epoch: some networks cannot be trained on a single image."""

import itertools
from collections.abc import Iterator

from kdpipe.config import partial_config
from kdpipe.config.partial_config import PartialConfig
from kdpipe.config.rule import Rule
from kdpipe.config.rules.term_batch_size import get_valid_recipe


def _check_last_batch(config: PartialConfig) -> Iterator[str]:
    """Check that the last batch has enough images for each network.

    Batch normalization over 1 x 1 pixels of one image has a single value, and no variance.
    """
    data, card = config.data_section.data, config.card
    if (
        data is None
        or card is None
        or {"train_size", "validation"} & partial_config.invalid_keys(data)
    ):
        return
    default_size = data.train_size or card.train - data.validation
    for network, size in _trained_networks(config):
        images, recipe = size or default_size, get_valid_recipe(config, network)
        if recipe is None or network not in config.networks:
            continue
        minimum = config.networks.min_batch_size(network)
        last_size = images % recipe.batch_size or recipe.batch_size
        if 0 < last_size < minimum:
            yield (
                f"recipe.batch_size: the last of the batches of {recipe.batch_size} of {images:,} "
                f"images has {last_size}, and {network} needs at least {minimum} (it has batch "
                "normalization of 1 x 1 features): "
                f"{_suggest_batch_sizes(images, recipe.batch_size, minimum)}"
            )


def _trained_networks(config: PartialConfig) -> dict[tuple[str, int | None], None]:
    """Return the networks that experiments and ensembles train, in order.

    Each stands there with the size of its training set; None: the study's.
    """
    networks: dict[tuple[str, int | None], None] = {}
    for block in config.blocks.values():
        names = [*block.teachers, *(block.via or []), *block.students]
        networks |= dict.fromkeys(itertools.product(names, block.train_size or [None]))
        if block.teacher_images == "all":
            networks |= dict.fromkeys((name, None) for name in block.teachers)
    for ensemble in config.ensembles.values():
        networks |= dict.fromkeys((name, None) for name in ensemble.networks or [])
    return {key: None for key in networks if key[0] not in config.defined_names["pretrained"]}


def _suggest_batch_sizes(images: int, batch: int, minimum: int) -> str:
    """Return advice: the nearest batch sizes, below and above, whose last batch is large enough."""
    if images < minimum:
        return f"set data.train_size to at least {minimum}"
    fitting_sizes = [
        next((size for size in sizes if (images % size or size) >= minimum), None)
        for sizes in (range(batch - 1, 1, -1), range(batch + 1, images + 1))
    ]
    sizes = " or ".join(str(size) for size in fitting_sizes if size)
    return f"{sizes} fit, or change data.train_size" if sizes else "change data.train_size"


RULE = Rule(86, _check_last_batch)
