"""The known data sets in the form their authors publish: read, verified, made into plain arrays.

Each reader takes the content of the published files and gives uint8 images (N, C, H, W) and int64
labels. The files lie where the study says, loose or in their archive, or are downloaded by
torchvision, which knows their addresses and checksums. Where a card lists MD5 sums, a file is
compared before it is read; and nothing is unpickled but numbers, texts, lists and arrays.
"""

import hashlib
import pickle
import tarfile
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from kdpipe.data.cards import Card
from kdpipe.data.readers import cifar, idx
from kdpipe.data.sets.digits import digits
from kdpipe.data.sets.svhn import svhn
from kdpipe.errors import DataError

Arrays = dict[str, np.ndarray]  # train_images, train_labels, test_images, test_labels
ARCHIVES = (".tar", ".tar.gz", ".tgz")


def read(card: Card, path: Path | None, downloads: Path) -> Arrays:
    """The arrays of a known data set. Raises DataError for what is missing, damaged or other.

    `path` is a folder with the published files, or their archive; with None they are downloaded
    into `downloads`.
    """
    names, parse = SOURCES[card.name]
    content = {}
    if names:
        content = _content(card, names, path or download(card, downloads))
    try:
        arrays = parse(content)
    except (ValueError, KeyError, TypeError, IndexError, EOFError, pickle.UnpicklingError) as error:
        raise DataError(
            f"data set {card.name}: its files are not what they should be: {error}"
        ) from None
    _compare(card, arrays)
    return arrays


def download(card: Card, folder: Path) -> Path:
    """Fetch the files of a data set, checksums verified; returns their folder."""
    from torchvision import datasets
    from torchvision.datasets.utils import download_url

    if card.name in ("cifar10", "cifar100"):
        source = datasets.CIFAR10 if card.name == "cifar10" else datasets.CIFAR100
        wanted = [([source.url], source.filename, source.tgz_md5)]
    elif card.name == "svhn":
        wanted = [([url], name, md5) for url, name, md5 in datasets.SVHN.split_list.values()]
        wanted = [file for file in wanted if file[1] in card.files]
    else:
        source = datasets.MNIST if card.name == "mnist" else datasets.FashionMNIST
        wanted = [
            ([mirror + name for mirror in source.mirrors], name, md5)
            for name, md5 in source.resources
        ]
    folder.mkdir(parents=True, exist_ok=True)
    for addresses, name, md5 in wanted:
        errors = []
        for address in addresses:
            try:
                download_url(address, str(folder), name, md5)
                break
            except (OSError, RuntimeError) as error:  # no network; another file than expected
                errors.append(f"{address}: {error}")
        else:
            raise DataError(
                f"data set {card.name} cannot be downloaded ({'; '.join(errors)}): bring its files "
                "to this machine and name their folder in the study, as data.path"
            )
    return folder


# --- finding files, loose or in an archive


def _content(card: Card, names: Iterable[str], path: Path) -> dict[str, bytes]:
    """The content of each file, from below `path`, with the right checksum where one is known."""
    if not path.exists():
        raise DataError(f"data set {card.name}: there is no {path}")
    archives = [path] if path.is_file() else sorted(p for p in path.iterdir() if _is_archive(p))
    packed = _unpacked(archives, set(names))
    found, mistakes = {}, []
    for name in names:
        candidates = [*_loose(path, name), *packed.get(name, [])]
        wanted = card.files.get(name)
        for _, content in candidates:
            if wanted is None or hashlib.md5(content, usedforsecurity=False).hexdigest() == wanted:
                found[name] = content
                break
        else:
            if candidates:
                mistakes.append(f"{candidates[0][0]} is damaged or another file (MD5 differs)")
            else:
                mistakes.append(f"{name} is neither in {path} nor in an archive there")
    if mistakes:
        raise DataError(f"data set {card.name}: {'; '.join(mistakes)}")
    return found


def _loose(path: Path, name: str) -> list[tuple[str, bytes]]:
    """Files of that name in a folder, or at most two levels below it."""
    if not path.is_dir():
        return []
    places = [path / name, *sorted(path.glob(f"*/{name}")), *sorted(path.glob(f"*/*/{name}"))]
    return [(str(place), place.read_bytes()) for place in places if place.is_file()]


def _unpacked(archives: list[Path], names: set[str]) -> dict[str, list[tuple[str, bytes]]]:
    """Members of tar archives by the last part of their name, read in memory."""
    found: dict[str, list[tuple[str, bytes]]] = {}
    for archive in archives:
        try:
            with tarfile.open(archive) as file:
                for member in file:
                    name = member.name.rpartition("/")[2]
                    if member.isfile() and name in names:
                        content = file.extractfile(member)
                        assert content is not None
                        found.setdefault(name, []).append((f"{archive}: {name}", content.read()))
        except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
            raise DataError(f"{archive} is damaged or no archive: {error}") from None
    return found


def _is_archive(path: Path) -> bool:
    return path.is_file() and path.name.endswith(ARCHIVES)


def _compare(card: Card, arrays: Arrays) -> None:
    """Refuse arrays of other numbers, shapes or labels than the card says."""
    for part, count in (("train", card.train), ("test", card.test)):
        images, labels = arrays[f"{part}_images"], arrays[f"{part}_labels"]
        if images.shape != (count, *card.shape) or len(labels) != count:
            raise DataError(
                f"data set {card.name}: {part} has {len(labels):,} labels and images of shape "
                f"{images.shape}, expected {(count, *card.shape)}"
            )
        if labels.min() < 0 or labels.max() >= card.classes:
            raise DataError(
                f"data set {card.name}: {part} has labels from {labels.min()} to {labels.max()}, "
                f"expected 0 to {card.classes - 1}"
            )


IDX = tuple(
    f"{prefix}-{kind}-ubyte.gz"
    for prefix in ("train", "t10k")
    for kind in ("images-idx3", "labels-idx1")
)
CIFAR10 = (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch")

# By name the published files, and who reads them.
SOURCES: dict[str, tuple[tuple[str, ...], Callable[[dict[str, bytes]], Arrays]]] = {
    "digits": ((), digits),
    "mnist": (IDX, idx),
    "fashion-mnist": (IDX, idx),
    "cifar10": (CIFAR10, cifar),
    "cifar100": (("train", "test"), cifar),
    "svhn": (("train_32x32.mat", "test_32x32.mat"), svhn),
}
