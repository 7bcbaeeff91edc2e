"""The last batch of an epoch: a network may be unable to learn from one image by itself."""

from collections.abc import Iterator

from kdpipe.study import salvage
from kdpipe.study.check import Check
from kdpipe.study.checks.batches import recipe_of
from kdpipe.study.sound import Sound


def _last_batch(sound: Sound) -> Iterator[str]:
    """Batch normalisation over 1 x 1 pixels of one image has one value, and no variance."""
    data, card = sound.images.data, sound.card
    if data is None or card is None or {"train_size", "validation"} & salvage.lost(data):
        return
    images = data.train_size or card.train - data.validation
    for network in _trained(sound):
        recipe = recipe_of(sound, network)
        if recipe is None or network not in sound.networks:
            continue
        fewest = sound.networks.fewest(network)
        left = images % recipe.batch_size or recipe.batch_size
        if 0 < left < fewest:
            yield (
                f"recipe.batch_size: of {images:,} images in batches of {recipe.batch_size} the "
                f"last has {left}, and {network} learns from {fewest} or more (it normalises over "
                f"a batch what is 1 x 1): {_instead(images, recipe.batch_size, fewest)}"
            )


def _trained(sound: Sound) -> dict[str, None]:
    """The networks that experiments and ensembles train."""
    found: dict[str, None] = {}
    for block in sound.blocks.values():
        names = [*block.teachers, *(block.via or []), *block.students]
        found |= dict.fromkeys(names)
    for ensemble in sound.ensembles.values():
        found |= dict.fromkeys(ensemble.networks or [])
    return {name: None for name in found if name not in sound.defined["pretrained"]}


def _instead(images: int, batch: int, fewest: int) -> str:
    """The batch sizes next to the one asked for, below and above, that leave enough."""
    if images < fewest:
        return f"give data.train_size at least {fewest}"
    fit = [
        next((size for size in sizes if (images % size or size) >= fewest), None)
        for sizes in (range(batch - 1, 1, -1), range(batch + 1, images + 1))
    ]
    sizes = " or ".join(str(size) for size in fit if size)
    return f"{sizes} fit, or change data.train_size" if sizes else "change data.train_size"


CHECK = Check(86, _last_batch)
