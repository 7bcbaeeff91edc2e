"""Dataset cards: what is known of a data set without having it.

A card gives the number of images, their shape, the number of classes, and a SHA-256 that
identifies the data. The cards of known data sets ship with the package, so that a fresh clone can
be planned at once; `kdpipe data` writes the card of a custom data set beside its images. The digest
is part of the identity of every run and is that of one of three things:

- the prepared arrays, wherever they could be made when the card was written;
- of a custom data set that streams from its files, the file index: path, size and label of each;
- where `files` is not empty, the list of source files with the MD5 sums that their authors or
  torchvision publish. The author of such a card did not have the data: `kdpipe prepare` verifies
  the sources, and records the digest of the resulting arrays beside them.

A known data set is a file in `datasets/`: its card, and how its published files are read. Neither
this module nor those files import numpy before images are read: a study is planned from cards
alone.
"""

import dataclasses
import functools
import json
import os
import shlex
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError, with_config

from kdpipe import hashing, registry
from kdpipe.data.config import DataConfig
from kdpipe.errors import DataError
from kdpipe.hashing import REVISIONS
from kdpipe.pydantic_base import SHA256_PATTERN, Share, StrictModel
from kdpipe.text import dotted_path, format_value

DATASETS_PACKAGE = "kdpipe.data.datasets"
MAX_ARRAY_BYTES = 8 * 10**9  # of the array of one part
MAX_CARD_BYTES = 2**24  # what is read of a card file: a device file may have no end
IMAGENET_STATS_HINT = (
    "mean: [0.485, 0.456, 0.406] and std: [0.229, 0.224, 0.225]"  # of torchvision's weights
)

Count = Annotated[int, Field(gt=0, lt=10**9)]
CountOrZero = Annotated[int, Field(ge=0, lt=10**9)]
Digest = Annotated[str, Field(pattern=SHA256_PATTERN)]  # the name of a folder is made of it


@with_config(ConfigDict(strict=True, allow_inf_nan=False))
@dataclass(frozen=True)
class DatasetCard:
    """The size, shape and digest of one data set.

    Attributes
    ----------
    name, title, source : str
        The name in a study, the name in prose, and where the data come from.
    shape : tuple of int
        Channels, height and width of an image.
    classes, train, test : int
        The number of classes, and of training and test images.
    sha256 : str
        The digest that identifies the data, 64 hexadecimal digits.
    files : dict of str to str
        The MD5 sum of each published file, of known data sets only.
    made : dict
        How the images are read: `BuildOptions` of a custom data set, or `stream` alone.
    validation : int
        The number of validation images that are a part of their own; 0 where validation is held
        out of train.
    class_names, counts, mean, std, scaled
        For information, and in no digest: the name and the number of training images of each class,
        mean and standard deviation of each channel of pixels in [0, 1], and how the images got
        their shape.
    """

    name: str
    title: str
    source: str
    shape: tuple[Count, Count, Count]
    classes: Count
    train: Count
    test: Count
    sha256: Digest
    files: dict[str, str] = field(default_factory=dict)
    made: dict = field(default_factory=dict)
    validation: CountOrZero = 0
    class_names: tuple[str, ...] = ()
    counts: tuple[Count, ...] = ()
    mean: tuple[Share, ...] = ()
    std: tuple[Share, ...] = ()
    scaled: str = ""

    @property
    def folder(self) -> str:
        """Return the name of the folder of the prepared images, below `results/data`."""
        return f"{self.name}-{self.sha256[:12]}"

    @property
    def is_streamed(self) -> bool:
        """Return whether the images stay in their files, and are not one array."""
        return self.made.get("stream") is not None

    def count_validation(self, held_out: int) -> int:
        """Return the number of validation images of a study that holds `held_out` out of train."""
        return self.validation or held_out

    def resize_to(self, side: int | None) -> "DatasetCard":
        """Return the card of the same images scaled to side x side, or as they are."""
        if side is None:
            return self
        return dataclasses.replace(self, shape=(self.shape[0], side, side))


class BuildOptions(StrictModel):
    """How the images of a custom data set are made into arrays: `DatasetCard.made`."""

    resize: Annotated[int, Field(ge=4, le=1024)] | None = None
    channels: Literal[1, 3] | None = None
    test_share: Annotated[float, Field(gt=0, lt=1)] | None = None
    val: Literal["validation", "test"] | None = None
    # Absent where they have no effect: as many of each class are held out as test, the folders of
    # the parts have the names of the parts, and the images do not stream.
    parts: (
        dict[Literal["train", "test", "val"], Annotated[str, Field(pattern="^[A-Za-z]+$")]] | None
    ) = None
    draw: Literal["share"] | None = None
    stream: Annotated[int, Field(ge=16, le=1024)] | None = None


REQUIRED_BUILD_OPTIONS = ("resize", "channels", "test_share", "val")


# --- known data sets


class Download(NamedTuple):
    """A published file, with the addresses to try in their order."""

    urls: list[str]
    name: str
    md5: str


@dataclass(frozen=True)
class KnownDataset:
    """A known data set, `DATASET` of a file in `datasets/`.

    The images either become one array (`read`), or stream from their files (`index_folder`).

    Attributes
    ----------
    card : DatasetCard
        The card of the data set.
    revision : int
        Raised by hand when what is read changes: the runs on this data set are then made again.
    files : tuple of str
        The names of the published files.
    read : callable or None
        Maps the content of the published files by name to the arrays `arrays.ARRAY_NAMES`. Raises
        ValueError if they are malformed.
    downloads : callable
        Returns the published files with their addresses.
    index_folder : callable or None
        Maps the card and a folder to the arrays `cache.INDEX_NAMES`. Raises DataError if the
        folder does not match the card.
    """

    card: DatasetCard
    revision: int
    files: tuple[str, ...] = ()
    read: Callable[[dict[str, bytes]], dict] | None = None
    downloads: Callable[[], list[Download]] = list
    index_folder: Callable[[DatasetCard, Path], dict] | None = None


def list_datasets() -> list[str]:
    """Return the names of the known data sets, without importing any of their files."""
    return sorted(name.replace("_", "-") for name in registry.list_names(DATASETS_PACKAGE))


def get_dataset(name: str) -> KnownDataset:
    """Return the known data set of that name."""
    return registry.load_object(DATASETS_PACKAGE, name.replace("-", "_"), "DATASET", KnownDataset)


def get_data_revision(name: str) -> int:
    """Return the revision of a known data set, or the one of all custom data sets."""
    return get_dataset(name).revision if name in list_datasets() else REVISIONS["own"]


def load_known_card(name: str) -> DatasetCard:
    """Return the card of a known data set.

    Raises
    ------
    DataError
        If there is no known data set of that name.
    """
    if name not in list_datasets():
        raise DataError(f"data set {name!r} has no card (known: {', '.join(list_datasets())})")
    return get_dataset(name).card


# --- the card of what a study names


def load_section_card(data: DataConfig) -> DatasetCard:
    """Return the card of the data set in the section `data` of a study; raise DataError if none."""
    return load_card(data.name, data.path, data.card, data.resize)


def load_card(
    name: str, path: str | None, card: str | None, resize: int | None = None
) -> DatasetCard:
    """Return the card of a known or custom data set.

    Parameters
    ----------
    name : str
        The name of the data set.
    path : str or None
        Where the images of a custom data set lie.
    card : str or None
        The card file of a custom data set; None: beside its images.
    resize : int or None
        The side that a study scales the images to.

    Returns
    -------
    DatasetCard
        The card, with the shape of the scaled images.

    Raises
    ------
    DataError
        If there is no such card, it is damaged, or it is that of another data set.
    """
    if name in list_datasets():
        return load_known_card(name).resize_to(resize)
    if path is None:
        raise DataError(
            f"data set {name!r} has no card (known: {', '.join(list_datasets())}); data of one's "
            "own is named with a `path`"
        )
    card_file = Path(card) if card else get_card_path(Path(path))
    if not os.path.exists(card_file):
        raise DataError(
            f"data set {name!r} has no card yet at {card_file}; type once: "
            f"{format_card_command(name, path, card)}"
        )
    dataset_card = read_card(card_file, path)
    if dataset_card.name != name:
        raise DataError(
            f"{card_file} is the card of {dataset_card.name!r}, and the study says {name!r}"
        )
    return dataset_card.resize_to(resize)


def get_card_path(path: Path) -> Path:
    """Return where the card of a custom data set lies: beside its folder or file."""
    return Path(f"{os.path.normpath(path)}.card.json")


def format_card_command(name: str, path: str, card: str | None, **options: object) -> str:
    """Return the shell command that makes the card of a custom data set."""
    argv: list[object] = ["kdpipe", "data", path, "--name", name]
    for key, value in {"card": card, **options}.items():
        argv += [f"--{key.replace('_', '-')}", value] if value is not None else []
    return shlex.join(map(str, argv))


def format_rebuild_command(
    card: DatasetCard, path: Path | str, card_file: Path | str | None, **changes: object
) -> str:
    """Return the shell command that makes the card of a custom data set again.

    Parameters
    ----------
    card : DatasetCard
        The present card.
    path : Path or str
        Where the images lie.
    card_file : Path, str or None
        Where the card lies; None: beside the images.
    **changes : object
        Options that differ from those of the present card.
    """
    other_path = (
        None
        if card_file is None or Path(card_file) == get_card_path(Path(path))
        else str(card_file)
    )
    build_keys = ("resize", "channels", "test_share", "stream")
    build_options = {key: card.made[key] for key in build_keys if key in card.made}
    if not card.source.endswith(".npz"):  # the arrays of a .npz tell what is validation
        build_options["val_is"] = card.made.get("val")
    options = build_options | changes
    return format_card_command(card.name, str(path), other_path, **options)


# --- card files


def read_card(path: Path, data_path: str | None = None) -> DatasetCard:
    """Read a dataset card from its file.

    Parameters
    ----------
    path : Path
        The card file.
    data_path : str or None
        Where the images of a custom data set lie whose card must have a checksum.

    Raises
    ------
    DataError
        If the file is missing, is not a card, or was changed after it was made.
    """
    try:
        content, data = read_card_json(path)
        if "seal" in content and content != hashing.add_checksum(content):
            raise ValueError("it was changed after it was made")
        card = _check_consistency(_card_adapter().validate_json(data))
        if data_path is not None and "seal" not in content:
            rebuild = format_rebuild_command(card, data_path, path)
            raise DataError(
                f"{path} has no seal, so nobody can tell whether it was changed by hand (kdpipe "
                f"before 0.3 wrote none); type once: {rebuild}"
            )
        return card
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(
            f"{path} is missing or is no card ({describe_card_error(error)}): make it with kdpipe "
            "data"
        ) from None


def seal_card(card: DatasetCard) -> dict[str, Any]:
    """Return the content of the file of a card, with its checksum."""
    return hashing.add_checksum(dataclasses.asdict(card))


def read_card_json(path: Path) -> tuple[dict, bytes]:
    """Return the content of a card file, as a mapping and as its bytes.

    Raises
    ------
    OSError, ValueError, RecursionError
        If the file cannot be read, or is not a JSON mapping.
    """
    with path.open("rb") as file:
        data = file.read(MAX_CARD_BYTES)
    content = json.loads(data)
    if not isinstance(content, dict):
        raise ValueError(f"{format_value(content)} is no mapping")
    return content, data


def describe_card_error(error: Exception) -> str:
    """Return what is wrong with a card file in one line; of pydantic's errors, the first."""
    if not isinstance(error, ValidationError):
        return str(error)
    details = error.errors(include_url=False)[0]
    subject = f"{dotted_path(details['loc']) or 'the file'}: {format_value(details['input'])}"
    if details["type"] == "missing":
        return f"{dotted_path(details['loc'])} is missing"
    if details.get("ctx", {}).get("pattern") == SHA256_PATTERN:
        return f"{subject} is not 64 hexadecimal digits"
    return f"{subject}: {details['msg'][0].lower()}{details['msg'][1:]}"


@functools.cache
def _card_adapter() -> TypeAdapter[DatasetCard]:
    """Return the validator of cards, which is built when the first card is read."""
    return TypeAdapter(DatasetCard)


def _check_consistency(card: DatasetCard) -> DatasetCard:
    """Return a card with all of its options; raise ValueError where its fields contradict."""
    if card.class_names and len(card.class_names) != card.classes:
        raise ValueError(f"class_names: {len(card.class_names)} for {card.classes} classes")
    if card.counts and (len(card.counts), sum(card.counts)) != (card.classes, card.train):
        raise ValueError(
            f"counts: {format_value(card.counts)} are not the training images by class"
        )
    for key in ("mean", "std"):
        values = getattr(card, key)
        if values and len(values) != card.shape[0]:
            raise ValueError(f"{key}: {format_value(values)} is not one number for each channel")
    return card if card.name in list_datasets() else _check_custom_card(card)


def _check_custom_card(card: DatasetCard) -> DatasetCard:
    """Return the card of a custom data set with the options that it leaves out, if it is valid."""
    if card.files:  # those of known data sets stand for arrays that the author did not have
        raise ValueError(f"files: {format_value(card.files)} belong to known data sets")
    try:
        options = BuildOptions.model_validate(card.made)
    except ValidationError as error:
        raise ValueError(f"made.{describe_card_error(error)}") from None
    side = options.stream or options.resize
    shape = (options.channels or card.shape[0], side or card.shape[1], side or card.shape[2])
    if shape != card.shape:
        raise ValueError(f"shape: {list(card.shape)}, and made is {list(shape)}")
    if bool(card.validation) is not (options.val == "validation"):
        raise ValueError(
            f"validation: {card.validation}, and made.val is {format_value(options.val)}"
        )
    return dataclasses.replace(card, made=dict.fromkeys(REQUIRED_BUILD_OPTIONS) | card.made)
