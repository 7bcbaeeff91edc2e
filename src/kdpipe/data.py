"""Data sets: prepared once into plain arrays, then split the same way in every job.

`prepare` writes `results/data/<name>-<12 hex>/`: uint8 images (N, C, H, W) and int64 labels, as
.npy files that are memory-mapped, and their card last; of a set that streams, the listing of its
files. `load` cuts train, validation and test out of them as the study says. Validation is held out
of train; label noise touches train alone. Numpy only, but for scaling: the plan and the scoring of
ensembles need no torch.
"""

import contextlib
import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from kdpipe import cards, listing, own, sources, store
from kdpipe.errors import DataError
from kdpipe.identity import stream
from kdpipe.subsets import balanced_order, redrawn

ARRAYS = ("train_images", "train_labels", "test_images", "test_labels")
AT_ONCE = 2**24  # pixels: more are not turned into float64 all together


@dataclass(frozen=True)
class Part:
    """Images (N, C, H, W) uint8, or their files, and labels (N,) int64."""

    images: np.ndarray | listing.Files
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Split:
    """What one run sees. `mean` and `std` (C,) normalise pixels in [0, 1]."""

    train: Part
    val: Part
    test: Part
    mean: np.ndarray
    std: np.ndarray
    classes: int


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
            arrays = own.read(card, path)
        else:
            arrays = sources.read(card, path, place.root / "downloads" / card.name)
        names = names_of(card)
        prepared = digest(arrays, names)
        # A card that lists its source files was written without them; they have been compared.
        if prepared != card.sha256 and not card.files:
            cure = "make its card again" if card.made else "the source is damaged or another one"
            raise DataError(
                f"data set {card.name}: the images in {path or card.source} are not those of its "
                f"card (sha256 {prepared[:12]}, expected {card.sha256[:12]}): {cure}"
            )
        for name in names:
            store.write_npy(folder / f"{name}.npy", arrays[name])
        digests = {name: _array_digest(name, arrays[name]) for name in names}
        facts = asdict(card) | {"arrays": digests, "arrays_sha256": prepared}
        if card.streamed and path is not None:
            facts["root"] = str(path.absolute())
        store.write_json(folder / "card.json", facts)
    return folder / "card.json"


def card_of(spec: dict, place: store.Store) -> cards.Card:
    """The card of the `data` part of a run's spec: a known one, or that of the prepared arrays."""
    if spec["name"] in cards.known():
        card = cards.load(spec["name"])
    else:
        folder = place.data(f"{spec['name']}-{spec['card'][:12]}")
        card = cards.read(folder / "card.json")
    if (card.name, card.sha256) != (spec["name"], spec["card"]):
        raise DataError(f"data set {spec['name']}: its card is another: make the plan again")
    return card


def load(spec: dict, place: store.Store) -> Split:
    """The split that the `data` part of a run's spec describes. Raises DataError.

    Subset, validation and label noise are drawn from `split_seed` alone: every run of a study
    sees one split.
    """
    card = card_of(spec, place)
    arrays = read(card, place)
    labels, tested = arrays["train_labels"], np.asarray(arrays["test_labels"])
    rng = np.random.RandomState(stream(spec["split_seed"], 0, 0, "", "split") % 2**32)
    order = balanced_order(labels, rng)
    held_out = order[: spec["validation"]]
    rest = order[spec["validation"] :]
    chosen = np.sort(rest[: spec["train_size"]] if spec["train_size"] else rest)
    side, held_out = spec.get("resize"), np.sort(held_out)
    noisy = redrawn(labels[chosen], spec["label_noise"], card.classes, rng)
    mean, std = spec.get("mean"), spec.get("std")
    if card.streamed:
        if mean is None or std is None:
            raise DataError(f"data set {card.name} streams: its mean and std have to be given")
        files = _files(card.resized(side), place)
        train = Part(files("train", chosen), noisy)
        val = Part(files("train", held_out), labels[held_out])
        test = Part(files("test", np.arange(len(tested))), tested)
    else:
        images = arrays["train_images"]
        pixels = _scaled(images[chosen], side)
        train = Part(pixels, noisy)
        val = Part(_scaled(images[held_out], side), labels[held_out])
        test = Part(_scaled(np.asarray(arrays["test_images"]), side), tested)
        measured = statistics(pixels)
        mean, std = mean or measured[0], std or measured[1]
    return Split(train, val, test, np.array(mean), np.maximum(std, 1e-6), card.classes)


def names_of(card: cards.Card) -> tuple[str, ...]:
    """The arrays that a prepared data set consists of."""
    return listing.NAMES if card.streamed else ARRAYS


def statistics(images: np.ndarray) -> tuple[list[float], list[float]]:
    """Mean and standard deviation of each channel, of pixels in [0, 1]."""
    if images.size <= AT_ONCE:
        pixels = images.astype(np.float64) / 255
        return pixels.mean(axis=(0, 2, 3)).tolist(), pixels.std(axis=(0, 2, 3)).tolist()
    values, mean, std = np.arange(256) / 255, [], []
    for channel in range(images.shape[1]):
        counts = sum(
            np.bincount(images[start : start + 1000, channel].reshape(-1), minlength=256)
            for start in range(0, len(images), 1000)
        )
        mean.append(float(np.average(values, weights=counts)))
        std.append(float(np.average((values - mean[-1]) ** 2, weights=counts) ** 0.5))
    return mean, std


def digest(arrays: dict[str, np.ndarray], names: tuple[str, ...] = ARRAYS) -> str:
    """SHA-256 of the arrays with their names, types and shapes, in a fixed order."""
    total = hashlib.sha256()
    for name in names:
        _add(total, name, arrays[name])
    return total.hexdigest()


def read(card: cards.Card, place: store.Store) -> dict[str, np.ndarray]:
    """The arrays of a data set, verified; DataError names the one that is damaged."""
    folder, names = place.data(card.folder), names_of(card)
    arrays = {}
    for name in names:
        path = folder / f"{name}.npy"
        try:
            arrays[name] = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError, SyntaxError, TypeError) as error:
            raise DataError(
                f"data set {card.name}: {path} is missing or damaged ({error}): {_cure(folder)}"
            ) from None
    noted = _noted(folder).get("arrays_sha256") if card.files else card.sha256
    if digest(arrays, names) != noted:
        raise DataError(
            f"data set {card.name}: {_altered(folder, arrays)} not what its card says: "
            f"{_cure(folder)}"
        )
    return arrays


def _files(card: cards.Card, place: store.Store) -> Callable[[str, np.ndarray], listing.Files]:
    """Files of a part and some of its listing. Raises DataError if their folder is gone."""
    folder = place.data(card.folder)
    root = Path(str(_noted(folder).get("root")))
    if not root.is_dir():
        raise DataError(
            f"data set {card.name}: its images lay in {root}, and there is no such folder now: "
            f"bring it back, or type once: kdpipe prepare {card.name} --path FOLDER --results "
            f"{place.root} (data of one's own also want --card)"
        )
    return lambda part, chosen: listing.Files(folder, part, chosen, root, card.shape)


def _scaled(images: np.ndarray, side: int | None) -> np.ndarray:
    """Images (N, C, H, W) scaled to side x side, bilinear with antialiasing."""
    if side is None or not len(images):
        return images
    import torch
    from torch.nn import functional as F

    scaled = np.empty((*images.shape[:2], side, side), np.uint8)
    for start in range(0, len(images), 1000):
        part = torch.from_numpy(np.array(images[start : start + 1000])).float()
        part = F.interpolate(part, (side, side), mode="bilinear", antialias=True)
        scaled[start : start + 1000] = part.round().clamp(0, 255).byte().numpy()
    return scaled


def _noted(folder: Path) -> dict:
    """What was noted beside prepared arrays; empty where that cannot be read."""
    with contextlib.suppress(OSError, ValueError):
        noted = json.loads((folder / "card.json").read_bytes())
        return noted if isinstance(noted, dict) else {}
    return {}


def _altered(folder: Path, arrays: dict[str, np.ndarray]) -> str:
    """Which of the arrays differ from what was prepared, if that can be told."""
    with contextlib.suppress(LookupError, TypeError):
        noted = _noted(folder)["arrays"]
        wrong = [name for name in arrays if _array_digest(name, arrays[name]) != noted[name]]
        if wrong:
            return ", ".join(f"{folder / name}.npy" for name in wrong) + " is"
    return f"the arrays in {folder} are"


def _array_digest(name: str, array: np.ndarray) -> str:
    total = hashlib.sha256()
    _add(total, name, array)
    return total.hexdigest()


def _add(total, name: str, array: np.ndarray) -> None:
    array = np.ascontiguousarray(array)
    total.update(json.dumps([name, array.dtype.str, list(array.shape)]).encode())
    total.update(array.data)


def _cure(folder: Path) -> str:
    return f"remove the folder {folder} and run the study again"
