"""Prepared data sets: written once as plain arrays, and verified whenever they are loaded.

`kdpipe prepare` writes `results/data/<name>-<12 hex>/`: uint8 images (N, C, H, W) and int64 labels,
as .npy files that are memory-mapped, and finally their card; for a streamed data set, the index of
its files. A job finds them by the card in its spec.

File indices of streamed data sets, whose images do not fit into one array.

A data set whose card has `made: {"stream": SIDE}` is prepared by indexing its files once: relative
path, size in bytes, label. Training then reads the files themselves (`streaming`). It is verified
that every file exists and has its size, and for a built-in data set the number of classes and of
images of each part. Pixels are not verified, since a checksum would require reading 140 GB: a file
that was replaced by another of the same length goes unnoticed.
"""

import contextlib
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from kdpipe import hashing
from kdpipe.data import cards, download
from kdpipe.data.arrays import (
    ARRAY_NAMES,
    PARTS,
    VAL,
    VAL_ARRAY_NAMES,
    Arrays,
    compute_mean_std,
    hash_array,
    hash_arrays,
)
from kdpipe.data.cards import DatasetCard
from kdpipe.data.imagefolder import class_folders, reader
from kdpipe.errors import DataError
from kdpipe.json_types import JsonObject, is_object
from kdpipe.runs import store
from kdpipe.runs.files import READ_ERRORS, map_npy, read_regular_file, write_json, write_npy
from kdpipe.runs.spec import DataSpec
from kdpipe.text import escape, join_names

INDEX_KINDS = ("paths", "sizes", "labels")
INDEX_NAMES = (*(f"{part}_{kind}" for part in PARTS for kind in INDEX_KINDS), "shape")
VAL_INDEX_NAMES = tuple(f"{VAL}_{kind}" for kind in INDEX_KINDS)


@dataclass(frozen=True)
class ImageFiles:
    """The image files of a part of a split.

    Attributes
    ----------
    index_dir : Path
        The folder of the file index.
    part : str
        The part of the data set that is indexed.
    indices : ndarray of shape (N,)
        Indices of the images of that part.
    root : Path
        The folder to which the paths of the index are relative.
    shape : tuple of int
        Channels, height and width of the network input.
    is_custom : bool
        Whether images are converted as those of custom data (`decoding`), or by PIL alone, as in
        the revision of a built-in data set.
    """

    index_dir: Path
    part: str
    indices: np.ndarray
    root: Path
    shape: tuple[int, int, int]
    is_custom: bool

    def __len__(self) -> int:
        """Return the number of files."""
        return len(self.indices)

    def open_index(self) -> tuple[np.ndarray, np.ndarray]:
        """Return paths and sizes of the whole part, memory-mapped, so that workers share them."""
        paths, sizes = (
            map_npy(self.index_dir / f"{self.part}_{kind}.npy") for kind in ("paths", "sizes")
        )
        return paths, sizes


def read_index(card: DatasetCard, path: Path | None) -> Arrays:
    """Return the file index of a streamed data set.

    Parameters
    ----------
    card : DatasetCard
        The card of the data set.
    path : Path or None
        The folder of its images.

    Returns
    -------
    dict of str to ndarray
        The arrays `INDEX_NAMES`, and `VAL_INDEX_NAMES` for data with a fixed validation set.

    Raises
    ------
    DataError
        If there is no such folder, or it does not match the card.
    """
    if path is None or not path.is_dir():
        reason = f"there is no folder {path}" if path else "it cannot be downloaded"
        raise DataError(
            f"data set {card.name}: {reason}: set data.path in the study to the folder of its files"
        )
    if card.name in cards.list_datasets():
        dataset = cards.get_dataset(card.name)
        assert dataset.index_folder is not None
        return dataset.index_folder(card, path)
    listing = class_folders.list_images(path, card.made)
    return build_index(path, listing.files, listing.labels, card.shape)


def build_index(
    path: Path,
    files: dict[str, list[Path]],
    labels: dict[str, np.ndarray],
    shape: tuple[int, int, int],
) -> Arrays:
    """Build the file index of images in a folder.

    The same files cropped to another size are different data: `shape` is part of the digest.

    Parameters
    ----------
    path : Path
        The common parent folder of all files.
    files : dict of str to list of Path
        The files of each part.
    labels : dict of str to ndarray
        The label of each file, for the parts that have labels.
    shape : tuple of int
        Channels, height and width of the network input.

    Returns
    -------
    dict of str to ndarray
        For each part `<part>_paths` (bytes), `<part>_sizes` and `<part>_labels` (int64), and
        `shape`.
    """
    arrays: Arrays = {"shape": np.array(shape)}
    for part in files:
        relative_paths = [os.fsencode(file.relative_to(path)) for file in files[part]]
        arrays[f"{part}_paths"] = np.array(relative_paths, dtype=np.bytes_)
        sizes = [file.stat().st_size for file in files[part]]
        arrays[f"{part}_sizes"] = np.array(sizes, np.int64)
        if part in labels:
            arrays[f"{part}_labels"] = labels[part]
    return arrays


STATISTICS_TOLERANCE = 2e-4  # a card rounds mean and standard deviation to four digits


def prepare_dataset(
    card: cards.DatasetCard, results_store: store.Store, path: Path | None = None
) -> Path:
    """Write the prepared arrays of a data set.

    Parameters
    ----------
    card : DatasetCard
        The card of the data set.
    results_store : Store
        The results folder to write to.
    path : Path or None
        Folder of the source files; None: they are downloaded.

    Returns
    -------
    Path
        The card file of the prepared arrays.

    Raises
    ------
    DataError
        If the source is missing or does not match the card.
    """
    folder = results_store.data(card.folder)
    with store.lock_run_folder(folder):
        if card.is_streamed:
            arrays = read_index(card, path)
        elif card.name not in cards.list_datasets():
            assert path is not None
            arrays = reader.read_custom_data(card, path)
        else:
            arrays = download.read_published(
                card, path, results_store.root / "downloads" / card.name
            )
        names = list_array_names(card)
        sha256 = hash_arrays(arrays, names)
        # A card that lists its source files was written without the arrays: the files were verified
        # instead.
        if sha256 != card.sha256 and not card.files:
            hint = "recreate its card" if card.made else "the source is damaged or a different one"
            raise DataError(
                f"data set {card.name}: the images in {path or card.source} do not match its card "
                f"(sha256 {sha256[:12]}, expected {card.sha256[:12]}): {hint}"
            )
        _raise_mismatches(card, find_card_mismatches(card, arrays, path))
        for name in names:
            write_npy(folder / f"{name}.npy", arrays[name])
        digests = {name: hash_array(name, arrays[name]) for name in names}
        content = asdict(card) | {"arrays": digests, "arrays_sha256": sha256}
        if card.is_streamed and path is not None:
            content["root"] = str(path.absolute())
        write_json(folder / "card.json", hashing.add_checksum(content))
    return folder / "card.json"


def load_card_for_spec(spec: DataSpec, results_store: store.Store) -> cards.DatasetCard:
    """Return the card of the data set in a run's spec.

    Parameters
    ----------
    spec : dict
        The part `data` of a run's spec.
    results_store : Store
        The results folder that has the prepared arrays of a custom data set.

    Raises
    ------
    DataError
        If the card is missing, damaged, or does not match the spec.
    """
    if spec.name in cards.list_datasets():
        card = cards.load_known_card(spec.name)
    else:
        folder = results_store.data(f"{spec.name}-{spec.card[:12]}")
        try:
            card = cards.read_card(folder / "card.json")
        except DataError:  # not the card that `kdpipe data` creates
            raise DataError(
                f"data set {spec.name}: {folder / 'card.json'} is missing or damaged: "
                f"{format_repair_hint(folder)}"
            ) from None
    if (card.name, card.sha256) != (spec.name, spec.card):
        raise DataError(f"data set {spec.name}: its card has changed: recreate the plan")
    return card


def list_array_names(card: cards.DatasetCard) -> tuple[str, ...]:
    """Return the names of the arrays of a prepared data set."""
    if card.is_streamed:
        return INDEX_NAMES + (VAL_INDEX_NAMES if card.validation else ())
    return ARRAY_NAMES + (VAL_ARRAY_NAMES if card.validation else ())


def load_arrays(card: cards.DatasetCard, results_store: store.Store) -> Arrays:
    """Return the arrays of a prepared data set, memory-mapped.

    Raises
    ------
    DataError
        If an array is missing or does not match the card; the message names it.
    """
    folder, names = results_store.data(card.folder), list_array_names(card)
    arrays = {name: memmap_array(f"data set {card.name}", name, folder) for name in names}
    expected = read_notes(folder).get("arrays_sha256") if card.files else card.sha256
    if hash_arrays(arrays, names) != expected:
        raise DataError(
            f"data set {card.name}: {_describe_altered(folder, arrays)} not as in its card: "
            f"{format_repair_hint(folder)}"
        )
    _raise_mismatches(card, _find_count_mismatches(card, arrays))
    return arrays


def memmap_array(label: str, name: str, folder: Path) -> np.ndarray:
    """Return one prepared array, memory-mapped.

    Parameters
    ----------
    label : str
        Name of the images in messages.
    name : str
        The name of the array.
    folder : Path
        Its folder.

    Raises
    ------
    DataError
        If the file is missing or its header is damaged.
    """
    path = folder / f"{name}.npy"
    try:
        array = map_npy(path)
        _ = array.data  # raises for a type that has only a size
    except Exception as error:  # numpy evaluates a header as Python: any exception is possible
        missing = isinstance(error, FileNotFoundError)
        # Not numpy's message: it treats unknown content as a pickle, and advises to load it.
        reason = "missing" if missing else f"damaged ({type(error).__name__} in its header)"
        raise DataError(f"{label}: {path} is {reason}: {format_repair_hint(folder)}") from None
    return array


def _raise_mismatches(card: cards.DatasetCard, errors: list[str]) -> None:
    """Raise DataError if the card of a custom data set contradicts its arrays."""
    if errors:
        raise DataError(
            f"data set {card.name}: its card has {'; '.join(errors)}: recreate its card with "
            "kdpipe data"
        )


def find_card_mismatches(
    card: cards.DatasetCard, arrays: Arrays, path: Path | None = None
) -> list[str]:
    """Return the mismatches between the card of a custom data set and its images.

    Classes, mean and standard deviation are not part of any digest, but of the record of every run.
    For streamed images, mean and standard deviation are those of a sample, and are not measured
    again.

    Parameters
    ----------
    card : DatasetCard
        The card of a data set; that of a built-in data set has no mismatches.
    arrays : dict of str to ndarray
        The prepared arrays.
    path : Path or None
        The source; None: names and statistics are not compared.

    Returns
    -------
    list of str
        One phrase per field that differs.
    """
    return _find_count_mismatches(card, arrays) + (
        _find_statistics_mismatches(card, arrays, path) if path else []
    )


def _find_count_mismatches(card: cards.DatasetCard, arrays: Arrays) -> list[str]:
    """Return the mismatches between the card of a custom data set and shapes and labels."""
    if card.name in cards.list_datasets():
        return []
    images = arrays["shape"] if card.is_streamed else arrays["train_images"].shape[1:]
    actual = {
        "shape": tuple(map(int, images)),
        "classes": int(arrays["train_labels"].max()) + 1,
        "train": len(arrays["train_labels"]),
        "test": len(arrays["test_labels"]),
        "validation": len(arrays.get("val_labels", ())),
    }
    if card.counts:  # older cards have none
        actual["counts"] = tuple(np.bincount(arrays["train_labels"]).tolist())
    return [
        f"{key} {getattr(card, key)}, found {value}"
        for key, value in actual.items()
        if getattr(card, key) != value
    ]


def _find_statistics_mismatches(card: cards.DatasetCard, arrays: Arrays, path: Path) -> list[str]:
    """Return where a card's class names, mean or standard deviation are not its images'."""
    if card.name in cards.list_datasets():
        return []
    errors = []
    if card.class_names and path.is_dir():
        class_names = class_folders.list_images(path, card.made).classes
        if tuple(map(escape, class_names)) != card.class_names:
            errors.append(
                f"class_names {join_names(card.class_names)}, found {join_names(class_names)}"
            )
    if card.mean and not card.is_streamed:
        measured = compute_mean_std(arrays["train_images"])
        for key, values in zip(("mean", "std"), measured, strict=True):
            if not np.allclose(values, getattr(card, key), rtol=0, atol=STATISTICS_TOLERANCE):
                rounded = [round(float(value), 4) for value in values]
                errors.append(f"{key} {list(getattr(card, key))}, found {rounded}")
    return errors


def read_notes(folder: Path) -> JsonObject:
    """Return the content of the card file of prepared arrays; empty if it cannot be read."""
    with contextlib.suppress(*READ_ERRORS):
        content = json.loads(read_regular_file(folder / "card.json"))
        return content if is_object(content) else {}
    return {}


def _describe_altered(folder: Path, arrays: Arrays) -> str:
    """Return which arrays differ from those that were prepared, if known."""
    with contextlib.suppress(LookupError, TypeError):
        digests = read_notes(folder)["arrays"]
        changed_names = [name for name in arrays if hash_array(name, arrays[name]) != digests[name]]
        if changed_names:
            return ", ".join(f"{folder / name}.npy" for name in changed_names) + " is"
    return f"the arrays in {folder} are"


def format_repair_hint(folder: Path) -> str:
    """Return advice on missing or damaged prepared images."""
    return f"remove the folder {folder} and run the study again"
