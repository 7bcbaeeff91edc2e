"""Verifying a results folder: whether everything in it is what it claims to be.

Every record, file and data set and the archive are read, and checksums compared. No link is
followed, and what another process works on is left alone. Nothing is changed, except that a record
which is damaged or missing is restored from an intact copy.
"""

import contextlib
import hashlib
import json
import re
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from kdpipe.analysis.search import state
from kdpipe.data import cache, cards
from kdpipe.data.imagefolder import unlabelled
from kdpipe.errors import DataError, KdpipeError
from kdpipe.json_types import JsonObject
from kdpipe.runs import (
    copies,
    looks,
    ownership,
    per_image,
    records,
    registrations,
    run_folder,
    store,
    upstream,
)
from kdpipe.runs.files import (
    compute_file_info,
    find_temporary_files,
    map_npy,
    read_arrays,
    read_regular_file,
)
from kdpipe.runs.integrity import bucket
from kdpipe.runs.records import ARCHIVE_FILE, RECORD_KINDS, ArchiveEntry
from kdpipe.runs.spec import SPEC_TYPES

CACHE_DTYPES = (np.dtype("float16"), np.dtype("float32"))  # of a logit cache


def verify_store(run_store: store.Store) -> Iterator[str]:
    """Return one line for each fault of a results folder, with what to do.

    Parameters
    ----------
    run_store : Store
        The results.

    Raises
    ------
    KdpipeError
        For a folder that holds no results.
    """
    ownership.require_results_folder(run_store)
    for path in find_temporary_files(run_store.root, ARCHIVE_FILE):
        yield format_orphan(path)
    yield from map(
        format_orphan, find_temporary_files(run_store.root / registrations.REGISTRATIONS_FOLDER)
    )
    yield from map(
        format_orphan, find_temporary_files(run_store.root / state.SEARCHES_FOLDER, below=True)
    )
    yield from state.find_journal_errors(run_store)
    yield from registrations.find_registration_errors(run_store)
    yield from looks.find_log_errors(run_store)
    yield from map(format_orphan, find_temporary_files(run_store.root, copies.COPIES_FILE))
    yield from map(format_orphan, bucket.find_staging_folders(run_store))
    for kind in ownership.STORE_FOLDERS:
        if (obstacle := ownership.not_a_folder_reason(run_store, kind)) is not None:
            yield (
                f"{run_store.root / kind}: {obstacle}, where kdpipe has a folder: move it out of "
                "here"
            )
        yield from map(format_orphan, ownership.list_half_deleted(run_store, kind))
        if kind == "tables":
            for build_folder in ownership.find_orphan_caches(run_store):
                cache_folder = run_store.logit_cache(build_folder.name.removeprefix("."))
                yield format_orphan(
                    cache_folder
                    if cache_folder.exists()
                    else build_folder / ownership.STUDENTS_FOLDER
                )
        for folder in ownership.list_entries(run_store, kind):
            if folder.is_symlink() or not folder.is_dir():
                yield (
                    f"{folder}: a link or a file where kdpipe makes folders: move it out of here, "
                    "or remove it"
                )
            elif not ownership.is_foreign_folder(folder, kind) and not store.is_running(folder):
                orphans = ownership.list_orphans(folder, kind)
                for path in orphans:
                    yield format_orphan(path)
                try:
                    yield from _verify_folder(folder, kind, run_store, orphans)
                except KdpipeError as error:
                    yield str(error)
    try:
        labels = run_store.load_archived_labels()
        for entry in run_store.read_archive().values():
            yield from _verify_entry(entry, run_store)
            if (problem := _find_per_image_error(entry, labels)) is not None:
                yield (
                    f"{run_store.archive_path}: what it holds of the single images of {entry.name} "
                    f"is damaged ({problem}): restore it (git, a backup)"
                )
        runs = {record["digest"]: record for record in run_store.load_records("runs").values()}
        other_copies = copies.read_copies(run_store)
        for kind in RECORD_KINDS:
            for name, record in run_store.load_records(kind).items():
                if (reason := upstream.stale_reason(record, runs, other_copies)) is not None:
                    yield (
                        f"{run_store.root / kind / name}: outdated: {reason}: remove it, and the "
                        "next start makes it again (kdpipe prune --outdated)"
                    )
    except KdpipeError as error:
        yield str(error)


def list_archive_notes(run_store: store.Store) -> Iterator[str]:
    """Return a note on an archive of which a missing line would not be noticed."""
    path = run_store.archive_path
    with contextlib.suppress(KdpipeError):  # `verify_store` reports a damaged one
        if path.exists() and not records.states_count(path):
            yield (
                f"note: {path} does not say how many records it holds (an earlier version wrote "
                "it, or its first line is missing), so one that is missing would not be noticed: "
                f"kdpipe archive STUDY --results {run_store.root} --to {run_store.root} says which "
                "results of a study are there, and writes it anew"
            )


def list_foreign_folders(run_store: store.Store) -> Iterator[str]:
    """Return a line for each folder that kdpipe has not made; these are not verified."""
    for kind in ownership.STORE_FOLDERS:
        for folder in ownership.list_entries(run_store, kind):
            if (
                folder.is_dir()
                and not folder.is_symlink()
                and ownership.is_foreign_folder(folder, kind)
            ):
                yield f"not kdpipe's, left: {folder} ({ownership.foreign_reason(folder, kind)})"


def format_orphan(path: Path) -> str:
    """Return the message on a file or folder that a killed process has left."""
    return f"{path}: left by a killed process: remove it (or run kdpipe prune)"


def _verify_folder(
    folder: Path, kind: str, run_store: store.Store, orphans: list[Path]
) -> Iterator[str]:
    """Verify a folder by its kind."""
    if kind == "data":
        yield from _verify_data(folder, run_store)
    elif kind == "tables":
        yield from _verify_logit_cache(folder, orphans)
    elif kind in RECORD_KINDS:
        yield from _verify_run(folder, orphans)


def _verify_run(folder: Path, orphans: list[Path]) -> Iterator[str]:
    """Verify a run: its record, and the files that this lists."""
    if (reason := ownership.moved_reason(folder)) is not None:
        yield f"{folder}: {reason}: rename it back, move it out of here or remove it"
        return
    record = records.read_finished_record(folder, None)
    if record is None:
        yield from _verify_unfinished(folder)
        return
    if not _is_record_of(record, folder.name):
        yield f"{folder}: the record of another run ({record['name']}): remove the folder"
        return
    yield from _verify_record_copies(folder, record)
    listed_files = record["files"]
    for name, file_info in listed_files.items():
        path = folder / name
        if not path.is_file() or path.is_symlink():
            yield f"{path}: missing: remove the folder {folder}, and the run is trained again"
        elif (current := compute_file_info(path)) != file_info:
            problem = (
                "truncated or altered" if current["bytes"] != file_info["bytes"] else "altered"
            )
            yield (
                f"{path}: {problem} ({current['bytes']:,} bytes, sha256 {current['sha256'][:12]}, "
                f"the record says {file_info['bytes']:,} and {file_info['sha256'][:12]}): remove "
                f"the folder {folder}"
            )
    for path in _list_files(folder):
        if str(path.relative_to(folder)) not in listed_files and path not in orphans:
            yield f"{path}: not a file of this run: move it out of here, or remove it"


def _verify_record_copies(folder: Path, record: dict[str, Any]) -> Iterator[str]:
    """Verify both copies of a run's record, and restore one from the other."""
    for name in (run_folder.RECORD_FILE, run_folder.RECORD_COPY_FILE):
        try:
            copy = records.read_record(folder, None, name)
            state = "missing" if copy is None else ""
        except KdpipeError:
            copy, state = None, "damaged"
        if state:
            problem = f"{folder / name}: {state}, but its copy is intact"
            yield (
                f"{problem}: restored from the copy; if this happens again, the disk is failing: "
                "move the results to another one"
                if records.restore_record(folder, name)
                else (
                    f"{problem}: it cannot be restored from the copy: remove it, or make it "
                    "writable"
                )
            )
        elif copy and records.diff_records(copy, record):
            yield f"{folder}: its two records differ: remove it, and the run is trained again"


def _verify_unfinished(folder: Path) -> Iterator[str]:
    """Verify an unfinished run, which can only go on with intact files."""
    for path in _list_files(folder, excluded=run_folder.UNLISTED_FILES - {run_folder.STATE_FILE}):
        if path.suffix == ".safetensors" and ownership.is_kdpipe_file(path, folder, "runs"):
            try:
                read_arrays(path)
            except KdpipeError as error:
                yield str(error)


def _list_files(folder: Path, excluded: Collection[str] = run_folder.UNLISTED_FILES) -> list[Path]:
    """Return the files below a folder that a record should list."""
    return [
        path
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.suffix != ".tmp" and path.name not in excluded
    ]


def _verify_entry(entry: ArchiveEntry, run_store: store.Store) -> Iterator[str]:
    """Verify that an archived record belongs to its name, and agrees with its folder."""
    if entry.record is None:
        return
    if entry.record["digest"] != entry.digest or not _is_record_of(entry.record, entry.name):
        yield (
            f"{run_store.archive_path}: what it holds as {entry.name} is of another run: restore "
            "it (git, a backup), or remove it"
        )
        return
    folder = run_store.root / entry.kind / entry.name
    try:
        folder_record = records.read_record(folder, None)
    except KdpipeError:  # reported with the folder
        return
    if folder_record and (difference := records.diff_records(folder_record, entry.record)):
        yield (
            f"{folder}: its record and the one in {run_store.archive_path} differ ({difference}): "
            "remove one"
        )


def _find_per_image_error(entry: ArchiveEntry, labels: dict[str, JsonObject]) -> str | None:
    """Return what is wrong with an archive's metrics of single images, or None."""
    if entry.kind == records.LABELS_KIND:
        try:
            per_image.decode_labels(entry.digest, labels[entry.digest])
        except per_image.DAMAGE_ERRORS as error:
            return str(error)
    if entry.per_image is None or entry.record is None:
        return None
    return per_image.find_form_error(entry.per_image, labels) or per_image.find_mean_error(
        entry.per_image, entry.record, entry.curve
    )


def _is_record_of(record: dict[str, Any], name: str) -> bool:
    """Return whether a record belongs to the run or other node of that name."""
    try:
        spec = SPEC_TYPES[record["kind"]].from_dict(record["spec"])
        return (spec.digest, spec.name) == (record["digest"], name)
    except (TypeError, ValueError, LookupError, AttributeError):  # of another version, or altered
        return False


def _verify_logit_cache(folder: Path, orphans: list[Path]) -> Iterator[str]:
    """Verify a logit cache, or the folder in which one is built, with its parts."""
    for path in sorted(folder.glob("*.safetensors")):
        if path not in orphans:
            try:
                read_arrays(path)
            except KdpipeError:
                yield f"{path}: damaged: remove it, and it is created again"
    if folder.name.startswith(".") or not any(folder.iterdir()):
        return
    try:
        info = json.loads(read_regular_file(folder / ownership.CACHE_INFO_FILE))
        cache = map_npy(folder / "table.npy")
        is_sound = hashlib.sha256(cache.data).hexdigest() == info["sha256"]
        is_sound &= (
            cache.dtype in CACHE_DTYPES and cache.flags.c_contiguous
        )  # the checksum is of bytes alone
        is_sound &= folder.name.endswith(f"-{info['digest'][:12]}")
        is_sound &= bool(re.fullmatch("[0-9a-f]{64}", info["weights"]))
    except Exception:  # numpy parses a header as Python, which may raise anything
        is_sound = False
    if not is_sound:
        yield f"{folder}: damaged logit cache: remove the folder, and it is computed again"


def _verify_data(folder: Path, run_store: store.Store) -> Iterator[str]:
    """Verify a prepared data set."""
    if not (folder / "card.json").exists():
        return
    if unlabelled.is_unlabelled(folder):
        if (fault := unlabelled.validate_unlabelled(folder)) is not None:
            yield fault
        return
    try:
        card = cards.read_card(folder / "card.json")
    except DataError:
        yield f"{folder / 'card.json'}: not a card: remove the folder {folder}"
        return
    if card.name in cards.list_datasets():
        card = cards.load_known_card(card.name)
    if card.folder != folder.name:
        yield (
            f"{folder}: the data set of another version of kdpipe, or {card.folder} moved aside or "
            "copied: move it out of here, or remove it"
        )
        return
    cache.load_arrays(card, run_store)
