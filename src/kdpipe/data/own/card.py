"""The card of one's own data, a folder of classes or a .npz file: what a study is planned from.

`make_card` looks at every image once, as `reader` does again when the data set is prepared. Every
mistake is said by file, all of them at once and before anything is trained. Of a folder that
streams (`--stream`) the card names a listing of its files: their headers are read once, and their
pixels in training; mean and std, which the study then wants, are measured on a sample of them.
"""

import re
import tempfile
from pathlib import Path

import numpy as np
import yaml

from kdpipe.data import cards, listing
from kdpipe.data.arrays import ARRAYS, PARTS, Arrays, digest
from kdpipe.data.cards import Card
from kdpipe.data.own import folders, pictures
from kdpipe.data.own.folders import refuse
from kdpipe.data.own.reader import arrays_of
from kdpipe.errors import DataError
from kdpipe.results.files import file_facts, write_json
from kdpipe.wording import listed

SAMPLE = 1000  # training images that mean and std are measured on, where images stream
AT_ONCE = 10  # of them in memory


def make_card(
    path: Path,
    name: str | None,
    card: str | None,
    *,
    resize: int | None = None,
    channels: int | None = None,
    test_share: float | None = None,
    stream: int | None = None,
) -> str:
    """Write the card of a folder or .npz; returns a line, and what the study has to say.

    Raises DataError with every mistake.
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
    made = {"resize": resize, "channels": channels, "test_share": test_share}
    if stream is not None:
        if resize is not None or not 16 <= stream <= 1024:
            raise DataError(f"--stream {stream}: 16 to 1024 pixels, and no --resize beside it")
        arrays = _listing(path, stream, channels, test_share)
        shape, names = tuple(arrays["shape"].tolist()), listing.NAMES
        made |= {"channels": shape[0], "stream": stream}
    else:
        arrays = arrays_of(path, made)
        shape, names = arrays["train_images"].shape[1:], ARRAYS
    classes = int(arrays["train_labels"].max()) + 1
    new = Card(
        name=name,
        title=name,
        source=path.name,
        shape=shape,
        classes=classes,
        train=len(arrays["train_labels"]),
        test=len(arrays["test_labels"]),
        sha256=digest(arrays, names),
        made=made,
    )
    place = Path(card) if card else cards.beside(path)
    size = " x ".join(map(str, shape))
    said: dict[str, object] = {"name": name, "path": str(path)}
    if card:
        said["card"] = card
    measured = ""
    if stream is not None:
        size = f"{size}, read from their files,"
        said["mean"], said["std"], count = _statistics(path, arrays)
        of = f"{count:,} training images drawn at random" if count < new.train else "all of train"
        measured = f"\n(mean and std were measured on {of}, as evaluation sees them)"
    write_json(place, cards.sealed(new))
    keys = yaml.safe_dump(
        said, default_flow_style=True, sort_keys=False, width=10**6, allow_unicode=True
    ).strip()
    return (
        f"{place}: {new.train:,} training and {new.test:,} test images of {size} in {classes} "
        f"classes. In the study: data: {keys}{measured}{_passed_over(path, test_share)}"
    )


def _passed_over(path: Path, test_share: float | None) -> str:
    """A note of what lies in a folder and is no picture of a class by its name."""
    others = folders.passed_over(path, test_share) if path.is_dir() else []
    if not others:
        return ""
    endings = ", ".join(pictures.SUFFIXES)
    return (
        f"\nnote: passed over, since they lie in no class or do not end in one of {endings}: "
        f"{listed(others)}"
    )


def _listing(path: Path, side: int, channels: int | None, test_share: float | None) -> Arrays:
    """The listing of a folder whose images stream."""
    if not path.is_dir():
        raise DataError(f"{path}: --stream is for a folder of classes")
    files, labels = folders.listed(path, test_share)
    heads, mistakes = folders.heads([file for part in PARTS for file in files[part]])
    refuse(mistakes, path)
    channels = channels or folders.channels_of(heads)
    arrays = listing.of(path, files, labels, (channels, side, side))
    refuse(_same_files(files, arrays), path)
    return arrays


def _statistics(path: Path, arrays: Arrays) -> tuple[list[float], list[float], int]:
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
    """Files of equal bytes in train and in test; only those of equal size are read."""
    shared = np.intersect1d(arrays["train_sizes"], arrays["test_sizes"])
    found: dict[str, list[tuple[str, Path]]] = {}
    for part in PARTS:
        chosen = np.flatnonzero(np.isin(arrays[f"{part}_sizes"], shared))
        paths = [files[part][index] for index in chosen]
        found[part] = [(file_facts(path)["sha256"], path) for path in paths]
    train = dict(found["train"])
    return [
        f"{path} is the same file as {train[digest]}: train and test must not overlap"
        for digest, path in found["test"]
        if digest in train
    ]
