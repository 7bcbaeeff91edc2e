"""A data set: it has a card, enough images, and keys that fit its kind of images."""

import math
import os
from collections.abc import Iterator

from kdpipe.config import partial_config
from kdpipe.config.partial_config import DataSection, PartialConfig
from kdpipe.config.rule import Rule
from kdpipe.data import cards, views
from kdpipe.data.config import REST, DataConfig
from kdpipe.json_types import is_object
from kdpipe.runs.recipe import MIX_KEYS
from kdpipe.text import did_you_mean, format_value


def _check_data(config: PartialConfig) -> Iterator[str]:
    """Check the study's own images."""
    yield from check_data_section(
        "data", config.data_section, config.content.get("teacher_outputs"), _mixes_images(config)
    )
    data = config.data_section.data
    if config.data_section.card is None and (missing := _list_missing_files(config)):
        yield f"also not there, as of a copied study: {', '.join(missing)}"
    if config.content.get("reading") == "best" and data is not None and data.validation == 0:
        yield (
            "reading: best is the best epoch on validation, and data.validation is 0: hold out "
            "validation images, or write reading: last"
        )


def _list_missing_files(config: PartialConfig) -> list[str]:
    """Return the other paths of a study that do not exist, if its images do not either."""
    data = config.data_section.data
    if data is None or data.path is None or os.path.exists(data.path):
        return []
    content = config.content
    paths = {"data.unlabelled": data.unlabelled, "code": content.get("code")}
    for key in ("pretrained", "starts"):
        for name, source in partial_config.iter_items(content.get(key)):
            paths[f"{key}.{name}.path"] = source.get("path") if is_object(source) else None
    for name, transfer in partial_config.iter_items(content.get("transfers")):
        section = transfer.get("data") if is_object(transfer) else None
        paths[f"transfers.{name}.data.path"] = section.get("path") if is_object(section) else None
    return [
        f"{key} {path}"
        for key, path in paths.items()
        if isinstance(path, str) and path != REST and not os.path.exists(path)
    ]


def _mixes_images(config: PartialConfig) -> bool:
    """Return whether the recipe of the study, or of one of its networks, mixes images."""
    changes = [
        value for _, value in partial_config.iter_items(config.content.get("network_recipes"))
    ]
    recipes = [config.content.get("recipe"), *changes]
    return any(is_object(each) and any(each.get(key) for key in MIX_KEYS) for each in recipes)


def check_data_section(
    location: str,
    section: DataSection,
    teacher_outputs: object = None,
    is_mixed: bool = False,
) -> Iterator[str]:
    """Yield the errors of a section `data`.

    Parameters
    ----------
    location : str
        The section as a dotted path.
    section : DataSection
    teacher_outputs : object
        The study's key of that name, if students are trained on these images.
    is_mixed : bool
        Whether networks are trained on mixtures of these images.

    Yields
    ------
    str
    """
    data, card = section.data, section.card
    if data is None or "name" in partial_config.invalid_keys(data):
        return
    if data.card is not None and (data.path is None or data.name in cards.list_datasets()):
        yield (f"{location}.card: only for custom data, with their own name and path")
    if data.card_options is not None and (data.path is None or data.name in cards.list_datasets()):
        yield (f"{location}.card_options: only for custom data, with their own name and path")
    if card is None:
        guess = "" if data.path else did_you_mean(data.name, cards.list_datasets())
        yield f"{location}.name: {section.card_error}{guess}"
        return
    for key, values in (("mean", data.mean), ("std", data.std)):
        if values is not None and len(values) != card.shape[0]:
            yield (
                f"{location}.{key}: {format_value(values)} for images of {card.shape[0]} "
                "channel(s): give one number per channel"
            )
    if card.validation and data.validation:
        yield (
            f"{location}.validation: {data.name} has a validation set of {card.validation:,} "
            "images, which is used: remove this key"
        )
        return
    needed = (data.train_size or 0) + data.validation
    if needed > card.train or data.validation >= card.train:
        yield (
            f"{location}: train_size {data.train_size} and validation {data.validation} together "
            f"exceed the {card.train:,} training images of {data.name}"
        )
    elif card.counts and data.draw == "equal":
        yield from _check_emptied_class(location, data, card)
    endless = [
        augmentation
        for augmentation in views.load_augmentations().values()
        if augmentation.count(data) == views.INFINITE
    ]
    endless_keys = [next(iter(augmentation.keys.model_fields)) for augmentation in endless]
    if endless_keys and data.views is None and teacher_outputs == "table":
        yield (
            "teacher_outputs: table caches a finite number of views per image, and "
            f"data.{endless_keys[0]} has no such limit: write live, remove one of the two keys, or "
            f"have a number of views drawn once ({location}.views: 16)"
        )
    if not is_mixed:  # of mixtures there are always more
        yield from _check_drawn(location, data)
    if data.augment is not None and card.shape[0] not in (1, 3):
        yield (
            f"{location}.augment: only for grayscale or color images, and those of {data.name} "
            f"have {card.shape[0]} channels: remove this key"
        )
    if card.is_streamed:
        yield from _check_streamed(location, data)
    elif data.crop is not None:
        yield (
            f"{location}.crop: only for streamed images, and those of {data.name} are in one "
            "array: use pad, flip and augment, or create a card of their folder with kdpipe data "
            "PATH --stream SIDE"
        )
    height, width = card.shape[1:]
    if data.padding == "reflect" and data.pad >= min(height, width):
        yield (
            f"{location}.pad: images of {height}x{width} are too small for reflection padding by "
            f"{data.pad} pixels"
        )


def _check_drawn(location: str, data: DataConfig) -> Iterator[str]:
    """Check that drawn views are fewer than there are."""
    if data.views is None:
        return
    counts = [each.count(data) for each in views.load_augmentations().values()]
    if views.INFINITE not in counts and data.views >= (total := math.prod(counts)):
        yield (
            f"{location}.views: {data.views} views are to be drawn of each image, and the "
            f"augmentations of this study give {total}: remove this key, or augment more"
        )


def _check_emptied_class(location: str, data: DataConfig, card: cards.DatasetCard) -> Iterator[str]:
    """Check that a class-balanced validation set leaves training images of each class."""
    fewest = min(card.counts)
    most = (fewest - 1) * card.classes
    if data.validation > most:
        index = card.counts.index(fewest)
        class_label = card.class_names[index] if card.class_names else f"class {index}"
        yield (
            f"{location}.validation: {data.validation} images, equally many of each of "
            f"{card.classes} classes, leave no training image of {class_label}, which has "
            f"{fewest}: use at most {most:,}, or write draw: share to draw in proportion to class "
            "sizes"
        )


def _check_streamed(location: str, data: DataConfig) -> Iterator[str]:
    """Check the keys that differ between streamed images and those in memory."""
    if data.path is None:
        yield (f"{location}.path: {data.name} cannot be downloaded: give the folder of its files")
    if data.pad:
        advice = "remove this key" if data.crop else "write crop: {} instead"
        yield f"{location}.pad: streamed images are not padded: {advice}"
    for key in ("mean", "std"):
        if key not in partial_config.invalid_keys(data) and getattr(data, key) is None:
            yield (
                f"{location}.{key}: missing required key; it is not measured for streamed images. "
                f"The values for ImageNet are {cards.IMAGENET_STATS_HINT}"
            )


RULE = Rule(30, _check_data)
