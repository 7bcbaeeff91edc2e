"""Custom data sets read into plain arrays; all errors in them are raised at once.

A .npz holds train_images, train_labels, test_images, test_labels (or x_train, y_train, ...) as
numpy writes them, and val_images, val_labels where validation is a part of its own; the layout of a
folder is described in `class_folders`. Nothing is unpickled.

When a card is made, warnings report what is no error and yet seldom intended: one image under two
labels, a test set without a class, files that are skipped. Images of a format that is not read are
an error then, since a class would lose them; data that have a card already are read as ever.
"""

import filecmp
import hashlib
import zipfile
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from kdpipe.data.arrays import PARTS, VAL, Arrays
from kdpipe.data.cards import MAX_ARRAY_BYTES, DatasetCard
from kdpipe.data.imagefolder import class_folders, decoding
from kdpipe.data.imagefolder.class_folders import FolderListing, ImageNames, raise_errors
from kdpipe.errors import DataError
from kdpipe.runs.files import compute_file_info
from kdpipe.text import escape, format_count, join_names

NPZ_KINDS = (("images", "x"), ("labels", "y"))  # the names of arrays, and those of Keras
# The suffixes of images of formats that `decoding` does not read.
UNSUPPORTED_SUFFIXES = {
    *(".heic", ".heif", ".avif", ".jxl", ".jp2", ".j2k", ".svg", ".psd", ".tga", ".ico", ".exr"),
    *(".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".rw2", ".raf", ".raw"),
}
JPEG_SUFFIXES = (".jpg", ".jpeg", ".jfif")  # most images; they have 8 bits and one frame
MAX_COMPARED_BYTES = 2 * 10**9  # of files whose contents are compared
MAX_PAIRS_SHOWN = 3


def read_custom_data(card: DatasetCard, path: Path) -> Arrays:
    """Return the arrays of a custom data set, read as its card says.

    Raises DataError with every error in the images.
    """
    return build_arrays(path, card.made)


def build_arrays(path: Path, options: dict) -> Arrays:
    """Read a folder or .npz file into arrays.

    Parameters
    ----------
    path : Path
        The folder or .npz file.
    options : dict
        How the images are read (`cards.BuildOptions`).

    Returns
    -------
    dict of str to ndarray
        Images and labels of each part.

    Raises
    ------
    DataError
        With every error in the images.
    """
    if path.is_dir():
        arrays, names = class_folders.read_folder(path, options)
    elif path.is_file():
        arrays, names = _read_npz(path, options)
    else:
        raise DataError(f"there is no folder or file {path}")
    is_held_out = options.get("test_share") is not None
    raise_errors(
        [*_find_label_errors(path, arrays), *_find_overlap_errors(arrays, names, is_held_out)], path
    )
    return arrays


def _find_label_errors(path: Path, arrays: Arrays) -> list[str]:
    """Return a message for each class without training images, and each label without a class."""
    classes = int(arrays["train_labels"].max()) + 1
    missing = np.flatnonzero(np.bincount(arrays["train_labels"], minlength=classes) == 0)
    errors = [
        f"class {label} has no training images: labels must be consecutive from 0"
        for label in missing[:10]
    ]
    for part in list_parts(arrays):
        beyond = np.flatnonzero(arrays[f"{part}_labels"] >= classes)
        errors += [
            f"{part}_labels[{index}] is {arrays[f'{part}_labels'][index]}, but training has 0 to "
            f"{classes - 1}"
            for index in beyond[:10]
        ]
    return errors


def list_parts(arrays: Arrays) -> list[str]:
    """Return the parts that are there: train, test, and val where it is a part of its own."""
    return [part for part in (*PARTS, VAL) if f"{part}_labels" in arrays]


def _find_overlap_errors(arrays: Arrays, names: ImageNames, is_held_out: bool) -> list[str]:
    """Return a message for each image that is in two parts.

    Where the test set is held out of train, nobody has put the image into both. Another one is held
    out when a file is removed, so then all equal images are listed, also those of one part, except
    for copies of a file, which stay in train.
    """
    first_owners: dict[bytes, tuple[str, str]] = {}
    errors, errors_within = [], []
    for part in list_parts(arrays):
        digests = hash_images(arrays[f"{part}_images"])
        for digest, name in zip(digests, names[part], strict=True):
            other, first = first_owners.get(digest, (part, name))
            if other != part:
                part_names = f"{other} and {part}"
                reason = f"{part_names} must not overlap"
                if is_held_out and VAL not in (other, part):
                    reason = "one is held out as test and the other is in train: remove one"
                if _differ_below_8_bits(name, first):
                    reason = (
                        "they have 16 bits, of which the upper 8 are kept, and differ only in the "
                        "lower bits: rescale them to 8 bits first"
                    )
                errors.append(f"{name} is the same image as {first}: {reason}")
        if is_held_out:
            errors_within += _find_equal_images(digests, names[part], part)
        first_owners |= {
            digest: (part, name) for digest, name in zip(digests, names[part], strict=True)
        }
    return [*errors, *errors_within] if errors else []


def _find_equal_images(digests: list[bytes], names: Sequence[str], part: str) -> Iterator[str]:
    """Yield a message for each image of a part that is another file with equal pixels."""
    first_names: dict[bytes, str] = {}
    for digest, name in zip(digests, names, strict=True):
        first = first_names.setdefault(digest, name)
        if first != name and not _is_copy(name, first):
            yield (
                f"{name} is the same image as {first}: both are in {part}, until removing a file "
                "changes which images are held out: remove one"
            )


def _is_copy(name: str, other: str) -> bool:
    """Return whether two files have equal bytes."""
    are_files = all(Path(file).is_file() for file in (name, other))  # else names were escaped
    return are_files and filecmp.cmp(name, other, shallow=False)


def _differ_below_8_bits(name: str, other: str) -> bool:
    """Return whether two images of equal 8-bit pixels have 16 bits, and differ in the lower 8."""
    if not all(Path(file).is_file() for file in (name, other)):  # images of a .npz
        return False
    a, b = decoding.read_16bit(name), decoding.read_16bit(other)
    return a is not None and b is not None and not np.array_equal(a, b)


def hash_images(images: np.ndarray) -> list[bytes]:
    """Return a digest of the pixels of each image."""
    return [hashlib.sha256(image.tobytes()).digest() for image in images]


# --- .npz files


def _read_npz(path: Path, options: dict) -> tuple[Arrays, ImageNames]:
    """Return the arrays of a .npz file, and a name of each image for messages."""
    if (
        options["test_share"] is not None
        or options["channels"] is not None
        or options["resize"] is not None
    ):
        raise DataError(
            f"{path}: a .npz is not converted; resize its images in the study (data.resize)"
        )
    contents = load_npz(path)
    parts = [*PARTS, VAL] if options["val"] == "validation" else PARTS
    arrays: Arrays = {}
    for part in parts:
        for kind, short in NPZ_KINDS:
            name, keras_name = f"{part}_{kind}", f"{short}_{part}"
            if name in contents and keras_name in contents:
                raise DataError(f"{path}: it has both {name} and {keras_name}: remove one of them")
            if name not in contents and keras_name not in contents:
                present = ", ".join(contents) or "nothing"
                raise DataError(f"{path}: {name} (or {keras_name}) is missing; it has {present}")
            arrays[name] = contents[name if name in contents else keras_name]
    raise_errors([line for part in parts for line in _find_part_errors(part, arrays)], path)
    for part in parts:
        arrays[f"{part}_images"] = to_nchw(arrays[f"{part}_images"])
        arrays[f"{part}_labels"] = arrays[f"{part}_labels"].reshape(-1).astype(np.int64)
    shapes = {part: arrays[f"{part}_images"].shape[1:] for part in parts}
    for part in parts:
        if shapes[part] != shapes["train"]:
            raise DataError(
                f"{path}: images are {shapes['train']} in train, but {shapes[part]} in {part}"
            )
    return arrays, {
        part: [f"{part} image {index}" for index in range(len(arrays[f"{part}_labels"]))]
        for part in parts
    }


def has_validation(path: Path) -> bool:
    """Return whether a .npz file has validation images; raise DataError if it is damaged."""
    contents = load_npz(path)
    return all(
        f"{VAL}_{kind}" in contents or f"{short}_{VAL}" in contents for kind, short in NPZ_KINDS
    )


def load_npz(path: Path) -> dict[str, np.ndarray]:
    """Return all arrays of a .npz file.

    Raises
    ------
    DataError
        If the file is no .npz, is damaged, or is too large once it is unpacked.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(member.file_size for member in archive.infolist())
        if size > 2 * MAX_ARRAY_BYTES:
            raise ValueError(
                f"uncompressed it has {size:,} bytes, more than the maximum of "
                f"{2 * MAX_ARRAY_BYTES:,}"
            )
        with np.load(path, allow_pickle=False) as file:
            return {key: np.asarray(file[key]) for key in file.files}
    except Exception as error:  # zip, deflate and numpy's header, parsed as Python, all have their
        reason = f"{type(error).__name__}: {error}"  # own exceptions
        if "pickle" in reason:  # numpy takes what it cannot read for a pickle
            reason = "it contains an array of Python objects, or a damaged header"
        raise DataError(
            f"{path} is damaged or not a plain .npz file ({escape(reason)[:200]}): write it with "
            "numpy.savez, with uint8 images and integer labels"
        ) from None


def _find_part_errors(part: str, arrays: Arrays) -> list[str]:
    """Return what is wrong with the images and labels of a part by themselves."""
    images, labels = arrays[f"{part}_images"], arrays[f"{part}_labels"]
    errors = validate_images(f"{part} images", images)
    if labels.dtype.kind not in "iu" or labels.ndim == 0 or labels.size != len(labels):
        errors.append(
            f"{part} labels are {labels.dtype} of shape {labels.shape}: must be one integer "
            "per image"
        )
    elif images.ndim and len(labels) != len(images):
        errors.append(f"{part} has {len(images):,} images and {len(labels):,} labels")
    else:
        invalid = np.flatnonzero((labels.reshape(-1) < 0) | (labels.reshape(-1) >= 100_000))
        errors += [
            f"{part} label {index} is {labels.reshape(-1)[index]}: must be 0 to 99,999"
            for index in invalid[:10]
        ]
    return errors


def validate_images(label: str, images: np.ndarray) -> list[str]:
    """Return what is wrong with an array that should be images; `label` is its name in messages."""
    errors = []
    if images.dtype != np.uint8:
        errors.append(f"{label} are {images.dtype}: must be integers from 0 to 255 (uint8)")
    if images.ndim not in (3, 4) or images.size == 0:
        errors.append(
            f"{label} have shape {images.shape}: must be (N, H, W), (N, H, W, C) or (N, C, H, W)"
        )
    elif images.ndim == 4 and not {images.shape[1], images.shape[3]} & {1, 3}:
        errors.append(f"{label} have shape {images.shape}: must have 1 or 3 channels")
    return errors


def to_nchw(images: np.ndarray) -> np.ndarray:
    """Return images in which `validate_images` finds no error as (N, C, H, W)."""
    if images.ndim == 3:
        return np.ascontiguousarray(images[:, None])
    if images.shape[3] in (1, 3) and images.shape[1] not in (1, 3):
        images = images.transpose(0, 3, 1, 2)
    return np.ascontiguousarray(images)


# --- what is reported when a card is made


def check_formats(path: Path, decode: bool = True) -> None:
    """Raise DataError for images of formats that are not read: a class would lose them.

    Then damaged images are reported with them.

    Parameters
    ----------
    path : Path
        The folder.
    decode : bool
        Whether to decode images to find damaged ones, if there are any of other formats.
    """
    skipped = class_folders.list_skipped_files(path, {})
    errors = [
        f"{path / other}: {other.suffix} is not supported: convert it to JPEG or PNG (ImageMagick: "
        f"mogrify -format jpg *{other.suffix}), and move the original out of the folder"
        for other in skipped
        if other.suffix.lower() in UNSUPPORTED_SUFFIXES
    ]
    if errors:
        readable = [
            path / file for file in skipped if file.suffix.lower() in decoding.IMAGE_SUFFIXES
        ]
        errors += class_folders.find_invalid_images(readable, decode)
    class_folders.raise_errors(errors, path)


def find_array_warnings(path: Path, arrays: Arrays, listing: FolderListing | None) -> list[str]:
    """Return warnings about images in arrays.

    Parameters
    ----------
    path : Path
        The folder or .npz file.
    arrays : dict of str to ndarray
        Images and labels of each part.
    listing : FolderListing or None
        The files of the folder; None of a .npz.
    """
    files = listing.files["train"] if listing else None
    names = [_relative_name(path, file) for file in files] if files else None
    digests = hash_images(arrays["train_images"])
    conflicts = _find_conflicting_labels(digests, arrays["train_labels"], names)
    all_files = (
        [file for part_files in listing.files.values() for file in part_files] if listing else []
    )
    return [
        *conflicts,
        *find_decoding_warnings(path, all_files),
        *_find_folder_warnings(path, arrays, listing),
    ]


def find_streaming_warnings(path: Path, arrays: Arrays, listing: FolderListing) -> list[str]:
    """Return warnings about images that stream.

    Equal files are the same image; only those of equal size are read, and only if that is soon
    done.

    Parameters
    ----------
    path : Path
        The folder.
    arrays : dict of str to ndarray
        The file index.
    listing : FolderListing
        The files of the folder.
    """
    sizes = arrays["train_sizes"]
    _, inverse, counts = np.unique(sizes, return_inverse=True, return_counts=True)
    (same_size,) = np.nonzero(counts[inverse] > 1)
    rest = _find_folder_warnings(path, arrays, listing)
    if (total := int(sizes[same_size].sum())) > MAX_COMPARED_BYTES:
        reason = f"{len(same_size):,} files of equal sizes, {total / 1e9:.0f} GB, were not compared"
        return [
            f"note: duplicate images in different classes were not searched for: {reason}",
            *rest,
        ]
    files = [listing.files["train"][index] for index in same_size]
    digests = [compute_file_info(file)["sha256"] for file in files]
    names = [_relative_name(path, file) for file in files]
    return [*_find_conflicting_labels(digests, arrays["train_labels"][same_size], names), *rest]


def _find_conflicting_labels(
    digests: Iterable, labels: np.ndarray, names: list[str] | None
) -> Iterator[str]:
    """Yield a warning about training images that are in two classes."""
    indices_by_digest: dict = defaultdict(list)
    for index, digest in enumerate(digests):
        indices_by_digest[digest].append(index)
    pairs = [
        indices for indices in indices_by_digest.values() if len(set(labels[indices].tolist())) > 1
    ]
    if not pairs:
        return
    examples = (
        " = ".join(names[i] if names else f"train image {i} (class {labels[i]})" for i in pair[:3])
        for pair in pairs[:MAX_PAIRS_SHOWN]
    )
    more = f" and {len(pairs) - MAX_PAIRS_SHOWN:,} more" if len(pairs) > MAX_PAIRS_SHOWN else ""
    yield (
        f"note: {format_count(len(pairs), 'training image')} "
        f"{'are' if len(pairs) > 1 else 'is'} in more than one class, so some labels are "
        f"wrong: {'; '.join(examples)}{more}"
    )


def _find_folder_warnings(
    path: Path, arrays: Arrays, listing: FolderListing | None
) -> Iterator[str]:
    """Yield warnings about parts without some class, and about files that are skipped."""
    classes = int(arrays["train_labels"].max()) + 1
    for part in ("test", "val"):
        labels = arrays.get(f"{part}_labels")
        if labels is None:
            continue
        missing = sorted(set(range(classes)) - set(labels.tolist()))
        if missing:
            names = (escape(listing.classes[i]) if listing else str(i) for i in missing)
            yield (
                f"note: {part} has no image of {len(missing)} of {classes} classes, which its "
                f"error does not cover: {join_names(names)}"
            )
    if listing:
        yield from find_skipped_warnings(path, listing.files, "are in no class or ")


def find_decoding_warnings(path: Path, files: list[Path]) -> Iterator[str]:
    """Yield warnings about files that become almost black, or lose all but the first image."""
    files = [file for file in files if file.suffix.lower() not in JPEG_SUFFIXES]
    if multiframe_names := [
        _relative_name(path, file) for file in files if decoding.is_multiframe(file)
    ]:
        yield (
            f"note: {format_count(len(multiframe_names), 'file')} with several frames, of which "
            f"only the first is used: {join_names(multiframe_names)}"
        )
    if dark_names := [
        _relative_name(path, file) for file in files if decoding.is_almost_black(file)
    ]:
        yield (
            f"note: {format_count(len(dark_names), '16-bit image')} nearly black, since only the "
            "upper 8 bits are kept: rescale all images first, by a common factor: "
            f"{join_names(dark_names)}"
        )


def find_skipped_warnings(
    path: Path, files: dict[str, list[Path]], reason: str = ""
) -> Iterator[str]:
    """Yield a warning about files below a folder that are skipped."""
    if others := class_folders.list_skipped_files(path, files):
        endings = ", ".join(decoding.IMAGE_SUFFIXES)
        yield (
            f"note: skipped files, which {reason}do not end in one of {endings}: "
            f"{join_names(map(escape, others))}"
        )


def _relative_name(path: Path, file: Path) -> str:
    """Return the path of a file below a folder, for messages."""
    return escape(file.relative_to(path))
