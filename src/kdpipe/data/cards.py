"""Dataset cards: metadata that is available without the data.

A card holds the number of images, their shape, the number of classes, and a SHA-256 that identifies
the data. The cards of built-in data sets are part of the package, so that studies can be planned
without the data; `kdpipe data` writes the card of a custom data set next to its images. The digest
is part of every run's identity and is that of one of:

- the prepared arrays, if they were available when the card was written;
- the file index of a streamed custom data set: path, size and label of each file;
- where `files` is not empty, the list of source files with the MD5 sums that their authors or
  torchvision publish. The author of such a card did not have the data: `kdpipe prepare` verifies
  the sources, and records the digest of the resulting arrays beside them.

A built-in data set is a file in `datasets/`: its card, and the reader of its published files.
Neither this module nor those files import numpy before images are read: a study is planned from
cards alone.
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
from kdpipe.data.config import CardOptions, DataConfig
from kdpipe.errors import DataError
from kdpipe.hashing import REVISIONS
from kdpipe.pydantic_base import SHA256_PATTERN, ChannelCount, Share, StrictModel
from kdpipe.runs.files import read_regular_file
from kdpipe.text import dotted_path, format_value, format_write_command

DATASETS_PACKAGE = "kdpipe.data.datasets"
MAX_ARRAY_BYTES = 8 * 10**9  # of the array of one part
MAX_CARD_BYTES = 2**24  # maximum bytes read of a card file: a device file may be endless
IMAGENET_STATS_HINT = (
    "mean: [0.485, 0.456, 0.406] and std: [0.229, 0.224, 0.225]"  # of torchvision's weights
)

Count = Annotated[int, Field(gt=0, lt=10**9)]
CountOrZero = Annotated[int, Field(ge=0, lt=10**9)]
Digest = Annotated[str, Field(pattern=SHA256_PATTERN)]  # part of a folder's name


@with_config(ConfigDict(strict=True, allow_inf_nan=False))
@dataclass(frozen=True)
class DatasetCard:
    """The size, shape and digest of one data set.

    Attributes
    ----------
    name, title, source : str
        The name in a study, the name in prose, and the origin of the data.
    shape : tuple of int
        Channels, height and width of an image.
    classes, train, test : int
        The number of classes, and of training and test images.
    sha256 : str
        The digest that identifies the data, 64 hexadecimal digits.
    files : dict of str to str
        The MD5 sum of each published file, for built-in data sets only.
    made : dict
        How the images are read: `BuildOptions` for a custom data set, or only `stream`.
    validation : int
        The size of a fixed validation set; 0 if validation is held out of train.
    class_names, counts, mean, std, scaled
        For information, not part of the digest: name and number of training images of each class,
        mean and standard deviation of each channel of pixels in [0, 1], and how the images were
        resized.
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
        """Return whether the images are streamed from files rather than held in one array."""
        return self.made.get("stream") is not None

    def count_validation(self, held_out: int) -> int:
        """Return the number of validation images if a study holds `held_out` out of train."""
        return self.validation or held_out

    def resize_to(self, side: int | None) -> "DatasetCard":
        """Return the card of the same images resized to side x side, or unchanged."""
        if side is None:
            return self
        return dataclasses.replace(self, shape=(self.shape[0], side, side))


class BuildOptions(StrictModel):
    """How the images of a custom data set are converted to arrays: `DatasetCard.made`."""

    resize: Annotated[int, Field(ge=4, le=1024)] | None = None
    channels: ChannelCount | None = None
    test_share: Annotated[float, Field(gt=0, lt=1)] | None = None
    val: Literal["validation", "test"] | None = None
    # Absent at their defaults: a test set is held out with equally many images per class, the
    # folders of the parts have the names of the parts, and the images are not streamed.
    parts: (
        dict[Literal["train", "test", "val"], Annotated[str, Field(pattern="^[A-Za-z]+$")]] | None
    ) = None
    draw: Literal["share"] | None = None
    stream: Annotated[int, Field(ge=16, le=1024)] | None = None
    skip_damaged: Annotated[int, Field(ge=1)] | None = None  # how many files were left out


REQUIRED_BUILD_OPTIONS = ("resize", "channels", "test_share", "val")


# --- built-in data sets


class Download(NamedTuple):
    """A published file, with its mirrors in order."""

    urls: list[str]
    name: str
    md5: str


@dataclass(frozen=True)
class KnownDataset:
    """A built-in data set, `DATASET` of a file in `datasets/`.

    The images are either read into one array (`read`), or streamed from files (`index_folder`).

    Attributes
    ----------
    card : DatasetCard
        The card of the data set.
    revision : int
        Raised by hand when the arrays that are read change: runs on this data set are then
        repeated.
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
    class_names : tuple of str
        The names of the classes, for reports. They are no part of the card, from which records
        and exports take theirs; empty where classes are known by their numbers.
    """

    card: DatasetCard
    revision: int
    files: tuple[str, ...] = ()
    read: Callable[[dict[str, bytes]], dict] | None = None
    downloads: Callable[[], list[Download]] = list
    index_folder: Callable[[DatasetCard, Path], dict] | None = None
    class_names: tuple[str, ...] = ()


def list_datasets() -> list[str]:
    """Return the names of the built-in data sets, without importing any of their files."""
    return sorted(name.replace("_", "-") for name in registry.list_names(DATASETS_PACKAGE))


def get_dataset(name: str) -> KnownDataset:
    """Return the built-in data set with a name."""
    return registry.load_object(DATASETS_PACKAGE, name.replace("-", "_"), "DATASET", KnownDataset)


def get_class_names(card: DatasetCard) -> tuple[str, ...]:
    """Return the names of the classes of a data set; empty where they are numbers."""
    if card.class_names or card.name not in list_datasets():
        return card.class_names
    return get_dataset(card.name).class_names


def get_data_revision(name: str) -> int:
    """Return the revision of a built-in data set, or the common one of custom data sets."""
    return get_dataset(name).revision if name in list_datasets() else REVISIONS["own"]


def load_known_card(name: str) -> DatasetCard:
    """Return the card of a built-in data set.

    Raises
    ------
    DataError
        If there is no built-in data set with that name.
    """
    if name not in list_datasets():
        raise DataError(f"data set {name!r} has no card (built-in: {', '.join(list_datasets())})")
    return get_dataset(name).card


# --- the card of a study's data set


def load_section_card(data: DataConfig) -> DatasetCard:
    """Return the card of the data set in the section `data` of a study; raise DataError if none."""
    return load_card(data.name, data.path, data.card, data.resize, data.card_options)


def load_card(
    name: str,
    path: str | None,
    card: str | None,
    resize: int | None = None,
    options: CardOptions | None = None,
) -> DatasetCard:
    """Return the card of a built-in or custom data set.

    Parameters
    ----------
    name : str
        The name of the data set.
    path : str or None
        The images of a custom data set.
    card : str or None
        The card file of a custom data set; None: next to its images.
    resize : int or None
        The size to which a study resizes the images.
    options : CardOptions or None
        The options that the study gives for the card; None: any.

    Returns
    -------
    DatasetCard
        The card, with the shape of the resized images.

    Raises
    ------
    DataError
        If there is no such card, or it is damaged, or that of another data set or other options.
    """
    if name in list_datasets():
        return load_known_card(name).resize_to(resize)
    if path is None:
        raise DataError(
            f"data set {name!r} has no card (built-in: {', '.join(list_datasets())}); custom data "
            "need a `path`"
        )
    card_file = Path(card) if card else get_card_path(Path(path))
    arguments = options.to_arguments() if options else {}
    if not os.path.exists(card_file) and not os.path.exists(path):
        raise DataError(
            f"the images of {name!r} and their card are not there: {path} (a study that was copied "
            f"to another folder needs its images too: copy or link them there, or set data.path, "
            f"from the folder of the study); then {format_write_command()} writes the card"
        )
    if not os.path.exists(card_file):
        raise DataError(
            f"data set {name!r} has no card yet at {card_file}; {format_write_command()} writes "
            f"all cards of a study, or run once: "
            f"{format_card_command(name, path, card, **arguments)}"
        )
    dataset_card = read_card(card_file, path)
    if dataset_card.name != name:
        raise DataError(
            f"{card_file} is the card of {dataset_card.name!r}, but the study has {name!r}"
        )
    if options and (difference := _diff_options(dataset_card, arguments)):
        raise DataError(
            f"{card_file} was made with {difference} in `card_options`: change that key, or make "
            f"the card again with {format_write_command()} (its runs get new names)"
        )
    return dataset_card.resize_to(resize)


def get_card_path(path: Path) -> Path:
    """Return the path of a custom data set's card, next to its folder or file."""
    return Path(f"{os.path.normpath(path)}.card.json")


def format_card_command(name: str, path: str, card: str | None, **options: object) -> str:
    """Return the shell command that creates the card of a custom data set."""
    argv: list[object] = ["kdpipe", "data", path, "--name", name]
    for key, value in {"card": card, **options}.items():
        option = f"--{key.replace('_', '-')}"
        argv += [] if value is None else [option] if value is True else [option, value]
    return shlex.join(map(str, argv))


def format_rebuild_command(
    card: DatasetCard, path: Path | str, card_file: Path | str | None, **changes: object
) -> str:
    """Return the shell command that recreates the card of a custom data set.

    Parameters
    ----------
    card : DatasetCard
        The present card.
    path : Path or str
        The images.
    card_file : Path, str or None
        The card file; None: next to the images.
    **changes : object
        Options that replace those of the present card.
    """
    other_path = (
        None
        if card_file is None or Path(card_file) == get_card_path(Path(path))
        else str(card_file)
    )
    options = list_build_options(card) | changes
    return format_card_command(card.name, str(path), other_path, **options)


def list_build_options(card: DatasetCard) -> dict[str, object]:
    """Return the options that a custom data set's card was made with."""
    keys = ("resize", "channels", "test_share", "stream")
    options: dict[str, object] = {key: card.made[key] for key in keys if key in card.made}
    if not card.source.endswith(".npz"):  # the arrays of a .npz determine the role of val
        options["val_is"] = card.made.get("val")
    if card.made.get("skip_damaged"):
        options["skip_damaged"] = True
    return options


def _diff_options(card: DatasetCard, arguments: dict[str, Any]) -> str:
    """Return where a card was made with other options than a study gives; empty if nowhere.

    Channels are measured unless they are given, and so is the role of `val` in a .npz.
    """
    options = {key: value for key, value in list_build_options(card).items() if value is not None}
    keys = ["resize", "stream", "test_share"]
    keys += ["skip_damaged"] if "skip_damaged" in options else []  # where some were damaged
    keys += [key for key in ("channels", "val_is") if key in arguments]
    return ", ".join(
        f"{key} {_format_option(options.get(key))}, not {_format_option(arguments.get(key))} as"
        for key in keys
        if options.get(key) != arguments.get(key)
    )


def _format_option(value: object) -> str:
    """Return a value as a study has it."""
    return json.dumps(value)


# --- card files


def read_card(path: Path, data_path: str | None = None) -> DatasetCard:
    """Read a dataset card from its file.

    Parameters
    ----------
    path : Path
        The card file.
    data_path : str or None
        The images of a custom data set, whose card must have a checksum.

    Raises
    ------
    DataError
        If the file is missing, is not a card, or was modified after its creation.
    """
    try:
        content, data = read_card_json(path)
        if "seal" in content and content != hashing.add_checksum(content):
            raise ValueError("it was modified after its creation")
        card = _check_consistency(_card_adapter().validate_json(data))
        if data_path is not None and "seal" not in content:
            rebuild = format_rebuild_command(card, data_path, path)
            raise DataError(
                f"{path} has no checksum (key `seal`), so manual changes cannot be detected "
                f"(kdpipe before 0.3 wrote none); run once: {rebuild}"
            )
        return card
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(
            f"{path} is missing or not a card ({describe_card_error(error)}): remove it, and "
            f"create it with {format_write_command()}"
        ) from None


def seal_card(card: DatasetCard) -> dict[str, Any]:
    """Return the content of a card file, with its checksum."""
    return hashing.add_checksum(dataclasses.asdict(card))


def read_card_json(path: Path) -> tuple[dict, bytes]:
    """Return the content of a card file, as a mapping and as its bytes.

    Raises
    ------
    OSError, ValueError, RecursionError
        If the file cannot be read or is not a JSON object.
    """
    data = read_regular_file(path, MAX_CARD_BYTES)
    content = json.loads(data)
    if not isinstance(content, dict):
        raise ValueError(f"{format_value(content)} is not a mapping")
    return content, data


def describe_card_error(error: Exception) -> str:
    """Describe the error of a card file in one line; of pydantic's errors, the first."""
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
    """Return a card with all of its options; raise ValueError if its fields are inconsistent."""
    if card.class_names and len(card.class_names) != card.classes:
        raise ValueError(f"class_names: {len(card.class_names)} for {card.classes} classes")
    if card.counts and (len(card.counts), sum(card.counts)) != (card.classes, card.train):
        raise ValueError(
            f"counts: {format_value(card.counts)} do not add up to the training images by class"
        )
    for key in ("mean", "std"):
        values = getattr(card, key)
        if values and len(values) != card.shape[0]:
            raise ValueError(f"{key}: {format_value(values)} is not one number per channel")
    return card if card.name in list_datasets() else _check_custom_card(card)


def _check_custom_card(card: DatasetCard) -> DatasetCard:
    """Return the card of a custom data set, completed with its default options, if it is valid."""
    if card.files:  # only for built-in data sets, whose card was written without the arrays
        raise ValueError(
            f"files: {format_value(card.files)} are only allowed for built-in data sets"
        )
    try:
        options = BuildOptions.model_validate(card.made)
    except ValidationError as error:
        raise ValueError(f"made.{describe_card_error(error)}") from None
    side = options.stream or options.resize
    shape = (options.channels or card.shape[0], side or card.shape[1], side or card.shape[2])
    if shape != card.shape:
        raise ValueError(f"shape: {list(card.shape)}, but made has {list(shape)}")
    if bool(card.validation) is not (options.val == "validation"):
        raise ValueError(
            f"validation: {card.validation}, but made.val is {format_value(options.val)}"
        )
    return dataclasses.replace(card, made=dict.fromkeys(REQUIRED_BUILD_OPTIONS) | card.made)
