"""Cards: what is known of a data set without having it.

A card says how many images there are, of what shape, in how many classes, and a SHA-256 that
names the data. Cards of known data sets ship with the package, so a fresh clone can be planned at
once; the card of one's own data is written by `kdpipe data` and lies beside it. The digest is part
of every run's identity and stands for one of three things:

- the prepared arrays, wherever they could be made when the card was written;
- of one's own images that stream from their files, the listing: path, size and label of each;
- where `files` is not empty, the list of the source files with the MD5 sums their authors or
  torchvision publish. Whoever wrote such a card did not have the data: `prepare` verifies the
  sources, and notes the digest of the arrays that came out beside them.

A known data set is a file in `sets/`: its card, and how its published files are read. Nothing here
or there imports numpy before images are read: a study is planned from cards alone.
"""

import dataclasses
import json
import os
import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from kdpipe import discovery, identity
from kdpipe.data.keys import Data
from kdpipe.errors import DataError
from kdpipe.identity import REVISIONS
from kdpipe.wording import shown

SETS = "kdpipe.data.sets"
MAX_BYTES = 8 * 10**9  # of the array of a part
IMAGENET = "mean: [0.485, 0.456, 0.406] and std: [0.229, 0.224, 0.225]"  # as torchvision's weights


@dataclass(frozen=True)
class Card:
    """Counts, shape (channels, height, width) and digest of one data set."""

    name: str
    title: str
    source: str
    shape: tuple[int, int, int]
    classes: int
    train: int
    test: int
    sha256: str
    files: dict[str, str] = field(default_factory=dict)  # MD5 of each source file
    made: dict = field(default_factory=dict)  # how it is read: of one's own (`own`), or streamed
    validation: int = 0  # images that are a part of their own; else they are held out of train
    # To be known, and in no digest: what the labels mean, training images of each class, mean and
    # deviation of their pixels in [0, 1], how images came to their shape.
    class_names: tuple[str, ...] = ()
    counts: tuple[int, ...] = ()
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    scaled: str = ""

    @property
    def folder(self) -> str:
        return f"{self.name}-{self.sha256[:12]}"

    @property
    def streamed(self) -> bool:
        """Whether its images stay in their files (`listing`), and are no array."""
        return self.made.get("stream") is not None

    def validated(self, held_out: int) -> int:
        """How many validation images there are, where a study holds some out of train."""
        return self.validation or held_out

    def resized(self, side: int | None) -> "Card":
        """The card of the same images scaled to side x side; None leaves them as they are."""
        if side is None:
            return self
        return dataclasses.replace(self, shape=(self.shape[0], side, side))


class Download(NamedTuple):
    """A published file, with the addresses to try in their order."""

    addresses: list[str]
    name: str
    md5: str


@dataclass(frozen=True)
class DataSet:
    """A known data set, `SET` of a file in `sets/`.

    Its images become one array: `read` takes the content of the published `files` by name, and
    gives uint8 images (N, C, H, W) and int64 labels (N,) of train and test (`arrays.ARRAYS`);
    raises ValueError if they are malformed. Or they stream: `listed` makes the listing
    (`listing.NAMES`) of a folder; raises DataError if it is not what the card says.

    Raise `revision` when what is read changes: the runs on this data set are then made again.
    """

    card: Card
    revision: int
    files: tuple[str, ...] = ()
    read: Callable[[dict[str, bytes]], dict] | None = None
    downloads: Callable[[], list[Download]] = list
    listed: Callable[[Card, Path], dict] | None = None


def known() -> list[str]:
    """Names of the data sets that have a file in `sets/`; none is imported."""
    return sorted(name.replace("_", "-") for name in discovery.names(SETS))


def set_of(name: str) -> DataSet:
    """The known data set of that name."""
    return discovery.one(SETS, name.replace("-", "_"), "SET", DataSet)


def data_revision(name: str) -> int:
    """The revision of a data set: its own if it is known, or that of all data of one's own."""
    return set_of(name).revision if name in known() else REVISIONS["own"]


def load(name: str) -> Card:
    """The card of a known data set. Raises DataError if it has none."""
    if name not in known():
        raise DataError(f"data set {name!r} has no card (known: {', '.join(known())})")
    return set_of(name).card


def of(name: str, path: str | None, card: str | None, resize: int | None = None) -> Card:
    """The card of what a study names in `data`: a known set, or one's own. Raises DataError."""
    if name in known():
        return load(name).resized(resize)
    if path is None:
        raise DataError(
            f"data set {name!r} has no card (known: {', '.join(known())}); data of one's own is "
            "named with a `path`"
        )
    place = Path(card) if card else beside(Path(path))
    if not os.path.exists(place):
        raise DataError(
            f"data set {name!r} has no card yet at {place}; type once: {command(name, path, card)}"
        )
    found = read(place, path)
    if found.name != name:
        raise DataError(f"{place} is the card of {found.name!r}, and the study says {name!r}")
    return found.resized(resize)


def command(name: str, path: str, card: str | None, **options: object) -> str:
    """What makes the card of one's own data, as it can be typed."""
    said: list[object] = ["kdpipe", "data", path, "--name", name]
    for key, value in {"card": card, **options}.items():
        said += [f"--{key.replace('_', '-')}", value] if value is not None else []
    return shlex.join(map(str, said))


def typed_again(card: Card, path: Path | str, place: Path | str | None, **changes: object) -> str:
    """What makes a card of one's own data at `place` again, with changes, as it can be typed."""
    elsewhere = None if place is None or Path(place) == beside(Path(path)) else str(place)
    typed = ("resize", "channels", "test_share", "stream")
    made = {key: card.made[key] for key in typed if key in card.made}
    if not card.source.endswith(".npz"):  # which says by its arrays what is validation
        made["val_is"] = card.made.get("val")
    options = made | changes
    return command(card.name, str(path), elsewhere, **options)


def card_of_keys(data: Data) -> Card:
    """The card of what a study's `data` names. Raises DataError."""
    return of(data.name, data.path, data.card, data.resize)


def beside(path: Path) -> Path:
    """Where the card of one's own data lies: beside the folder or file, under its name."""
    return Path(f"{os.path.normpath(path)}.card.json")


def read(path: Path, data: str | None = None) -> Card:
    """A card in a file. Raises DataError if it is none.

    data: where the data of one's own lie, whose card has to be sealed.
    """
    try:
        with path.open("rb") as file:
            facts = json.loads(file.read(2**24))  # a device file may have no end
        card = _card(facts)
        if data is not None and "seal" not in facts:
            again = typed_again(card, data, path)
            raise DataError(
                f"{path} has no seal, so nobody can tell whether it was changed by hand (kdpipe "
                f"before 0.3 wrote none); type once: {again}"
            )
        return card
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise DataError(
            f"{path} is missing or is no card ({error}): make it with kdpipe data"
        ) from None


def sealed(card: Card) -> dict:
    """A card as it is written for a study."""
    return identity.sealed(dataclasses.asdict(card))


def _card(facts: object) -> Card:
    if not isinstance(facts, dict):
        raise ValueError(f"{shown(facts)} is no mapping")
    if "seal" in facts and facts != identity.sealed(facts):
        raise ValueError("it was changed after it was made")
    keys = [key.name for key in dataclasses.fields(Card)]
    said: dict[str, Any] = {key: facts[key] for key in keys if key in facts}
    several = {"shape", "class_names", "counts", "mean", "std"} & said.keys()
    said |= {key: tuple(said[key]) for key in several}
    card = Card(**said)
    counts = [*card.shape, card.classes, card.train, card.test]
    if len(card.shape) != 3 or not all(type(n) is int and 0 < n < 10**9 for n in counts):
        raise ValueError(f"shape, classes, train, test: {shown(counts)} are not six counts")
    if type(card.validation) is not int or not 0 <= card.validation < 10**9:
        raise ValueError(f"validation: {shown(card.validation)} is no count")
    _refuse_facts(card)
    if not re.fullmatch("[0-9a-f]{64}", card.sha256):  # the name of a folder is made of it
        raise ValueError(f"sha256: {shown(card.sha256)} is not 64 hexadecimal digits")
    for key in ("name", "title", "source", "scaled"):
        if not isinstance(getattr(card, key), str):
            raise ValueError(f"{key}: {shown(getattr(card, key))} is no text")
    for key in ("files", "made"):
        if not isinstance(getattr(card, key), dict):
            raise ValueError(f"{key}: {shown(getattr(card, key))} is no mapping")
    return card if card.name in known() else _own(card)


def _refuse_facts(card: Card) -> None:
    """Raise ValueError for what a card tells of its images and cannot be."""
    if card.class_names and len(card.class_names) != card.classes:
        raise ValueError(f"class_names: {len(card.class_names)} for {card.classes} classes")
    if not all(isinstance(name, str) for name in card.class_names):
        raise ValueError(f"class_names: {shown(card.class_names)} are not texts")
    if card.counts:
        whole = all(type(count) is int and count > 0 for count in card.counts)
        if not whole or (len(card.counts), sum(card.counts)) != (card.classes, card.train):
            raise ValueError(f"counts: {shown(card.counts)} are not the training images by class")
    for key in ("mean", "std"):
        values = getattr(card, key)
        numbers = all(type(value) in (int, float) and 0 <= value <= 1 for value in values)
        if values and not (len(values) == card.shape[0] and numbers):
            raise ValueError(f"{key}: {shown(values)} is not one number for each channel")


# How one's own data are made into arrays: what each key may say, None aside.
_MADE: dict[str, Callable[[Any], bool]] = {
    "resize": lambda side: type(side) is int and 4 <= side <= 1024,
    "channels": lambda channels: type(channels) is int and channels in (1, 3),
    "test_share": lambda share: type(share) is float and 0 < share < 1,
    "stream": lambda side: type(side) is int and 16 <= side <= 1024,
    "val": lambda val: val in ("validation", "test"),
    # Left out where they say nothing: as many of each class are held out as test, and parts lie in
    # folders of their names.
    "draw": lambda draw: draw == "share",
    "parts": lambda parts: (
        isinstance(parts, dict)
        and parts.keys() <= {"train", "test", "val"}
        and all(re.fullmatch("[A-Za-z]+", str(name)) for name in parts.values())
    ),
}
OPTIONAL = {"stream", "draw", "parts"}


def _own(card: Card) -> Card:
    """The card of one's own data, if how it is made makes sense, with what it leaves out."""
    if card.files:  # those of known sets stand for arrays that nobody had
        raise ValueError(f"files: {shown(card.files)} belong to known data sets")
    made = {key: None for key in _MADE if key not in OPTIONAL} | card.made
    for key, value in made.items():
        if key not in _MADE or not (value is None or _MADE[key](value)):
            raise ValueError(f"made.{key}: {shown(value)}")
    side = made.get("stream") or made["resize"]
    shape = (made["channels"] or card.shape[0], side or card.shape[1], side or card.shape[2])
    if shape != card.shape:
        raise ValueError(f"shape: {list(card.shape)}, and made is {list(shape)}")
    if bool(card.validation) is not (made["val"] == "validation"):
        raise ValueError(f"validation: {card.validation}, and made.val is {shown(made['val'])}")
    return dataclasses.replace(card, made=made)
