"""Merging results: the finished runs of other results folders and archives are brought into one.

Runs are named by what they compute and are never changed once they are done, so of a run that is
here already nothing is needed. Of a run with other bytes (another kind of processor) the copy that
is here stays, and the other is named. What is unfinished is not merged: states, failures, logit
caches, locks and logs belong to the folder where the job was.

Each file is compared with its checksum before and after. A file is written under a temporary name
and the record last, so a merge that was killed leaves an unfinished run, and the next one goes on.
"""

import contextlib
import fcntl
import os
from collections import Counter
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kdpipe.analysis.search import state
from kdpipe.errors import KdpipeError, StoreError
from kdpipe.runs import copies, looks, ownership, records, registrations, run_folder
from kdpipe.runs.files import (
    FileInfo,
    compute_file_info,
    find_damaged_file,
    open_regular_file,
    place_file,
    read_regular_file,
    write_bytes,
)
from kdpipe.runs.integrity import archive, bucket
from kdpipe.runs.records import RECORD_KINDS, ArchiveEntries, ArchiveEntry
from kdpipe.runs.store import HEAD_LOCK_FILE, Store, is_running, lock_published_folder
from kdpipe.runs.store import lock_run_folder as lock_folder
from kdpipe.text import format_count, join_names


@dataclass
class MergeSummary:
    """What was merged from one folder.

    Attributes
    ----------
    root : Path or str
        The folder, or the address of the bucket.
    merged : Counter
        Results that are here now, by kind.
    n_present : int
        Results that were here already.
    n_unfinished : int
        Unfinished results, which are not merged.
    problems : list of str
        What was left out, and why.
    """

    root: Path | str
    merged: Counter[str] = field(default_factory=Counter[str])
    n_present: int = 0
    n_unfinished: int = 0
    problems: list[str] = field(default_factory=list[str])

    def format_lines(self) -> list[str]:
        """Return the summary, with a line for each result that was left out."""
        counts = [format_count(n, archive.KIND_WORDS[kind]) for kind, n in self.merged.items() if n]
        parts = [f"{join_names(counts)} merged" if counts else "nothing to merge"]
        parts += [f"{self.n_present:,} here already"] if self.n_present else []
        parts += [f"{self.n_unfinished:,} unfinished, left there"] if self.n_unfinished else []
        parts += [f"{len(self.problems):,} left out"] if self.problems else []
        return [
            f"{self.root}: {', '.join(parts)}",
            *(f"  left out  {problem}" for problem in self.problems),
        ]


def merge_results(sources: Iterable[Store], target: Store) -> list[MergeSummary]:
    """Bring the finished results of other folders and archives into this one.

    Parameters
    ----------
    sources : iterable of Store
        The other results folders; an archive is the folder in which it lies, a bucket its mirror.
    target : Store
        The results folder that they are merged into; it need not exist.

    Returns
    -------
    list of MergeSummary
        What was merged from each.

    Raises
    ------
    KdpipeError
        Before anything is merged: for a folder that holds no results or is this one, while a job
        works in one of them, and for a registration that was altered or is another one than here.
    StoreError
        If a file cannot be written, or this folder has a damaged archive or list of copies.
    """
    sources = list(sources)
    for source in sources:
        ownership.require_results_folder(source, option="")
        if target.root.exists() and source.root.samefile(target.root):
            raise KdpipeError(f"{source.root}: the folder that would be merged into; give others")
        _require_mergeable_registrations(source, target)
        copies.read_copies(source)
    for store in (*sources, target):
        _require_idle(store)
    target.read_archive()
    copies.read_copies(target)
    return [_merge_source(source, target) for source in sources]


def _require_idle(store: Store) -> None:
    """Raise KdpipeError while a job or a Snakemake works in a results folder."""
    for kind in ownership.STORE_FOLDERS:
        for folder in ownership.list_entries(store, kind):
            if is_running(folder):
                raise KdpipeError(
                    f"{folder}: a job works on it: wait for it to end, or stop it; nothing was "
                    "merged"
                )
    lock_path = store.root.absolute().parent / HEAD_LOCK_FILE
    # None, not one of kdpipe, or a file system without locks: nothing is known to run.
    with contextlib.suppress(OSError), open_regular_file(lock_path) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise KdpipeError(
                f"{store.root}: a study runs in {lock_path.parents[1]}: wait for it to end, or "
                "stop it; nothing was merged"
            ) from None


def _merge_source(source: Store, target: Store) -> MergeSummary:
    """Merge one folder; registrations first, so that what they seal is never open."""
    summary = MergeSummary(source.url if isinstance(source, bucket.Mirror) else source.root)
    _merge_registrations(source, target)
    _note_copies(source, target)
    for kind in RECORD_KINDS:
        for folder in ownership.list_entries(source, kind):
            try:
                _merge_folder(folder, kind, source, target, summary)
            except _LeftOutError as error:
                summary.problems.append(str(error))
    _merge_archive(source, target, summary)
    summary.problems += state.copy_journals(source, target)
    if isinstance(source, bucket.Mirror):
        summary.problems = [
            problem.replace(str(source.root), source.url) for problem in summary.problems
        ]
    return summary


def _note_copies(source: Store, target: Store) -> None:
    """Note which runs of a folder are other copies than those here, before their students come."""
    try:
        archived = list(source.read_archive().values())
    except StoreError:  # named where it is merged
        archived = list[ArchiveEntry]()
    theirs: dict[str, dict[str, Any] | None] = {
        entry.name: entry.record for entry in archived if entry.kind == "runs"
    }
    for folder in ownership.list_entries(source, "runs"):
        theirs[folder.name] = records.find_whole_record(folder) or theirs.get(folder.name)
    own, new = target.load_records("runs"), copies.read_copies(source)
    for name, record in theirs.items():
        if record and name in own and records.diff_records(own[name], record) is not None:
            checksums = copies.list_checksums(record) - copies.list_checksums(own[name])
            new.setdefault(record["digest"], set()).update(checksums)
    if any(new.values()):
        copies.add_copies(target, new)


# --- folders of results


class _LeftOutError(Exception):
    """Why a result is left out."""


def _merge_folder(
    folder: Path, kind: str, source: Store, target: Store, summary: MergeSummary
) -> None:
    """Merge one result; raise _LeftOutError if it is damaged, foreign or differs from that here."""
    if (reason := ownership.foreign_reason(folder, kind)) is not None:
        raise _LeftOutError(f"{folder}: not a result of kdpipe ({reason})")
    record = _read_record(folder)
    if record is None:
        summary.n_unfinished += 1
        return
    files: dict[str, FileInfo] = record.get("files", {})
    has_file: Callable[[str], bool] | None = None
    if isinstance(source, bucket.Mirror):  # whose files are still in the bucket
        has_file = lambda name: source.find_object(folder, name, files[name]) is not None  # noqa: E731
    if reason := records.record_problem(record, folder, has_file=has_file):
        raise _LeftOutError(reason)
    own_folder = target.root / kind / folder.name
    own, merged = _compare_with_own(record, folder, kind, target), record
    if own is not None:
        merged = records.merge_records(own, record)
        if merged == own:
            _tidy(own_folder, kind)
            summary.n_present += 1
            return
    known_files: dict[str, FileInfo] = own.get("files", {}) if own is not None else {}
    new_files = {name: info for name, info in files.items() if known_files.get(name) != info}
    if isinstance(source, bucket.Mirror):
        source.fetch(folder, new_files)
    _require_intact(folder, new_files, source)
    with lock_folder(own_folder):
        if own is None:
            # The state of an unfinished run here must not go on with files of another machine.
            for path in run_folder.list_job_leftovers(own_folder):
                path.unlink(missing_ok=True)
        for name, info in new_files.items():
            place_file(folder / name, own_folder / name)
            if compute_file_info(own_folder / name) != info:
                raise StoreError(
                    f"{own_folder / name}: not what was written to it: the disk is failing; move "
                    "the results to another one"
                )
        records.publish_record(own_folder, merged)
        _tidy(own_folder, kind)
    summary.merged[kind] += 1


def _tidy(folder: Path, kind: str) -> None:
    """Complete what a merge that was killed in its last steps has left of a finished result."""
    records.read_or_repair_record(folder)
    for path in ownership.list_orphans(folder, kind):
        path.unlink(missing_ok=True)


def _read_record(folder: Path) -> dict[str, Any] | None:
    """Return the record of a folder; raise _LeftOutError if it is damaged."""
    try:
        return records.read_finished_record(folder, None)
    except StoreError as error:
        raise _LeftOutError(str(error)) from None


def _compare_with_own(
    record: dict[str, Any], place: Path, kind: str, target: Store
) -> dict[str, Any] | None:
    """Return the record that the folder of the same result has here; None without a folder.

    Raises
    ------
    _LeftOutError
        If the record here is damaged, or says something else; also that of the archive here.
    """
    own_folder = target.root / kind / place.name
    own = _read_record(own_folder)
    entry = target.read_archive().get((kind, place.name))
    known = own or (entry.record if entry is not None else None)
    if known is not None and (difference := records.diff_records(known, record)) is not None:
        raise _LeftOutError(
            f"{place}: it differs from that of {target.root} ({difference}), which stays; here "
            f"{archive.describe_record(known)}; there {archive.describe_record(record)}"
        )
    return own


def _require_intact(folder: Path, files: dict[str, FileInfo], source: Store) -> None:
    """Raise _LeftOutError if a file of a result is not what its record says."""
    if (damage := find_damaged_file(folder, files)) is not None:
        name, reason = damage
        is_mirrored = isinstance(source, bucket.Mirror)
        place = source.locate(folder, name, files[name]) if is_mirrored else folder / name
        raise _LeftOutError(f"{place}: {reason}")


# --- archives


def _merge_archive(source: Store, target: Store, summary: MergeSummary) -> None:
    """Merge the archive of a folder, if it has one, into that of this folder."""
    try:
        entries = source.read_archive()
    except StoreError as error:
        summary.problems.append(str(error))
        return
    new_entries: ArchiveEntries = {}
    for (kind, name), entry in entries.items():
        place = source.root / kind / name
        if kind == records.LABELS_KIND:
            new_entries[kind, name] = entry
        elif entry.record is None:
            summary.n_unfinished += 1
        elif records.find_whole_record(place) is None:  # else it was merged with its folder
            try:
                _add_entry(entry, place, target, new_entries, summary)
            except _LeftOutError as error:
                summary.problems.append(str(error))
    if all(kind == records.LABELS_KIND for kind, _ in new_entries):
        return
    with lock_published_folder(target.root):
        archive.update_archive(target, new_entries)
    summary.merged += Counter(kind for kind, _ in new_entries if kind in RECORD_KINDS)


def _add_entry(
    entry: ArchiveEntry,
    place: Path,
    target: Store,
    new_entries: ArchiveEntries,
    summary: MergeSummary,
) -> None:
    """Add an entry of another archive to those that are new here; raise _LeftOutError if wrong."""
    assert entry.record is not None
    if reason := records.wrong_owner_reason(entry.record, entry.name):
        raise _LeftOutError(f"{place.parents[1]}: {reason}")
    own = _compare_with_own(entry.record, place, entry.kind, target)
    old_entry = target.read_archive().get((entry.kind, entry.name))
    if own is None and (old_entry is None or archive.merge_entries(old_entry, entry) != old_entry):
        new_entries[entry.kind, entry.name] = (
            entry if old_entry is None else archive.merge_entries(old_entry, entry)
        )
    else:
        summary.n_present += 1


# --- registrations


def _require_mergeable_registrations(source: Store, target: Store) -> None:
    """Raise KdpipeError for registrations that were altered, or differ from those here."""
    for path in registrations.list_registrations(source):
        content = registrations.read_registration(path)
        study = str(content["study"])
        looks.read_looks(study, source)
        own = registrations.load_registration(study, target)
        if own is not None and own != content:
            raise KdpipeError(
                f"{path}: another registration of the study {study} than "
                f"{registrations.registration_path(study, target)}: what one seals the other would "
                "show; keep one of the two; nothing was merged"
            )


def _merge_registrations(source: Store, target: Store) -> None:
    """Copy registrations with their looks and kept verdicts; a look's first rendering stays."""
    for path in registrations.list_registrations(source):
        content = registrations.read_registration(path)
        study = str(content["study"])
        own_path = registrations.registration_path(study, target)
        if not own_path.exists():
            write_bytes(own_path, read_regular_file(path))
        looks.copy_looks(study, source, target)
        registrations.copy_registered_verdicts(content, source, target)


@contextlib.contextmanager
def open_sources(texts: Iterable[str], target: Store) -> Generator[list[Store], None, None]:
    """Open what is merged: results folders, archives, and buckets.

    Parameters
    ----------
    texts : iterable of str
        Paths and addresses (`s3://BUCKET/PREFIX`), as typed.
    target : Store
        The results folder that they are merged into, where the files of buckets are downloaded to.

    Yields
    ------
    list of Store
        The store of each.

    Raises
    ------
    KdpipeError
        If a bucket cannot be read.
    """
    with contextlib.ExitStack() as stack:
        sources: list[Store] = []
        for text in texts:
            if bucket.is_url(text):
                staging = bucket.get_staging_folder(text, target)
                sources.append(stack.enter_context(bucket.open_mirror(text, staging)))
            else:
                sources.append(find_source(Path(text)))
        yield sources


def find_source(path: Path) -> Store:
    """Return the store of a results folder or an archive, as typed."""
    is_archive = path.name == records.ARCHIVE_FILE and path.is_file()
    return Store(Path(os.path.dirname(path) or ".") if is_archive else path)
