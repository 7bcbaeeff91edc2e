"""The card of images without labels: what a study is planned from.

`kdpipe data STUDY` writes it beside the folder or .npz, as PATH.unlabelled.<data set>.json, since
the images are brought to the shape of the data set's and compared with those of its test. No numpy
here: a study is planned from cards alone.
"""

import dataclasses
import json
import os
import re
import shlex
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kdpipe import identity
from kdpipe.data import cards
from kdpipe.data.keys import REST, Data
from kdpipe.errors import DataError
from kdpipe.results.files import DAMAGED
from kdpipe.wording import shown

KIND = "unlabelled"  # of such a card, also where the images are prepared


@dataclass(frozen=True)
class UnlabelledCard:
    """Count, shape (channels, height, width) and digest of images beside one data set."""

    source: str  # what their folder or file is called
    data: str  # the name of the data set
    of: str  # the digest of its card
    shape: tuple[int, int, int]
    count: int
    sha256: str  # of the array; where they stream, of the listing
    stream: bool = False
    twins: int = 0  # how many of them are also in train, which validation is held out of
    held: dict = field(default_factory=dict)  # a draw of validation that has none of these

    @property
    def folder(self) -> str:
        """Where they are prepared, below the results."""
        return folder_of(self.sha256)


def folder_of(sha256: str) -> str:
    """Where the images of a digest are prepared, below the results."""
    return f"{KIND}-{sha256[:12]}"


def is_own(data: Data) -> bool:
    """Whether a study has images without labels of its own."""
    return data.unlabelled not in (None, REST)


def beside(path: Path | str, data: str) -> Path:
    """Where the card of the images in `path` lies, for the data set of that name."""
    return Path(f"{os.path.normpath(path)}.{KIND}.{data}.json")


def of(data: Data, splits: Iterable[int], study: str = "STUDY") -> UnlabelledCard:
    """The card of the images that `data.unlabelled` names by a path.

    `splits` are the study's, `study` what its file is called in a message. Raises DataError if
    there is no card, or the study is about others than it was made for.
    """
    path, again = str(data.unlabelled), f"type once: {command(study)}"
    place, card = beside(path, data.name), cards.card_of_keys(data)
    if not os.path.exists(place):
        missing = "" if os.path.exists(path) else f", nor is there a folder or .npz file {path}"
        raise DataError(
            f"the images have no card yet at {place}{missing}: {again} (rest: the training images "
            "that train_size leaves out)"
        )
    found = read(place)
    if found.of != card.sha256 or found.data != data.name or found.stream != card.streamed:
        raise DataError(
            f"{place} was made for images of {found.data} that are others now, or are read in "
            f"another way: {again}"
        )
    if found.twins and not card.validation and not _holds(found.held, data, splits):
        raise DataError(
            f"{found.twins:,} of the images are training images of {data.name} too, and validation "
            f"is drawn otherwise than when {place} was made, so that it may have some of them: "
            f"{again}"
        )
    return found


def command(study: str) -> str:
    """What makes the card of a study's images without labels, as it can be typed."""
    return shlex.join(["kdpipe", "data", study])


def read(path: Path) -> UnlabelledCard:
    """A card in a file. Raises DataError if it is none."""
    try:
        with path.open("rb") as file:
            facts = json.loads(file.read(2**24))  # a device file may have no end
        return _card(facts)
    except DAMAGED as error:
        raise DataError(
            f"{path} is missing or is no card of images without labels ({error}): remove it, and "
            f"make it with {command('STUDY')}"
        ) from None


def sealed(card: UnlabelledCard) -> dict:
    """A card as it is written."""
    return identity.sealed({"kind": KIND, **dataclasses.asdict(card)})


def draw_of(data: Data, splits: Iterable[int]) -> dict:
    """What says which training images are held out as validation."""
    keys = {key: getattr(data, key) for key in ("validation", "draw", "split_seed")}
    return keys | {"splits": sorted(set(splits))}


def _holds(held: dict, data: Data, splits: Iterable[int]) -> bool:
    """Whether the validation of a study is in a draw; a smaller one is the beginning of it."""
    now = draw_of(data, splits)
    same = all(now[key] == held.get(key) for key in ("draw", "split_seed"))
    smaller = now["validation"] <= held.get("validation", 0)
    return same and smaller and set(now["splits"]) <= set(held.get("splits", ()))


def _card(facts: dict) -> UnlabelledCard:
    if facts["kind"] != KIND or facts != identity.sealed(facts):
        raise ValueError("it is another kind of file, or was changed after it was made")
    keys = [key.name for key in dataclasses.fields(UnlabelledCard)]
    said: dict[str, Any] = {key: facts[key] for key in keys}
    said["shape"] = tuple(said["shape"])
    card = UnlabelledCard(**said)
    counts = [*card.shape, card.count, card.twins + 1]
    if len(card.shape) != 3 or not all(type(n) is int and 0 < n < 10**9 for n in counts):
        raise ValueError(f"shape and counts: {shown(counts)}")
    if not re.fullmatch("[0-9a-f]{64}", card.sha256):  # the name of a folder is made of it
        raise ValueError(f"sha256: {shown(card.sha256)} is not 64 hexadecimal digits")
    if not isinstance(card.source, str) or not isinstance(card.stream, bool):
        raise ValueError(f"source and stream: {shown((card.source, card.stream))}")
    splits, validation = card.held["splits"], card.held["validation"]
    if not all(type(one) is int for one in [*splits, validation]):
        raise ValueError(f"held: {shown(card.held)}")
    return card
