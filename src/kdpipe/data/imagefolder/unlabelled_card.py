"""Cards of unlabelled images, from which a study that uses some is planned.

`kdpipe data STUDY` writes the card beside the folder or .npz, as PATH.unlabelled.<data set>.json,
since the images are brought to the shape of the images of the data set and compared with those of
its test set. This module does not import numpy: a study is planned from cards alone.
"""

import dataclasses
import functools
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pydantic import ConfigDict, TypeAdapter, ValidationError, with_config

from kdpipe import hashing
from kdpipe.data import cards
from kdpipe.data.cards import Count, CountOrZero, Digest, describe_card_error, read_card_json
from kdpipe.data.config import REST, DataConfig
from kdpipe.errors import DataError
from kdpipe.pydantic_base import StrictModel
from kdpipe.text import format_write_command

CARD_KIND = "unlabelled"  # the key `kind` of such a card, also of the prepared images


@with_config(ConfigDict(strict=True))
@dataclass(frozen=True)
class UnlabelledCard:
    """The count, shape and digest of unlabelled images for one data set.

    Attributes
    ----------
    source : str
        The name of their folder or file.
    data : str
        The name of the data set.
    of : str
        The digest of the card of the data set.
    shape : tuple of int
        Channels, height and width of an image.
    count : int
        The number of images.
    sha256 : str
        The digest of the array or, where the images stream, of the file index.
    stream : bool
        Whether the images stay in their files.
    twins : int
        How many are also training images of the data set, which validation is held out of.
    held : dict
        The draw of validation images that has none of these (`ValidationDraw`).
    """

    source: str
    data: str
    of: str
    shape: tuple[Count, Count, Count]
    count: Count
    sha256: Digest
    stream: bool
    twins: CountOrZero
    held: dict

    @property
    def folder(self) -> str:
        """Return the name of the folder of the prepared images, below `results/data`."""
        return format_unlabelled_folder(self.sha256)


class ValidationDraw(StrictModel):
    """What determines which training images are held out as validation: `UnlabelledCard.held`."""

    validation: int
    draw: str | None = None
    split_seed: int | None = None
    splits: list[int]


def format_unlabelled_folder(sha256: str) -> str:
    """Return the name of the folder of the prepared images of a digest."""
    return f"{CARD_KIND}-{sha256[:12]}"


def has_unlabelled_images(data: DataConfig) -> bool:
    """Return whether a study has unlabelled images that are no part of its data set."""
    return data.unlabelled not in (None, REST)


def get_unlabelled_card_path(path: Path | str, data: str) -> Path:
    """Return where the card of the images in `path` lies, for the data set of that name."""
    return Path(f"{os.path.normpath(path)}.{CARD_KIND}.{data}.json")


def load_unlabelled_card(
    data: DataConfig, splits: Iterable[int], study: str = "STUDY"
) -> UnlabelledCard:
    """Return the card of the images that `data.unlabelled` names by a path.

    Parameters
    ----------
    data : DataConfig
        The section `data` of the study.
    splits : iterable of int
        The splits of the study, by number.
    study : str
        The name of the study file in messages.

    Raises
    ------
    DataError
        If there is no card, or it was made for another data set or another draw of validation.
    """
    path, hint = str(data.unlabelled), f"run once: {format_write_command(study)}"
    card_file, dataset_card = (
        get_unlabelled_card_path(path, data.name),
        cards.load_section_card(data),
    )
    if not os.path.exists(card_file):
        missing = "" if os.path.exists(path) else f", and there is no folder or .npz file {path}"
        raise DataError(
            f"the images have no card yet at {card_file}{missing}: {hint} (rest: the training "
            "images that train_size leaves out)"
        )
    card = read_unlabelled_card(card_file)
    if (card.of, card.data, card.stream) != (
        dataset_card.sha256,
        data.name,
        dataset_card.is_streamed,
    ):
        raise DataError(
            f"{card_file} was created for other images of {card.data}, or for other settings: "
            f"{hint}"
        )
    if (
        card.twins
        and not dataset_card.validation
        and not _covers_validation(card.held, data, splits)
    ):
        raise DataError(
            f"{card.twins:,} of the images are also training images of {data.name}, and the "
            f"validation draw has changed since {card_file} was created, so that validation may "
            f"contain some of them: {hint}"
        )
    return card


def read_unlabelled_card(path: Path) -> UnlabelledCard:
    """Read the card of unlabelled images from its file.

    Raises
    ------
    DataError
        If the file is missing, is not such a card, or was changed after it was made.
    """
    try:
        content, data = read_card_json(path)
        if content.get("kind") != CARD_KIND or content != hashing.add_checksum(content):
            raise ValueError("it is another kind of file, or was modified after its creation")
        card = _card_adapter().validate_json(data)
        try:
            ValidationDraw.model_validate(card.held)
        except ValidationError as error:
            raise ValueError(f"held.{describe_card_error(error)}") from None
        return card
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(
            f"{path} is missing or not a card of unlabelled images ({describe_card_error(error)}): "
            f"remove it, and recreate it with {format_write_command('STUDY')}"
        ) from None


def seal_unlabelled_card(card: UnlabelledCard) -> dict:
    """Return the content of the file of a card, with its checksum."""
    return hashing.add_checksum({"kind": CARD_KIND, **dataclasses.asdict(card)})


def build_validation_draw(data: DataConfig, splits: Iterable[int]) -> dict:
    """Return the `ValidationDraw` of a study, as a card has it."""
    keys = {key: getattr(data, key) for key in ("validation", "draw", "split_seed")}
    return keys | {"splits": sorted(set(splits))}


def _covers_validation(draw: dict, data: DataConfig, splits: Iterable[int]) -> bool:
    """Return whether a draw covers the validation of a study; a smaller one is its beginning."""
    study_draw = build_validation_draw(data, splits)
    same = all(study_draw[key] == draw.get(key) for key in ("draw", "split_seed"))
    smaller = study_draw["validation"] <= draw.get("validation", 0)
    return same and smaller and set(study_draw["splits"]) <= set(draw.get("splits", ()))


@functools.cache
def _card_adapter() -> TypeAdapter[UnlabelledCard]:
    """Return the validator of cards, which is built when the first card is read."""
    return TypeAdapter(UnlabelledCard)
