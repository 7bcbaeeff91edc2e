"""Creating the card of a custom data set, a folder of classes or a .npz file.

`make_card` reads every image once, as `reader` does again when the data set is prepared. Errors
name their files and are raised all at once, before anything is trained. Of a folder that streams
(`--stream`) the card has the digest of a file index: the headers of its files are read once, and
their pixels in training; mean and standard deviation, which the study then needs, are measured on a
sample.

A snapshot of the folder, size and time of each file, is written beside the card as
PATH.card.files.json, so that images that were replaced since are noticed. It is compared at each
start, which takes no longer than listing the folder. Only where a file differs, or the card is not
that of the snapshot (somebody may have changed it and added a checksum), are the images read and
compared with the card. So a copy with other times is read once, and images that were replaced
behind a finished study are reported.
"""

import contextlib
import dataclasses
import json
import re
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import yaml

from kdpipe import hashing
from kdpipe.data import cache, cards
from kdpipe.data.arrays import Arrays, compute_mean_std, hash_arrays
from kdpipe.data.cards import DatasetCard
from kdpipe.data.imagefolder import class_folders, reader
from kdpipe.data.imagefolder.class_folders import FolderListing, raise_errors
from kdpipe.data.imagefolder.reader import build_arrays
from kdpipe.errors import DataError
from kdpipe.runs.files import READ_ERRORS, compute_file_info, read_regular_file, write_json
from kdpipe.text import escape, join_names

SAMPLE_SIZE = 1000  # training images that mean and std of streamed images are measured on
SAMPLE_BATCH_SIZE = 10  # of them in memory at once
FileStats = dict[str, list[int]]  # by the file's path below the folder: size in bytes, time in ns


class CardResult(NamedTuple):
    """A card that was written.

    Attributes
    ----------
    card : DatasetCard
        The card.
    path : Path
        Its file.
    sample_count : int
        The number of images that mean and standard deviation were measured on.
    notes : list of str
        What the user should know of the images.
    """

    card: DatasetCard
    path: Path
    sample_count: int
    notes: list[str]


def make_card(path: Path, name: str | None, card: str | None, **options: Any) -> str:
    """Write the card of a folder or .npz file, and describe it.

    Parameters
    ----------
    path : Path
        The folder or .npz file.
    name : str or None
        The name of the data set; None: that of the folder or file.
    card : str or None
        The card file; None: beside the images.
    **options : object
        Those of `build_card`.

    Returns
    -------
    str
        A line about the card with the section of a study that uses it, and notes.

    Raises
    ------
    DataError
        With every error in the images.
    """
    result = build_card(path, name, card, **options)
    return "\n".join([_describe_card(result, path), *result.notes])


def build_card(
    path: Path,
    name: str | None = None,
    card: str | None = None,
    *,
    resize: int | None = None,
    channels: int | None = None,
    test_share: float | None = None,
    stream: int | None = None,
    val_is: str | None = None,
    skip_damaged: bool = False,
) -> CardResult:
    """Write the card of a folder or .npz file.

    Parameters
    ----------
    path : Path
        The folder or .npz file.
    name : str or None
        The name of the data set; None: that of the folder or file.
    card : str or None
        The card file; None: beside the images.
    resize : int or None
        The side that images are scaled to.
    channels : int or None
        1 for grey, 3 for color; None: 1 if all images are grey.
    test_share : float or None
        The share of train that is held out as test.
    stream : int or None
        The side of what is cropped from images that stay in their files.
    val_is : str or None
        What PATH/val is for, `validation` or `test`, where that is not evident.
    skip_damaged : bool
        Whether images that cannot be decoded are left out, and counted in the card.

    Raises
    ------
    DataError
        With every error in the images.
    """
    name = name or path.name.removesuffix(".npz")
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,39}", name) or name in cards.list_datasets():
        raise DataError(
            f"the name {name!r} is in use or invalid: choose another with --name (letters, digits, "
            "- and _, at most 40)"
        )
    if resize is not None and not 4 <= resize <= 1024:
        raise DataError(f"--resize {resize}: must be 4 to 1024 pixels")
    if test_share is not None and not 0 < test_share < 1:
        raise DataError(f"--test-share {test_share}: must be more than 0 and less than 1")
    card_file = Path(card) if card else cards.get_card_path(path)
    options: dict = {"resize": resize, "channels": channels, "test_share": test_share}
    options |= (
        class_folders.detect_layout(path, val_is).build_options
        if path.is_dir()
        else _npz_options(path, val_is)
    )
    listing, draw_notes = None, []
    if path.is_dir():
        reader.check_formats(path, decode=stream is None)
        if test_share is not None and _is_equal_draw(card_file, test_share):
            draw_notes = [
                "note: the test set has equally many images per class, as in the existing card; "
                f"for a stratified test set, remove {card_file} first"
            ]
        elif test_share is not None:
            options["draw"] = "share"
        listing, skip_notes = _list_readable(path, options, skip_damaged)
        draw_notes += skip_notes
    elif skip_damaged:
        raise DataError(f"{path}: --skip-damaged is for a folder of classes")
    if stream is not None:
        if resize is not None or not 16 <= stream <= 1024:
            raise DataError(f"--stream {stream}: must be 16 to 1024 pixels, without --resize")
        if listing is None:
            raise DataError(f"{path}: --stream requires a folder of classes")
        arrays = _index_folder(path, stream, channels, listing)
        shape = tuple(arrays["shape"].tolist())
        options |= {"channels": shape[0], "stream": stream}
        mean, std, count = _measure_sample(path, arrays)
        notes = [*draw_notes, *reader.find_streaming_warnings(path, arrays, listing)]
    else:
        arrays = build_arrays(path, options)
        shape, count = arrays["train_images"].shape[1:], len(arrays["train_labels"])
        measured = compute_mean_std(arrays["train_images"])
        mean, std = ([round(value, 4) for value in values] for values in measured)
        notes = [*draw_notes, *reader.find_array_warnings(path, arrays, listing)]
    new_card = DatasetCard(
        name=name,
        title=name,
        source=path.name,
        shape=shape,
        classes=int(arrays["train_labels"].max()) + 1,
        train=len(arrays["train_labels"]),
        test=len(arrays["test_labels"]),
        sha256="",
        made=options,
        validation=len(arrays.get("val_labels", ())),
        class_names=tuple(map(escape, listing.classes)) if listing else (),
        counts=tuple(np.bincount(arrays["train_labels"]).tolist()),
        mean=tuple(mean),
        std=tuple(std),
        scaled=_describe_scaling(options, stream),
    )
    new_card = dataclasses.replace(
        new_card, sha256=hash_arrays(arrays, cache.list_array_names(new_card))
    )
    save_snapshot(_card_snapshot(card_file, new_card, path))
    write_json(card_file, cards.seal_card(new_card))  # last: its snapshot is there if it is
    return CardResult(new_card, card_file, count, notes)


def _list_readable(
    path: Path, options: dict, skip_damaged: bool
) -> tuple[FolderListing, list[str]]:
    """Return the images of a folder, without damaged ones if these are skipped, and a note on them.

    The options then have their number.
    """
    if not skip_damaged:
        return class_folders.list_images(path, options), []
    listing = class_folders.list_images(path, options | {"skip_damaged": 1})
    readable = {file for files in listing.files.values() for file in files}
    damaged = [f for f in class_folders.list_all_images(path, options) if f not in readable]
    if not damaged:
        return listing, []
    options["skip_damaged"] = len(damaged)
    names = join_names(escape(file.relative_to(path)) for file in damaged)
    plural = "s are" if len(damaged) > 1 else " is"
    return listing, [f"note: {len(damaged)} damaged image{plural} left out: {names}"]


def describe_counts(card: DatasetCard) -> str:
    """Return number and size of the images of a card in words."""
    size = " x ".join(map(str, card.shape)) + (
        ", read from their files," if card.is_streamed else ""
    )
    val = f", {card.validation:,} validation" if card.validation else ""
    return (
        f"{card.train:,} training{val} and {card.test:,} test images of {size} in {card.classes} "
        "classes"
    )


def _describe_card(result: CardResult, path: Path) -> str:
    """Return what a card was made of, and the section of a study that uses it."""
    card, card_file, count, _ = result
    keys: dict[str, object] = {"name": card.name, "path": str(path)}
    if card_file != cards.get_card_path(path):
        keys["card"] = str(card_file)
    measured = ""
    if card.is_streamed:
        keys |= {"mean": list(card.mean), "std": list(card.std)}
        measured_on = (
            f"{count:,} training images drawn at random" if count < card.train else "all of train"
        )
        measured = f"\n(mean and std were measured on {measured_on}, as evaluation sees them)"
    yaml_text = yaml.safe_dump(
        keys, default_flow_style=True, sort_keys=False, width=10**6, allow_unicode=True
    ).strip()
    return f"{card_file}: {describe_counts(card)}. In the study: data: {yaml_text}{measured}"


def _npz_options(path: Path, val_is: str | None) -> dict:
    """Return the options of the card of a .npz file."""
    if val_is is not None:
        raise DataError(f"--val-is {val_is}: only for a folder with train/ and val/")
    return {"val": "validation" if path.is_file() and reader.has_validation(path) else None}


def _is_equal_draw(card_file: Path, share: float) -> bool:
    """Return whether the present card holds out this share with as many of each class.

    So did the first cards; one that is made again keeps its meaning.
    """
    try:
        options = cards.read_card(card_file).made
    except DataError:
        return False
    return options.get("test_share") == share and options.get("draw") is None


def _describe_scaling(options: dict, stream: int | None) -> str:
    """Return how the images got their shape, in words."""
    if stream is not None:
        return (
            f"shorter side scaled to 256/224 of {stream}, the centre cut out; in training as the "
            "study says (data.crop)"
        )
    if options["resize"] is not None:
        return f"each stretched to {options['resize']} x {options['resize']} (PIL, bilinear)"
    return "as they are"


def _index_folder(path: Path, side: int, channels: int | None, listing: FolderListing) -> Arrays:
    """Return the file index of a folder that streams; raise DataError with every error."""
    headers, errors = class_folders.read_headers(
        [file for part in listing.files.values() for file in part]
    )
    class_folders.raise_damaged(errors, path)
    channels = channels or class_folders.infer_channels(headers)
    arrays = cache.build_index(path, listing.files, listing.labels, (channels, side, side))
    raise_errors(_find_duplicate_files(listing.files, arrays), path)
    return arrays


def _measure_sample(path: Path, arrays: Arrays) -> tuple[list[float], list[float], int]:
    """Return mean and standard deviation of each channel, and the number of images measured.

    The sample is always the same, and consists of the centres that evaluation cuts out, of pixels
    in [0, 1]; rounded to four digits.
    """
    from kdpipe.data import streaming  # torch, for this alone
    from kdpipe.data.views import IDENTITY_VIEWS

    count = len(arrays["train_labels"])
    indices = np.sort(np.random.RandomState(0).permutation(count)[:SAMPLE_SIZE])
    shape = tuple(arrays["shape"].tolist())
    total, squares = np.zeros(shape[0]), np.zeros(shape[0])
    with tempfile.TemporaryDirectory() as folder:
        for kind in ("paths", "sizes"):
            np.save(Path(folder) / f"train_{kind}.npy", arrays[f"train_{kind}"])
        files = cache.ImageFiles(Path(folder), "train", indices, path, shape, is_custom=True)
        batches = streaming.StreamedBatches(
            files, IDENTITY_VIEWS, [0.0] * shape[0], [1.0] * shape[0]
        )
        for x in batches.unaugmented_batches(SAMPLE_BATCH_SIZE):
            pixels = x.numpy().astype(np.float64)
            total += pixels.sum((0, 2, 3))
            squares += (pixels**2).sum((0, 2, 3))
    mean = total / (len(indices) * shape[1] * shape[2])
    variance = squares / (len(indices) * shape[1] * shape[2]) - mean**2
    std = np.sqrt(variance.clip(1e-8))  # a study needs more than 0, of images of one color too
    return mean.round(4).tolist(), std.round(4).tolist(), len(indices)


def _find_duplicate_files(files: dict[str, list[Path]], arrays: Arrays) -> list[str]:
    """Return a message for each pair of equal files in two parts."""
    parts = list(files)
    first_owners: dict[str, tuple[str, Path]] = {}
    errors = []
    for part in parts:
        others = [arrays[f"{other}_sizes"] for other in parts if other != part]
        same_size = np.flatnonzero(np.isin(arrays[f"{part}_sizes"], np.concatenate(others)))
        paths = [files[part][index] for index in same_size]
        digests = {path: compute_file_info(path)["sha256"] for path in paths}
        for path, sha256 in digests.items():
            other, first = first_owners.get(sha256, (part, path))
            if other != part:
                part_names = f"{other} and {part}"
                errors.append(f"{path} is the same file as {first}: {part_names} must not overlap")
        first_owners |= {sha256: (part, path) for path, sha256 in digests.items()}
    return errors


# --- the snapshot beside a card


class SnapshotCheck(NamedTuple):
    """The digest of images that were read, and where their card differs from them."""

    sha256: str
    errors: list[str]


@dataclass(frozen=True)
class FileSnapshot:
    """The images and the card that a snapshot is of.

    Attributes
    ----------
    card_file : Path
        The card.
    path : Path
        The folder or .npz file.
    sha256 : str
        The digest of the images.
    card_digest : str
        The digest of all that the card says.
    is_streamed : bool
        Whether the images stay in their files.
    files : callable
        Returns the image files of a folder. Raises DataError.
    read : callable
        Reads the images and compares them with the card. Raises DataError.
    rebuild_command : str
        The shell command that makes the card again.
    """

    card_file: Path
    path: Path
    sha256: str
    card_digest: str
    is_streamed: bool
    files: Callable[[], list[Path]]
    read: Callable[[], SnapshotCheck]
    rebuild_command: str


def save_snapshot(snapshot: FileSnapshot) -> None:
    """Write a snapshot beside its card."""
    content = {
        "card": snapshot.sha256,
        "said": snapshot.card_digest,
        "files": _collect_file_stats(snapshot),
    }
    write_json(get_snapshot_path(snapshot.card_file), content)


def get_snapshot_path(card_file: Path) -> Path:
    """Return where the snapshot of a card lies."""
    return card_file.with_name(f"{card_file.name.removesuffix('.json')}.files.json")


def diff_card(card_file: Path, card: DatasetCard, path: Path) -> str | None:
    """Return what to say if images are not those of their card; None if they are.

    Parameters
    ----------
    card_file : Path
        The card file.
    card : DatasetCard
        The card in it.
    path : Path
        The folder or .npz file.
    """
    return diff_snapshot(_card_snapshot(card_file, card, path))


def diff_snapshot(snapshot: FileSnapshot) -> str | None:
    """Return what to say if images are not those of their card; None if they are.

    It is None as well if the images are gone: what was prepared of them may suffice. Files of other
    sizes or times are read, and the snapshot is renewed if they hold the same images.
    """
    if not snapshot.path.exists():
        return None
    before, same_card = _read_snapshot(snapshot)
    check = SnapshotCheck("", [])
    try:
        now = _collect_file_stats(snapshot)
        if now == before and same_card:
            return None
        changed = [name for name in {**before, **now} if before.get(name) != now.get(name)]
        check = snapshot.read()
        same = check.sha256 == snapshot.sha256
        reason = (
            f"{_describe_changes(changed, before, now)} since its card was made" if before else ""
        )
    except DataError as error:
        same, changed, reason = False, [], str(error)
    if not same:
        return (
            f"the images in {snapshot.path} do not match its "
            f"card{f' ({reason})' if reason else ''}, and finished runs were trained on the old "
            f"images: restore those, or recreate the card: {snapshot.rebuild_command}; runs on the "
            "new images get new names"
        )
    if check.errors:
        return (
            f"{snapshot.card_file} has {'; '.join(check.errors)}: it was modified after its "
            f"creation, and its checksum updated: {snapshot.rebuild_command}"
        )
    if snapshot.is_streamed and before and changed:
        return (
            f"{reason}; all sizes are equal, and pixels of streamed images are not compared. If "
            f"the images are the same, run: {snapshot.rebuild_command}"
        )
    with contextlib.suppress(OSError):  # the folder may be read-only
        save_snapshot(snapshot)
    return None


def _card_snapshot(card_file: Path, card: DatasetCard, path: Path) -> FileSnapshot:
    """Return the snapshot of the card of a custom data set."""
    return FileSnapshot(
        card_file,
        path,
        card.sha256,
        hash_card(card),
        card.is_streamed,
        lambda: class_folders.list_all_images(path, card.made),
        lambda: _reread_images(card, path),
        cards.format_rebuild_command(card, path, card_file),
    )


def _collect_file_stats(snapshot: FileSnapshot) -> FileStats:
    """Return size and time of each file now."""
    if not snapshot.path.is_dir():
        return {"": _stat_file(snapshot.path)}
    return {str(file.relative_to(snapshot.path)): _stat_file(file) for file in snapshot.files()}


def _stat_file(file: Path) -> list[int]:
    """Return size and time of a file."""
    stat = file.stat()
    return [stat.st_size, stat.st_mtime_ns]


def _read_snapshot(snapshot: FileSnapshot) -> tuple[FileStats, bool]:
    """Read the file of a snapshot, and return whether it is of the present card."""
    with contextlib.suppress(*READ_ERRORS):
        content = json.loads(read_regular_file(get_snapshot_path(snapshot.card_file)))
        if content["card"] == snapshot.sha256:
            return dict(content["files"]), content.get("said") == snapshot.card_digest
    return {}, False


def hash_card(card: object) -> str:
    """Return the digest of all that a card says, whether it was just made or read from a file."""
    fields = asdict(card)  # pyright: ignore[reportArgumentType]
    options = fields.get("made", {})
    return hashing.hash_spec(fields | {"made": {k: v for k, v in options.items() if v is not None}})


def _reread_images(card: DatasetCard, path: Path) -> SnapshotCheck:
    """Read the images of a card, and return their digest and where the card differs from them."""
    arrays = (
        cache.read_index(card, path) if card.is_streamed else reader.read_custom_data(card, path)
    )
    errors = cache.find_card_mismatches(card, arrays, path)
    return SnapshotCheck(hash_arrays(arrays, cache.list_array_names(card)), errors)


def _describe_changes(changed: list[str], before: FileStats, now: FileStats) -> str:
    """Return which files differ: `2 files have changed: train/a/1.png, ...`."""
    names = join_names(escape(name) for name in sorted(changed) if name)
    gone = len([name for name in changed if name not in now])
    new = len([name for name in changed if name not in before])
    kinds = ((len(changed) - gone - new, "changed"), (new, "came"), (gone, "went"))
    counts_text = ", ".join(f"{count:,} {kind}" for count, kind in kinds if count)
    return f"files: {counts_text}{f': {names}' if names else ''}"
