"""The card of one's own data, a folder of classes or a .npz file: what a study is planned from.

`make_card` looks at every image once, as `reader` does again when the data set is prepared. Every
mistake is said by file, all of them at once and before anything is trained. Of a folder that
streams (`--stream`) the card names a listing of its files: their headers are read once, and their
pixels in training; mean and std, which the study then wants, are measured on a sample of them.
"""

import dataclasses
import re
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import yaml

from kdpipe.data import cards, listing, prepared
from kdpipe.data.arrays import Arrays, digest, statistics
from kdpipe.data.cards import Card
from kdpipe.data.own import folders, layout, reader, remarks, seen
from kdpipe.data.own.folders import Found, refuse
from kdpipe.data.own.reader import arrays_of
from kdpipe.errors import DataError
from kdpipe.results.files import file_facts, write_json
from kdpipe.wording import printable

SAMPLE = 1000  # training images that mean and std are measured on, where images stream
AT_ONCE = 10  # of them in memory


class Made(NamedTuple):
    """A card that was written: where, on how many images mean and std were measured, and notes."""

    card: Card
    place: Path
    measured: int
    notes: list[str]


def make_card(path: Path, name: str | None, card: str | None, **how: Any) -> str:
    """Write the card of a folder or .npz; returns a line, what the study has to say, and notes.

    `how` is what `make` takes. Raises DataError with every mistake.
    """
    made = make(path, name, card, **how)
    return "\n".join([_said(made, path), *made.notes])


def make(
    path: Path,
    name: str | None = None,
    card: str | None = None,
    *,
    resize: int | None = None,
    channels: int | None = None,
    test_share: float | None = None,
    stream: int | None = None,
    val_is: str | None = None,
) -> Made:
    """Write the card of a folder or .npz.

    `val_is` says whether PATH/val is for `validation` or `test`, where that cannot be seen. Raises
    DataError with every mistake.
    """
    name = name or path.name.removesuffix(".npz")
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,39}", name) or name in cards.known():
        raise DataError(
            f"the name {name!r} is taken or not plain: give another with --name (letters, digits, "
            "- and _, at most 40)"
        )
    if resize is not None and not 4 <= resize <= 1024:
        raise DataError(f"--resize {resize}: 4 to 1024 pixels")
    if test_share is not None and not 0 < test_share < 1:
        raise DataError(f"--test-share {test_share}: more than 0 and less than 1")
    place = Path(card) if card else cards.beside(path)
    made: dict = {"resize": resize, "channels": channels, "test_share": test_share}
    made |= layout.of(path, val_is).made if path.is_dir() else _of_npz(path, val_is)
    found, kept = None, []
    if path.is_dir():
        remarks.refuse_unread(path, decode=stream is None)
        if test_share is not None and _drawn_equally(place, test_share):
            kept = [
                f"note: as many of each class are held out as test, as the card has it that is "
                f"there; where each class is to give its share, remove {place} first"
            ]
        elif test_share is not None:
            made["draw"] = "share"
        found = folders.listed(path, made)
    if stream is not None:
        if resize is not None or not 16 <= stream <= 1024:
            raise DataError(f"--stream {stream}: 16 to 1024 pixels, and no --resize beside it")
        if found is None:
            raise DataError(f"{path}: --stream is for a folder of classes")
        arrays = _listing(path, stream, channels, found)
        shape = tuple(arrays["shape"].tolist())
        made |= {"channels": shape[0], "stream": stream}
        mean, std, count = _sampled(path, arrays)
        notes = [*kept, *remarks.of_files(path, arrays, found)]
    else:
        arrays = arrays_of(path, made)
        shape, count = arrays["train_images"].shape[1:], len(arrays["train_labels"])
        measured = statistics(arrays["train_images"])
        mean, std = ([round(value, 4) for value in values] for values in measured)
        notes = [*kept, *remarks.of_images(path, arrays, found)]
    new = Card(
        name=name,
        title=name,
        source=path.name,
        shape=shape,
        classes=int(arrays["train_labels"].max()) + 1,
        train=len(arrays["train_labels"]),
        test=len(arrays["test_labels"]),
        sha256="",
        made=made,
        validation=len(arrays.get("val_labels", ())),
        class_names=tuple(map(printable, found.classes)) if found else (),
        counts=tuple(np.bincount(arrays["train_labels"]).tolist()),
        mean=tuple(mean),
        std=tuple(std),
        scaled=_scaled(made, stream),
    )
    new = dataclasses.replace(new, sha256=digest(arrays, prepared.names_of(new)))
    seen.note(place, new, path)
    write_json(place, cards.sealed(new))  # last: one that is there is whole with all beside it
    return Made(new, place, count, notes)


def counted(card: Card) -> str:
    """How many images of which size a card is of."""
    size = " x ".join(map(str, card.shape)) + (", read from their files," if card.streamed else "")
    val = f", {card.validation:,} validation" if card.validation else ""
    return (
        f"{card.train:,} training{val} and {card.test:,} test images of {size} in {card.classes} "
        "classes"
    )


def _said(made: Made, path: Path) -> str:
    """What a card was made of, and what to write into a study."""
    card, place, count, _ = made
    keys: dict[str, object] = {"name": card.name, "path": str(path)}
    if place != cards.beside(path):
        keys["card"] = str(place)
    measured = ""
    if card.streamed:
        keys |= {"mean": list(card.mean), "std": list(card.std)}
        of = f"{count:,} training images drawn at random" if count < card.train else "all of train"
        measured = f"\n(mean and std were measured on {of}, as evaluation sees them)"
    written = yaml.safe_dump(
        keys, default_flow_style=True, sort_keys=False, width=10**6, allow_unicode=True
    ).strip()
    return f"{place}: {counted(card)}. In the study: data: {written}{measured}"


def _of_npz(path: Path, val_is: str | None) -> dict:
    """What `Card.made` says of the parts of a .npz."""
    if val_is is not None:
        raise DataError(f"--val-is {val_is}: is for a folder with train/ and val/")
    return {"val": "validation" if path.is_file() and reader.has_validation(path) else None}


def _drawn_equally(place: Path, share: float) -> bool:
    """Whether a card is there that holds out this share with as many of each class.

    So did the first cards; one that is made again means what it meant.
    """
    try:
        made = cards.read(place).made
    except DataError:
        return False
    return made.get("test_share") == share and made.get("draw") is None


def _scaled(made: dict, stream: int | None) -> str:
    """How images came to their shape, as a person reads it."""
    if stream is not None:
        return (
            f"shorter side scaled to 256/224 of {stream}, the centre cut out; in training as the "
            "study says (data.crop)"
        )
    if made["resize"] is not None:
        return f"each stretched to {made['resize']} x {made['resize']} (PIL, bilinear)"
    return "as they are"


def _listing(path: Path, side: int, channels: int | None, found: Found) -> Arrays:
    """The listing of a folder whose images stream."""
    heads, mistakes = folders.heads([file for part in found.files.values() for file in part])
    refuse(mistakes, path)
    channels = channels or folders.channels_of(heads)
    arrays = listing.of(path, found.files, found.labels, (channels, side, side))
    refuse(_same_files(found.files, arrays), path)
    return arrays


def _sampled(path: Path, arrays: Arrays) -> tuple[list[float], list[float], int]:
    """Mean and standard deviation of each channel, of pixels in [0, 1]; of how many images.

    Of a sample that is always the same: the centres that evaluation cuts out, to four digits.
    """
    from kdpipe.data import streams  # torch, for this alone
    from kdpipe.data.views import PLAIN

    count = len(arrays["train_labels"])
    chosen = np.sort(np.random.RandomState(0).permutation(count)[:SAMPLE])
    shape = tuple(arrays["shape"].tolist())
    total, squares = np.zeros(shape[0]), np.zeros(shape[0])
    with tempfile.TemporaryDirectory() as folder:
        for kind in ("paths", "sizes"):
            np.save(Path(folder) / f"train_{kind}.npy", arrays[f"train_{kind}"])
        files = listing.Files(Path(folder), "train", chosen, path, shape, own=True)
        plain = streams.Streams(files, PLAIN, [0.0] * shape[0], [1.0] * shape[0])
        for x in plain.centres(AT_ONCE):
            pixels = x.numpy().astype(np.float64)
            total += pixels.sum((0, 2, 3))
            squares += (pixels**2).sum((0, 2, 3))
    mean = total / (len(chosen) * shape[1] * shape[2])
    variance = squares / (len(chosen) * shape[1] * shape[2]) - mean**2
    std = np.sqrt(variance.clip(1e-8))  # of images of one colour: a study wants more than 0
    return mean.round(4).tolist(), std.round(4).tolist(), len(chosen)


def _same_files(files: dict[str, list[Path]], arrays: Arrays) -> list[str]:
    """Files of equal bytes in two parts; only those of equal size are read."""
    parts = list(files)
    seen_in: dict[str, tuple[str, Path]] = {}
    found = []
    for part in parts:
        others = [arrays[f"{other}_sizes"] for other in parts if other != part]
        chosen = np.flatnonzero(np.isin(arrays[f"{part}_sizes"], np.concatenate(others)))
        paths = [files[part][index] for index in chosen]
        here = {path: file_facts(path)["sha256"] for path in paths}
        for path, sha256 in here.items():
            other, first = seen_in.get(sha256, (part, path))
            if other != part:
                both = f"{other} and {part}"
                found.append(f"{path} is the same file as {first}: {both} must not overlap")
        seen_in |= {sha256: (part, path) for path, sha256 in here.items()}
    return found
