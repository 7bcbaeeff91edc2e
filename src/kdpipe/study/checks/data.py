"""A data set: it has a card, and there are images enough, of the kind that its keys are for."""

from collections.abc import Iterator

from kdpipe.data import cards, views
from kdpipe.data.keys import Data
from kdpipe.study import salvage
from kdpipe.study.check import Check
from kdpipe.study.salvage import Images
from kdpipe.study.sound import Sound
from kdpipe.wording import nearest, shown


def _data(sound: Sound) -> Iterator[str]:
    yield from of_images("data", sound.images, sound.content.get("teacher_outputs"))
    data = sound.images.data
    if sound.content.get("reading") == "best" and data is not None and data.validation == 0:
        yield (
            "reading: best is the best epoch on validation, and data.validation is 0: hold images "
            "out, or write reading: last"
        )


def of_images(where: str, images: Images, teacher_outputs: object = None) -> Iterator[str]:
    """The mistakes of a section `data`, which stands at `where`.

    `teacher_outputs` is what the study says of those who learn from these images, if any do.
    """
    data, card = images.data, images.card
    if data is None or data.name is None:
        return
    if data.card is not None and (data.path is None or data.name in cards.known()):
        yield (
            f"{where}.card: belongs to data of one's own, which has a path and a name of its own"
        )
    if card is None:
        guess = "" if data.path else nearest(data.name, cards.known())
        yield f"{where}.name: {images.cardless}{guess}"
        return
    for key, values in (("mean", data.mean), ("std", data.std)):
        if values is not None and len(values) != card.shape[0]:
            yield (
                f"{where}.{key}: {shown(values)} for images of {card.shape[0]} channel(s): "
                "give one number for each"
            )
    if card.validation and data.validation:
        yield (
            f"{where}.validation: {data.name} has {card.validation:,} validation images of its "
            "own, which are used: leave validation out"
        )
        return
    wanted = (data.train_size or 0) + data.validation
    if wanted > card.train or data.validation >= card.train:
        yield (
            f"{where}: train_size {data.train_size} and validation {data.validation} together "
            f"exceed the {card.train:,} training images of {data.name}"
        )
    elif card.counts and data.draw == "equal":
        yield from _emptied(where, data, card)
    endless = [digit for digit in views.digits().values() if digit.count(data) == views.ENDLESS]
    without_end = [next(iter(digit.keys.model_fields)) for digit in endless]
    if without_end and teacher_outputs == "table":
        yield (
            f"teacher_outputs: table holds every view of every image, and data.{without_end[0]} "
            "makes views without end: write live, or leave one of the two keys out"
        )
    if data.augment is not None and card.shape[0] not in (1, 3):
        yield (
            f"{where}.augment: its operations are for grey or coloured images, and those of "
            f"{data.name} have {card.shape[0]} channels: leave it out"
        )
    if card.streamed:
        yield from _streamed(where, data)
    elif data.crop is not None:
        yield (
            f"{where}.crop: is for images that stream from their files; those of "
            f"{data.name} are one array: take pad, flip and augment, or make a card of "
            "their folder with kdpipe data PATH --stream SIDE"
        )
    height, width = card.shape[1:]
    if data.padding == "reflect" and data.pad >= min(height, width):
        yield f"{where}.pad: {data.pad} pixels cannot be reflected in images of {height}x{width}"


def _emptied(where: str, data: Data, card: cards.Card) -> Iterator[str]:
    """A class of which validation takes every image, where it takes as many of each class."""
    fewest = min(card.counts)
    most = (fewest - 1) * card.classes
    if data.validation > most:
        index = card.counts.index(fewest)
        named = card.class_names[index] if card.class_names else f"class {index}"
        yield (
            f"{where}.validation: {data.validation} images, as many of each of {card.classes} "
            f"classes, leave none of {named} to train on, which has {fewest}: at most {most:,}, or "
            "write draw: share, and each class gives its share"
        )


def _streamed(where: str, data: Data) -> Iterator[str]:
    """What images in an array have, and images that stream have not."""
    if data.path is None:
        yield f"{where}.path: {data.name} is not downloaded: name the folder that holds its files"
    if data.pad:
        instead = "leave pad out" if data.crop else "write crop: {} instead"
        yield f"{where}.pad: images that stream are not padded: {instead}"
    for key in ("mean", "std"):
        if key not in salvage.lost(data) and getattr(data, key) is None:
            yield (
                f"{where}.{key}: this key is missing; it is not measured where images stream. "
                f"Of ImageNet they are {cards.IMAGENET}"
            )


CHECK = Check(30, _data)
