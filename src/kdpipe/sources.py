"""The known data sets in the form their authors publish: read, verified, made into plain arrays.

Each reader takes the content of the published files and gives uint8 images (N, C, H, W) and int64
labels. The files lie where the study says, loose or in their archive, or are downloaded by
torchvision, which knows their addresses and checksums. Where a card lists MD5 sums, a file is
compared before it is read; and nothing is unpickled but numbers, texts, lists and arrays.
"""

import gzip
import hashlib
import io
import pickle
import tarfile
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from kdpipe.cards import Card
from kdpipe.errors import DataError
from kdpipe.subsets import balanced_order

__all__ = ["SOURCES", "Arrays", "download", "read"]

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


# --- formats


def _digits(_: dict[str, bytes]) -> Arrays:
    """scikit-learn's 1,797 handwritten digits, 8x8, 17 grey levels (UCI optdigits, test part).

    They come without a split; 700 images, balanced over the classes, are the test set.
    """
    from sklearn.datasets import load_digits

    digits: Any = load_digits()
    images = (digits.images * 15).astype(np.uint8)[:, None]
    labels = digits.target.astype(np.int64)
    order = balanced_order(labels, np.random.RandomState(0))
    test, train = np.sort(order[:700]), np.sort(order[700:])
    return {
        "train_images": images[train],
        "train_labels": labels[train],
        "test_images": images[test],
        "test_labels": labels[test],
    }


def _idx(content: dict[str, bytes]) -> Arrays:
    """The format of MNIST: a magic number, the dimensions, the bytes; gzipped."""
    arrays = {}
    for part, prefix in (("train", "train"), ("test", "t10k")):
        arrays[f"{part}_images"] = _idx_array(content, f"{prefix}-images-idx3-ubyte.gz", 3)[:, None]
        labels = _idx_array(content, f"{prefix}-labels-idx1-ubyte.gz", 1)
        arrays[f"{part}_labels"] = labels.astype(np.int64)
    return arrays


def _idx_array(content: dict[str, bytes], name: str, dimensions: int) -> np.ndarray:
    try:
        data = gzip.decompress(content[name])
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{name}: {error}") from None
    header = 4 + 4 * dimensions
    if data[:4] != bytes((0, 0, 8, dimensions)) or len(data) < header:  # 8: unsigned bytes
        raise ValueError(f"{name} is not an IDX file of bytes in {dimensions} dimension(s)")
    shape = np.frombuffer(data, ">u4", count=dimensions, offset=4).astype(np.int64)
    if len(data) != header + shape.prod():
        raise ValueError(f"{name} holds {len(data) - header:,} bytes for a shape of {shape}")
    return np.frombuffer(data, np.uint8, offset=header).reshape(shape)


def _cifar(content: dict[str, bytes]) -> Arrays:
    """The pickled batches of CIFAR: rows of 3,072 bytes, red, green, blue; fine labels of 100."""
    arrays: Arrays = {}
    trained = [name for name in content if name.startswith(("data_batch", "train"))]
    for part, names in (("train", sorted(trained)), ("test", sorted(set(content) - set(trained)))):
        batches = [_Plain(io.BytesIO(content[name]), encoding="latin1").load() for name in names]
        key = "fine_labels" if "fine_labels" in batches[0] else "labels"
        rows = np.concatenate([np.asarray(batch["data"], np.uint8) for batch in batches])
        arrays[f"{part}_images"] = rows.reshape(-1, 3, 32, 32)
        labels = np.concatenate([np.asarray(batch[key], np.int64) for batch in batches])
        arrays[f"{part}_labels"] = labels
    return arrays


class _Plain(pickle.Unpickler):
    """Loads arrays, numbers, texts, lists and dicts; anything else in a pickle is refused."""

    def find_class(self, module: str, name: str) -> Any:
        module = module.replace("numpy.core", "numpy._core")
        allowed = {
            ("numpy._core.multiarray", "_reconstruct"): _empty_array,
            ("numpy", "ndarray"): np.ndarray,
            ("numpy", "dtype"): np.dtype,
            ("_codecs", "encode"): _as_bytes,  # how Python 3 pickles bytes for Python 2
        }
        if (module, name) not in allowed:
            raise pickle.UnpicklingError(f"a pickle that asks for {module}.{name} is not loaded")
        return allowed[module, name]


def _empty_array(*_) -> np.ndarray:
    return np.ndarray((0,), np.uint8)


def _as_bytes(text: str, *_) -> bytes:
    return text.encode("latin1")


def _svhn(content: dict[str, bytes]) -> Arrays:
    """The .mat files of SVHN: X (32, 32, 3, N), y (N, 1) with 10 for the digit 0."""
    from scipy.io import loadmat

    arrays = {}
    for part in ("train", "test"):
        matrices = loadmat(io.BytesIO(content[f"{part}_32x32.mat"]), variable_names=["X", "y"])
        images = np.asarray(matrices["X"], np.uint8).transpose(3, 2, 0, 1)
        arrays[f"{part}_images"] = np.ascontiguousarray(images)
        arrays[f"{part}_labels"] = matrices["y"].astype(np.int64).reshape(-1) % 10
    return arrays


IDX = tuple(
    f"{prefix}-{kind}-ubyte.gz"
    for prefix in ("train", "t10k")
    for kind in ("images-idx3", "labels-idx1")
)
CIFAR10 = (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch")

# By name the published files, and who reads them.
SOURCES: dict[str, tuple[tuple[str, ...], Callable[[dict[str, bytes]], Arrays]]] = {
    "digits": ((), _digits),
    "mnist": (IDX, _idx),
    "fashion-mnist": (IDX, _idx),
    "cifar10": (CIFAR10, _cifar),
    "cifar100": (("train", "test"), _cifar),
    "svhn": (("train_32x32.mat", "test_32x32.mat"), _svhn),
}
