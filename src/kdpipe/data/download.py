"""Built-in data sets as published: located or downloaded, verified, and read into arrays.

The files and their reader are defined in the file of a data set in `datasets/`. They are in the
folder given by the study, loose or in an archive, or are downloaded from torchvision's URLs, with
its checksums. If a card lists MD5 sums, a file is verified before it is read.

Formats that several data sets share are parsed here. Unpickling is restricted to numbers, strings,
lists and arrays.
"""

import gzip
import hashlib
import io
import pickle
import tarfile
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from kdpipe.data import cards
from kdpipe.data.arrays import Arrays
from kdpipe.data.cards import DatasetCard
from kdpipe.errors import DataError

ARCHIVE_SUFFIXES = (".tar", ".tar.gz", ".tgz")


def read_published(card: DatasetCard, path: Path | None, download_dir: Path) -> Arrays:
    """Return the arrays of a built-in data set.

    Parameters
    ----------
    card : DatasetCard
        The card of the data set.
    path : Path or None
        The folder of the published files, or their archive; None: download them.
    download_dir : Path
        The download folder.

    Raises
    ------
    DataError
        If a file is missing or damaged, or does not match the card.
    """
    dataset = cards.get_dataset(card.name)
    assert dataset.read is not None
    content = {}
    if dataset.files:
        content = _read_files(card, dataset.files, path or download_files(card, download_dir))
    try:
        arrays = dataset.read(content)
    except (ValueError, KeyError, TypeError, IndexError, EOFError, pickle.UnpicklingError) as error:
        raise DataError(f"data set {card.name}: its files are invalid: {error}") from None
    _check_arrays(card, arrays)
    return arrays


def download_files(card: DatasetCard, folder: Path) -> Path:
    """Download the files of a data set and verify their checksums.

    Parameters
    ----------
    card : DatasetCard
        The card of the data set.
    folder : Path
        The download folder.

    Returns
    -------
    Path
        That folder.

    Raises
    ------
    DataError
        If a file cannot be downloaded from any of its URLs.
    """
    from torchvision.datasets.utils import download_url

    folder.mkdir(parents=True, exist_ok=True)
    for urls, name, md5 in cards.get_dataset(card.name).downloads():
        errors = []
        for url in urls:
            try:
                download_url(url, str(folder), name, md5)
                break
            except (OSError, RuntimeError) as error:  # no network; an unexpected file
                errors.append(f"{url}: {error}")
        else:
            raise DataError(
                f"data set {card.name} cannot be downloaded ({'; '.join(errors)}): copy its files "
                "to this machine and set data.path in the study to their folder"
            )
    return folder


def _check_arrays(card: DatasetCard, arrays: Arrays) -> None:
    """Raise DataError for arrays whose lengths, shapes or labels do not match the card."""
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


# --- locating files, loose or in an archive


def _read_files(card: DatasetCard, names: Iterable[str], path: Path) -> dict[str, bytes]:
    """Return the content of each file below `path`, verified if its checksum is known."""
    if not path.exists():
        raise DataError(f"data set {card.name}: there is no {path}")
    archives = [path] if path.is_file() else sorted(p for p in path.iterdir() if _is_archive(p))
    archived_files = _read_archives(archives, set(names))
    contents, errors = {}, []
    for name in names:
        candidates = [*_find_loose_files(path, name), *archived_files.get(name, [])]
        expected_md5 = card.files.get(name)
        for _, content in candidates:
            if (
                expected_md5 is None
                or hashlib.md5(content, usedforsecurity=False).hexdigest() == expected_md5
            ):
                contents[name] = content
                break
        else:
            if candidates:
                errors.append(f"{candidates[0][0]} is damaged or a different file (MD5 differs)")
            else:
                errors.append(f"{name} is not in {path} or in an archive there")
    if errors:
        raise DataError(f"data set {card.name}: {'; '.join(errors)}")
    return contents


def _find_loose_files(path: Path, name: str) -> list[tuple[str, bytes]]:
    """Return path and content of files with a name in a folder, at most two levels deep."""
    if not path.is_dir():
        return []
    candidates = [path / name, *sorted(path.glob(f"*/{name}")), *sorted(path.glob(f"*/*/{name}"))]
    return [
        (str(candidate), candidate.read_bytes()) for candidate in candidates if candidate.is_file()
    ]


def _read_archives(archives: list[Path], names: set[str]) -> dict[str, list[tuple[str, bytes]]]:
    """Return the members of tar archives by their base names, read into memory."""
    contents: dict[str, list[tuple[str, bytes]]] = {}
    for archive in archives:
        try:
            with tarfile.open(archive) as file:
                for member in file:
                    name = member.name.rpartition("/")[2]
                    if member.isfile() and name in names:
                        content = file.extractfile(member)
                        assert content is not None
                        contents.setdefault(name, []).append((f"{archive}: {name}", content.read()))
        except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
            raise DataError(f"{archive} is damaged or not an archive: {error}") from None
    return contents


def _is_archive(path: Path) -> bool:
    """Return whether a path has the name of a tar archive."""
    return path.is_file() and path.name.endswith(ARCHIVE_SUFFIXES)


# --- formats


def parse_idx(content: dict[str, bytes]) -> Arrays:
    """Return the arrays of gzipped IDX files (MNIST): a magic number, dimensions, bytes.

    Parameters
    ----------
    content : dict of str to bytes
        The four files by name.

    Raises
    ------
    ValueError
        If a file is malformed.
    """
    arrays = {}
    for part, prefix in (("train", "train"), ("test", "t10k")):
        arrays[f"{part}_images"] = _parse_idx_array(content, f"{prefix}-images-idx3-ubyte.gz", 3)[
            :, None
        ]
        labels = _parse_idx_array(content, f"{prefix}-labels-idx1-ubyte.gz", 1)
        arrays[f"{part}_labels"] = labels.astype(np.int64)
    return arrays


def _parse_idx_array(content: dict[str, bytes], name: str, dimensions: int) -> np.ndarray:
    """Return the bytes of a gzipped IDX file with a number of dimensions."""
    try:
        data = gzip.decompress(content[name])
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{name}: {error}") from None
    header = 4 + 4 * dimensions
    if data[:4] != bytes((0, 0, 8, dimensions)) or len(data) < header:  # 8: unsigned bytes
        raise ValueError(f"{name} is not an IDX file of bytes in {dimensions} dimension(s)")
    shape = np.frombuffer(data, ">u4", count=dimensions, offset=4).astype(np.int64)
    if len(data) != header + shape.prod():
        raise ValueError(f"{name} has {len(data) - header:,} bytes for a shape of {shape}")
    return np.frombuffer(data, np.uint8, offset=header).reshape(shape)


def parse_cifar(content: dict[str, bytes]) -> Arrays:
    """Return the arrays of the pickled batches of CIFAR: rows of 3,072 bytes, red, green, blue.

    Parameters
    ----------
    content : dict of str to bytes
        The batches by name; the labels of CIFAR-100 are the fine ones.

    Raises
    ------
    UnpicklingError
        If a pickle needs anything but numbers, strings, lists and arrays.
    """
    arrays: Arrays = {}
    train_names = [name for name in content if name.startswith(("data_batch", "train"))]
    for part, names in (
        ("train", sorted(train_names)),
        ("test", sorted(set(content) - set(train_names))),
    ):
        batches = [
            _RestrictedUnpickler(io.BytesIO(content[name]), encoding="latin1").load()
            for name in names
        ]
        key = "fine_labels" if "fine_labels" in batches[0] else "labels"
        rows = np.concatenate([np.asarray(batch["data"], np.uint8) for batch in batches])
        arrays[f"{part}_images"] = rows.reshape(-1, 3, 32, 32)
        labels = np.concatenate([np.asarray(batch[key], np.int64) for batch in batches])
        arrays[f"{part}_labels"] = labels
    return arrays


class _RestrictedUnpickler(pickle.Unpickler):
    """An unpickler restricted to arrays, numbers, strings, lists and dicts."""

    def find_class(self, module: str, name: str) -> Any:
        """Return one of the allowed classes and functions."""
        module = module.replace("numpy.core", "numpy._core")
        allowed = {
            ("numpy._core.multiarray", "_reconstruct"): _empty_array,
            ("numpy", "ndarray"): np.ndarray,
            ("numpy", "dtype"): np.dtype,
            ("_codecs", "encode"): _encode_latin1,  # how Python 3 pickles bytes for Python 2
        }
        if (module, name) not in allowed:
            raise pickle.UnpicklingError(f"refusing to load a pickle that needs {module}.{name}")
        return allowed[module, name]


def _empty_array(*_) -> np.ndarray:
    """Return the empty array with which numpy's pickles start."""
    return np.ndarray((0,), np.uint8)


def _encode_latin1(text: str, *_) -> bytes:
    """Encode a string as bytes, as Python 3 pickles them for Python 2."""
    return text.encode("latin1")
