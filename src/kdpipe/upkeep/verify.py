"""The results folder as a whole: is everything in it what it says it is?

`faults` reads every record, file and data set, and the archive, and compares checksums. It follows
no link, and leaves alone what another process works on. Nothing is changed but for a record that is
damaged or gone and whose copy is whole: that is put back.
"""

import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from kdpipe import identity
from kdpipe.data import cards, prepared
from kdpipe.data.own.unlabelled import prepared as unlabelled
from kdpipe.errors import DataError, KdpipeError
from kdpipe.results import leftovers, marks, parents, records, registrations, run_folder, store
from kdpipe.results.archived import FILE, KINDS, Entry
from kdpipe.results.files import file_facts, read_arrays, temporary_files
from kdpipe.search import decisions
from kdpipe.specs.made import NAMES

PRECISIONS = (np.dtype("float16"), np.dtype("float32"))  # of a teacher table


def faults(place: store.Store) -> Iterator[str]:
    """One line for each fault of the results folder, with what to do.

    Raises KdpipeError for a folder that holds no results.
    """
    marks.refuse_another_folder(place)
    for path in temporary_files(place.root, FILE):
        yield left_lying(path)
    yield from map(left_lying, temporary_files(place.root / registrations.FOLDER))
    yield from map(left_lying, temporary_files(place.root / decisions.FOLDER, below=True))
    yield from registrations.faults(place)
    for kind in marks.FOLDERS:
        if (what := marks.no_folder(place, kind)) is not None:
            yield f"{place.root / kind}: {what}, where kdpipe has a folder: move it out of here"
        yield from map(left_lying, marks.half_removed(place, kind))
        if kind == "tables":
            for work in leftovers.unawaited(place):
                made = place.table(work.name.removeprefix("."))
                yield left_lying(made if made.exists() else work / marks.STUDENTS)
        for folder in marks.entries(place, kind):
            if folder.is_symlink() or not folder.is_dir():
                yield (
                    f"{folder}: a link or a file where kdpipe makes folders: move it out of here, "
                    "or remove it"
                )
            elif not marks.is_strange(folder, kind) and not store.is_running(folder):
                left = leftovers.of(folder, kind)
                for path in left:
                    yield left_lying(path)
                try:
                    yield from _of_folder(folder, kind, place, left)
                except KdpipeError as error:
                    yield str(error)
    try:
        for entry in place.archived().values():
            yield from _of_entry(entry, place)
        place.wrong_images()
        runs = {record["digest"]: record for record in place.records("runs").values()}
        for kind in KINDS:
            for name, record in place.records(kind).items():
                if (why := parents.outdated(record, runs)) is not None:
                    yield (
                        f"{place.root / kind / name}: outdated: {why}: remove it, and the next "
                        "start makes it again (kdpipe prune --outdated)"
                    )
    except KdpipeError as error:
        yield str(error)


def strangers(place: store.Store) -> Iterator[str]:
    """A line for each folder that is not kdpipe's: nothing of it is looked at."""
    for kind in marks.FOLDERS:
        for folder in marks.entries(place, kind):
            if folder.is_dir() and not folder.is_symlink() and marks.is_strange(folder, kind):
                yield f"not kdpipe's, left: {folder} ({marks.foreign(folder, kind)})"


def left_lying(path: Path) -> str:
    """What is said of a leftover."""
    return f"{path}: left by a process that was killed: remove it (kdpipe prune does)"


def _of_folder(folder: Path, kind: str, place: store.Store, left: list[Path]) -> Iterator[str]:
    if kind == "data":
        yield from _of_data(folder, place)
    elif kind == "tables":
        yield from _of_table(folder, left)
    elif kind in KINDS:
        yield from _of_run(folder, left, place.leaves_weights_out)


def _of_run(folder: Path, left: list[Path], left_out: bool) -> Iterator[str]:
    """left: what is a leftover; left_out: whether weights and outputs may be missing."""
    if (why := marks.moved_aside(folder)) is not None:
        yield f"{folder}: {why}: rename it back, move it out of here or remove it"
        return
    found = records.finished(folder, None)
    if found is None:
        yield from _of_unfinished(folder)
        return
    if not _is_of(found, folder.name):
        yield f"{folder}: the record of another run ({found['name']}): remove the folder"
        return
    if not left_out:  # kdpipe 0.1 kept one alone
        yield from _of_its_two_records(folder, found)
    listed = found["files"]
    for name, facts in listed.items():
        path = folder / name
        if not path.is_file() or path.is_symlink():
            if not (left_out and path.suffix == ".safetensors"):
                yield f"{path}: missing: remove the folder {folder}, the run is then made again"
        elif (now := file_facts(path)) != facts:
            what = "truncated or altered" if now["bytes"] != facts["bytes"] else "altered"
            yield (
                f"{path}: {what} ({now['bytes']:,} bytes, sha256 {now['sha256'][:12]}, the record "
                f"says {facts['bytes']:,} and {facts['sha256'][:12]}): remove the folder {folder}"
            )
    for path in _files(folder):
        if str(path.relative_to(folder)) not in listed and path not in left:
            yield f"{path}: not a file of this run: move it out of here, or remove it"


def _of_its_two_records(folder: Path, found: dict) -> Iterator[str]:
    """A run has its record twice, and the copy may be the newer."""
    for name in (run_folder.RECORD, run_folder.KEPT_RECORD):
        try:
            other = records.read(folder, None, name)
            wrong = "missing" if other is None else ""
        except KdpipeError:
            other, wrong = None, "damaged"
        if wrong:
            what = f"{folder / name}: {wrong}, and its copy is whole"
            yield (
                f"{what}: it has been put back from that; if it is said again, the disk is "
                "failing: move the results to another one"
                if records.put_back(folder, name)
                else f"{what}: it cannot be put back from that: remove it, or make it writable"
            )
        elif other and records.disagreement(other, found):
            yield f"{folder}: its two records differ: remove the folder, the run is then made again"


def _of_unfinished(folder: Path) -> Iterator[str]:
    """A run that was cut off: what lies there must be whole, or it cannot go on."""
    for path in _files(folder, but=run_folder.UNLISTED - {run_folder.STATE}):
        if path.suffix == ".safetensors" and marks.is_written(path, folder, "runs"):
            try:
                read_arrays(path)
            except KdpipeError as error:
                yield str(error)


def _files(folder: Path, but=run_folder.UNLISTED) -> list[Path]:
    return [
        path
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.suffix != ".tmp" and path.name not in but
    ]


def _of_entry(entry: Entry, place: store.Store) -> Iterator[str]:
    """What the archive says of a run must be of that run, and what its own folder says too."""
    if entry.record is None:
        return
    if entry.record["digest"] != entry.digest or not _is_of(entry.record, entry.name):
        yield (
            f"{place.archive}: what it holds as {entry.name} is of another run: restore it (git, a "
            "backup), or remove it"
        )
        return
    folder = place.root / entry.kind / entry.name
    try:
        beside = records.read(folder, None)
    except KdpipeError:  # said of the folder
        return
    if beside and (differs := records.disagreement(beside, entry.record)):
        yield f"{folder}: its record and the one in {place.archive} differ ({differs}): remove one"


def _is_of(record: dict, name: str) -> bool:
    """Whether a record is of what has that name."""
    spec, digest = record["spec"], record["digest"]
    return identity.digest(spec) == digest and NAMES[record["kind"]](spec, digest) == name


def _of_table(folder: Path, left: list[Path]) -> Iterator[str]:
    """A teacher table, or the folder in which one is made, with its parts."""
    for path in sorted(folder.glob("*.safetensors")):
        if path not in left:
            try:
                read_arrays(path)
            except KdpipeError:
                yield f"{path}: damaged: remove it, it is then made again"
    if folder.name.startswith(".") or not any(folder.iterdir()):
        return
    try:
        about = json.loads((folder / marks.ABOUT).read_bytes())
        table = np.load(folder / "table.npy", mmap_mode="r", allow_pickle=False)
        sound = hashlib.sha256(table.data).hexdigest() == about["sha256"]
        sound &= table.dtype in PRECISIONS and table.flags.c_contiguous  # it is of bytes alone
        sound &= folder.name.endswith(f"-{about['digest'][:12]}")
        sound &= bool(re.fullmatch("[0-9a-f]{64}", about["weights"]))
    except Exception:  # numpy reads a header as Python text: it ends in anything
        sound = False
    if not sound:
        yield f"{folder}: a teacher table that is damaged: remove the folder, it is then made again"


def _of_data(folder: Path, place: store.Store) -> Iterator[str]:
    if not (folder / "card.json").exists():
        return
    if unlabelled.is_one(folder):
        if (fault := unlabelled.fault(folder)) is not None:
            yield fault
        return
    try:
        card = cards.read(folder / "card.json")
    except DataError:
        yield f"{folder / 'card.json'}: not a card: remove the folder {folder}"
        return
    if card.name in cards.known():
        card = cards.load(card.name)
    if card.folder != folder.name:
        yield (
            f"{folder}: the data set of another version of kdpipe, or {card.folder} moved aside or "
            "copied: move it out of here, or remove it"
        )
        return
    prepared.read(card, place)
