"""The split of a run: train, validation and test, cut the same way in every job.

Validation is held out of train, or a part of the data; label noise touches train alone. Numpy only,
but for scaling: the scoring of ensembles needs no torch.
"""

import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kdpipe.data import cards, listing
from kdpipe.data.arrays import balanced_order, proportional_order, statistics
from kdpipe.data.keys import REST
from kdpipe.data.own.unlabelled import prepared as beside
from kdpipe.data.prepared import card_of, noted, read
from kdpipe.errors import DataError
from kdpipe.identity import stream
from kdpipe.results import store

NO_LABEL = -1  # of an image without one: no class


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

    def refuse_other(self, network: dict) -> None:
        """Raise DataError if the network of a spec was planned for other images."""
        images = self.test.images
        channels = images.shape[0] if isinstance(images, listing.Files) else images.shape[1]
        for what, found in (("classes", self.classes), ("channels", channels)):
            if network[what] != found:
                raise DataError(
                    f"network {network['name']}: planned for {network[what]} {what}, and the data "
                    f"have {found}: make the card of the data and the plan again"
                )


def load(spec: dict, place: store.Store) -> Split:
    """The split that the `data` part of a run's spec describes. Raises DataError.

    Subset, label noise, and validation where it is no part of the data, are drawn from `split_seed`
    and the number of the split alone: every run of a study that is of one split sees the same.
    """
    card = card_of(spec, place)
    arrays = read(card, place)
    labels, tested = arrays["train_labels"], np.asarray(arrays["test_labels"])
    if (spec.get("stream_revision") is not None) != card.streamed:
        raise DataError(
            f"data set {card.name}: its images {'stream' if card.streamed else 'are one array'}, "
            "and the run was planned otherwise: make its card and the plan again"
        )
    side = spec.get("resize")
    held_out, chosen, _, rng = _drawn(spec, card, labels)
    noisy = redrawn(labels[chosen], spec["label_noise"], card.classes, rng)
    mean, std = spec.get("mean"), spec.get("std")
    if card.streamed:
        if mean is None or std is None:
            raise DataError(f"data set {card.name} streams: its mean and std have to be given")
        files = _files(card.resized(side), place)
        train = Part(files("train", chosen), noisy)
        val = Part(files("train", held_out), labels[held_out])
        if card.validation:
            given = np.asarray(arrays["val_labels"])
            val = Part(files("val", np.arange(len(given))), given)
        test = Part(files("test", np.arange(len(tested))), tested)
    else:
        images = arrays["train_images"]
        pixels = _scaled(images[chosen], side)
        train = Part(pixels, noisy)
        val = Part(_scaled(images[held_out], side), labels[held_out])
        if card.validation:
            given = np.asarray(arrays["val_images"])
            val = Part(_scaled(given, side), np.asarray(arrays["val_labels"]))
        test = Part(_scaled(np.asarray(arrays["test_images"]), side), tested)
        measured = statistics(pixels)
        mean, std = mean or measured[0], std or measured[1]
    return Split(train, val, test, np.array(mean), np.maximum(std, 1e-6), card.classes)


def unlabelled(spec: dict, source: str, place: store.Store) -> Part:
    """Images without labels beside those of a spec's `data`; raises DataError.

    `source` is `rest`, the training images that its split leaves out, without their labels; or the
    digest of images that are no part of the data set.
    """
    card, side = card_of(spec, place), spec.get("resize")
    if source != REST:
        found = beside.read(source, card.resized(side).shape, card.streamed, place)
        images = _scaled(found, side) if isinstance(found, np.ndarray) else found
        return Part(images, np.full(len(images), NO_LABEL))
    arrays = read(card, place)
    left = _drawn(spec, card, arrays["train_labels"])[2]
    if card.streamed:
        images = _files(card.resized(side), place)("train", left)
    else:
        images = _scaled(arrays["train_images"][left], side)
    return Part(images, np.full(len(left), NO_LABEL))


def held_out(spec: dict, card: cards.Card, labels: np.ndarray) -> np.ndarray:
    """Which training images (N,) of these labels the split of a spec's `data` holds out, rising."""
    return _drawn(spec, card, labels)[0]


def _drawn(
    spec: dict, card: cards.Card, labels: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.random.RandomState]:
    """Which training images are held out, trained on and left, each rising; and what draws on.

    Raises DataError if there are too few of them.
    """
    held = 0 if card.validation else spec["validation"]  # out of train
    if (wanted := (spec["train_size"] or 0) + held) > len(labels):
        raise DataError(
            f"data set {card.name}: {wanted:,} training and validation images are asked for, and "
            f"there are {len(labels):,}: make its card and the plan again"
        )
    rng = np.random.RandomState(
        stream(spec["split_seed"], spec.get("split", 0), 0, "", "split") % 2**32
    )
    drawn = proportional_order if spec.get("draw") == "share" else balanced_order
    order = drawn(labels, rng)
    last = held + spec["train_size"] if spec["train_size"] else len(order)
    parts = (order[:held], order[held:last], order[last:])
    held_out, chosen, left = map(np.sort, parts)
    return held_out, chosen, left, rng


def redrawn(
    labels: np.ndarray, share: float, classes: int, rng: np.random.RandomState
) -> np.ndarray:
    """Labels of which a share is drawn anew, uniformly over all classes."""
    labels = np.array(labels)
    chosen = rng.permutation(len(labels))[: round(share * len(labels))]
    labels[chosen] = rng.randint(0, classes, size=len(chosen))
    return labels


def _files(card: cards.Card, place: store.Store) -> Callable[[str, np.ndarray], listing.Files]:
    """Files of a part and some of its listing. Raises DataError if their folder is gone."""
    folder = place.data(card.folder)
    root = Path(str(noted(folder).get("root")))
    if not root.is_dir():
        raise DataError(
            f"data set {card.name}: its images lay in {root}, and there is no such folder now: "
            f"bring it back, or type once: kdpipe prepare {card.name} --path FOLDER --results "
            f"{shlex.quote(str(place.root))} (data of one's own also want --card)"
        )
    return lambda part, chosen: listing.Files(
        folder, part, chosen, root, card.shape, own=card.name not in cards.known()
    )


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
