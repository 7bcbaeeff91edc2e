"""Data sets, prepared once into plain arrays and verified whenever they are read.

`prepare` writes `results/data/<name>-<12 hex>/`: uint8 images (N, C, H, W) and int64 labels, as
.npy files that are memory-mapped, and their card last; of a set that streams, the listing of its
files. A job reads them by the card in its spec.
"""

import contextlib
import json
from dataclasses import asdict
from pathlib import Path

import numpy as np

from kdpipe import identity
from kdpipe.data import cards, listing, published
from kdpipe.data.arrays import ARRAYS, VAL_ARRAYS, Arrays, array_digest, digest, statistics
from kdpipe.data.own import folders, reader
from kdpipe.errors import DataError
from kdpipe.results import store
from kdpipe.results.files import write_json, write_npy
from kdpipe.wording import listed, printable

ROUNDED = 2e-4  # a card has four digits of a mean


def prepare(card: cards.Card, place: store.Store, path: Path | None = None) -> Path:
    """Write the prepared arrays of a data set; returns the path of their card.

    `path` is where its files lie. Raises DataError if they are not what the card describes.
    """
    folder = place.data(card.folder)
    with store.only_one(folder):
        if card.streamed:
            arrays = listing.read(card, path)
        elif card.name not in cards.known():
            assert path is not None
            arrays = reader.read(card, path)
        else:
            arrays = published.read(card, path, place.root / "downloads" / card.name)
        names = names_of(card)
        prepared = digest(arrays, names)
        # A card that lists its source files was written without them; they have been compared.
        if prepared != card.sha256 and not card.files:
            cure = "make its card again" if card.made else "the source is damaged or another one"
            raise DataError(
                f"data set {card.name}: the images in {path or card.source} are not those of its "
                f"card (sha256 {prepared[:12]}, expected {card.sha256[:12]}): {cure}"
            )
        _refuse(card, disagreements(card, arrays, path))
        for name in names:
            write_npy(folder / f"{name}.npy", arrays[name])
        digests = {name: array_digest(name, arrays[name]) for name in names}
        facts = asdict(card) | {"arrays": digests, "arrays_sha256": prepared}
        if card.streamed and path is not None:
            facts["root"] = str(path.absolute())
        write_json(folder / "card.json", identity.sealed(facts))
    return folder / "card.json"


def card_of(spec: dict, place: store.Store) -> cards.Card:
    """The card of the `data` part of a run's spec: a known one, or that of the prepared arrays."""
    if spec["name"] in cards.known():
        card = cards.load(spec["name"])
    else:
        folder = place.data(f"{spec['name']}-{spec['card'][:12]}")
        try:
            card = cards.read(folder / "card.json")
        except DataError:  # not the card that `kdpipe data` makes
            raise DataError(
                f"data set {spec['name']}: {folder / 'card.json'} is missing or damaged: "
                f"{cure(folder)}"
            ) from None
    if (card.name, card.sha256) != (spec["name"], spec["card"]):
        raise DataError(f"data set {spec['name']}: its card is another: make the plan again")
    return card


def names_of(card: cards.Card) -> tuple[str, ...]:
    """The arrays that a prepared data set consists of."""
    if card.streamed:
        return listing.NAMES + (listing.VAL_NAMES if card.validation else ())
    return ARRAYS + (VAL_ARRAYS if card.validation else ())


def read(card: cards.Card, place: store.Store) -> Arrays:
    """The arrays of a data set, verified; DataError names the one that is damaged."""
    folder, names = place.data(card.folder), names_of(card)
    arrays = {name: mapped(f"data set {card.name}", name, folder) for name in names}
    expected = noted(folder).get("arrays_sha256") if card.files else card.sha256
    if digest(arrays, names) != expected:
        raise DataError(
            f"data set {card.name}: {_altered(folder, arrays)} not what its card says: "
            f"{cure(folder)}"
        )
    _refuse(card, _other_numbers(card, arrays))
    return arrays


def mapped(whose: str, name: str, folder: Path) -> np.ndarray:
    """One array, mapped; `whose` is what a message calls it by.

    Raises DataError if it is missing or its header is damaged.
    """
    path = folder / f"{name}.npy"
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
        memoryview(array)  # of a type that has a size and no more
    except Exception as error:  # numpy reads a header as Python text: it ends in anything
        missing = isinstance(error, FileNotFoundError)
        # Not in numpy's words: what it does not know is a pickle to it, which it advises to load.
        why = "missing" if missing else f"damaged ({type(error).__name__} in its header)"
        raise DataError(f"{whose}: {path} is {why}: {cure(folder)}") from None
    return array


def _refuse(card: cards.Card, wrong: list[str]) -> None:
    """Raise DataError for what a card of one's own data says otherwise than the arrays."""
    if wrong:
        raise DataError(
            f"data set {card.name}: its card says {'; '.join(wrong)}: make its card again with "
            "kdpipe data"
        )


def disagreements(card: cards.Card, arrays: Arrays, path: Path | None = None) -> list[str]:
    """What a card of one's own data says otherwise than its arrays, and than the files in `path`.

    Classes, mean and deviation are in no digest, and stand in the record of every run. Of images
    that stream, mean and deviation are those of a sample, and are not measured again.
    """
    return _other_numbers(card, arrays) + (_other_facts(card, arrays, path) if path else [])


def _other_numbers(card: cards.Card, arrays: Arrays) -> list[str]:
    if card.name in cards.known():
        return []
    images = arrays["shape"] if card.streamed else arrays["train_images"].shape[1:]
    found = {
        "shape": tuple(map(int, images)),
        "classes": int(arrays["train_labels"].max()) + 1,
        "train": len(arrays["train_labels"]),
        "test": len(arrays["test_labels"]),
        "validation": len(arrays.get("val_labels", ())),
    }
    if card.counts:  # older cards have none
        found["counts"] = tuple(np.bincount(arrays["train_labels"]).tolist())
    return [
        f"{key} {getattr(card, key)}, found {value}"
        for key, value in found.items()
        if getattr(card, key) != value
    ]


def _other_facts(card: cards.Card, arrays: Arrays, path: Path) -> list[str]:
    if card.name in cards.known():
        return []
    wrong = []
    if card.class_names and path.is_dir():
        found = folders.listed(path, card.made).classes
        if tuple(map(printable, found)) != card.class_names:
            wrong.append(f"class_names {listed(card.class_names)}, found {listed(found)}")
    if card.mean and not card.streamed:
        measured = statistics(arrays["train_images"])
        for key, values in zip(("mean", "std"), measured, strict=True):
            if not np.allclose(values, getattr(card, key), rtol=0, atol=ROUNDED):
                said = [round(float(value), 4) for value in values]
                wrong.append(f"{key} {list(getattr(card, key))}, found {said}")
    return wrong


def noted(folder: Path) -> dict:
    """What was noted beside prepared arrays; empty where that cannot be read."""
    with contextlib.suppress(OSError, ValueError):
        found = json.loads((folder / "card.json").read_bytes())
        return found if isinstance(found, dict) else {}
    return {}


def _altered(folder: Path, arrays: Arrays) -> str:
    """Which of the arrays differ from what was prepared, if that can be told."""
    with contextlib.suppress(LookupError, TypeError):
        digests = noted(folder)["arrays"]
        wrong = [name for name in arrays if array_digest(name, arrays[name]) != digests[name]]
        if wrong:
            return ", ".join(f"{folder / name}.npy" for name in wrong) + " is"
    return f"the arrays in {folder} are"


def cure(folder: Path) -> str:
    """What to do about prepared images that are missing or damaged."""
    return f"remove the folder {folder} and run the study again"
