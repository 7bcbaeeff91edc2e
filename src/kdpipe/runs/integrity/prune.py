"""Pruning a results folder: what none of the given studies needs is shown, or removed.

No link is followed, and what another process works on is left alone.
"""

import contextlib
import fcntl
import itertools
from collections.abc import Callable, Generator, Iterable, Iterator
from pathlib import Path
from typing import Any

from kdpipe.analysis.search import state
from kdpipe.data import cards
from kdpipe.data.imagefolder import unlabelled
from kdpipe.errors import DataError, KdpipeError, StoreError
from kdpipe.plan import status
from kdpipe.plan.nodes import Plan
from kdpipe.plan.resources import format_size
from kdpipe.runs import copies, ownership, records, registrations, run_folder, store
from kdpipe.runs.files import find_temporary_files, open_lock_file
from kdpipe.runs.integrity import bucket
from kdpipe.runs.records import ArchiveEntry

NamesByKind = dict[str, set[str]]


def prune_store(
    plans: list[Plan],
    run_store: store.Store,
    apply: bool,
    remake_stale: bool = False,
    extra_paths: Iterable[Path] = (),
) -> str:
    """Show or remove what none of the plans needs.

    What another process works on stays, and so does all that a link leads to or that kdpipe has not
    made.

    Parameters
    ----------
    plans : list of Plan
        The plans of the studies that are kept.
    run_store : Store
        The results.
    apply : bool
        Whether to remove.
    remake_stale : bool
        Whether outdated records count as not needed, so that they are made again.
    extra_paths : iterable of Path
        Orphans in other folders than the results.

    Returns
    -------
    str
        What is not needed, with sizes.

    Raises
    ------
    KdpipeError
        For a folder that holds no results, or if something cannot be removed.
    """
    ownership.require_results_folder(run_store)
    checkpoints = _find_unneeded_checkpoints(plans, run_store)
    stale = {name for plan in plans for name in status.find_stale(plan, run_store)}
    planned = _collect_planned(plans, stale if remake_stale else set())
    folders, foreign = _find_unneeded(plans, planned, run_store)
    removals = [*folders, *_find_orphans(run_store, folders), *extra_paths]
    unneeded = list(removals)
    for folder, epochs in checkpoints.items():
        unneeded += [
            path for epoch in epochs for path in run_folder.find_checkpoint_files(folder, epoch)
        ]
    surplus, remaining = _split_entries(planned, run_store)
    notes = [f"not kdpipe's, left: {path} ({reason})" for path, reason in foreign.items()]
    if stale and not remake_stale:
        notes.append(f"{len(stale):,} outdated, kept: with --outdated they count as not needed")
    of_copies = {
        name: reason
        for plan in plans
        for name, reason in status.find_students_of_copies(plan, run_store).items()
    }
    if remake_stale:
        notes += [f"not outdated, kept: {name}: {reason}" for name, reason in of_copies.items()]
    if not unneeded and not surplus:
        return "\n".join([f"{run_store.root}: all results are needed", *notes])
    sizes = {str(path): _compute_size(path) for path in unneeded}
    if surplus:
        n_remaining = sum(entry.kind != records.LABELS_KIND for entry in remaining)
        count = f"{len(surplus):,} of its {len(surplus) + n_remaining:,} records"
        freed = _compute_size(run_store.archive_path) - records.archive_size(remaining)
        sizes[f"{run_store.archive_path}: {count}"] = freed
    if apply:
        if surplus:
            with store.lock_published_folder(run_store.root):
                records.write_archive(run_store.archive_path, _split_entries(planned, run_store)[1])
        for folder, epochs in checkpoints.items():
            with _try_lock(folder) as is_locked:
                if is_locked:
                    _remove_checkpoints(folder, epochs)
        for path in sorted(removals, key=_order_children_first(plans)):
            _remove_path(path)
    verb = "removed" if apply else "not needed; use --yes to remove it"
    lines = [f"{format_size(size):>10}  {label}" for label, size in sizes.items()]
    return "\n".join([*lines, f"{format_size(sum(sizes.values())):>10}  {verb}", *notes])


def _order_children_first(plans: list[Plan]) -> Callable[[Path], int]:
    """Return a sort key that puts what descends from another before it.

    Outdated records are known by their parents: if these were removed first and the process was
    killed, the others could not be found any more.
    """
    names = (name for plan in plans for name in plan.nodes_by_name)
    positions = {name: number for number, name in enumerate(dict.fromkeys(names))}  # parents first
    return lambda path: -positions.get(path.name, 0)


def _find_unneeded(
    plans: list[Plan], planned: NamesByKind, run_store: store.Store
) -> tuple[list[Path], dict[Path, str]]:
    """Return the folders that no plan needs, and by folder why others are not kdpipe's."""
    needed = {
        **planned,
        "data": {folder for plan in plans for folder in plan.datasets},
        "tables": {name for plan in plans for name in _find_awaited_caches(plan, run_store)},
    }
    names_by_digest = {name[-12:]: name for plan in plans for name in _iter_names(plan)}
    unneeded: list[Path] = []
    foreign: dict[Path, str] = {}
    for kind in needed:
        base = run_store.root / kind
        if base.is_symlink():
            foreign[base] = "a link"
            continue
        for path in ownership.list_entries(run_store, kind):
            if path.name in needed[kind] or store.is_running(path):
                continue
            reason = ownership.foreign_reason(path, kind) or _doubt_reason(
                path, kind, names_by_digest
            )
            if reason is None:
                unneeded.append(path)
            else:
                foreign[path] = reason
    return unneeded, foreign


def _iter_names(plan: Plan) -> Iterator[str]:
    """Yield the names of all folders of a plan."""
    yield from itertools.chain(plan.nodes_by_name, plan.logit_caches, plan.datasets)


def _doubt_reason(path: Path, kind: str, names_by_digest: dict[str, str]) -> str | None:
    """Return why a folder that kdpipe may have made is left all the same; None if it is not.

    `names_by_digest` has the names of all plans by the digest that they end in. A folder with the
    same digest and another name is a copy, or was moved aside.
    """
    name = path.name.removeprefix(".")
    if (other := names_by_digest.get(name[-12:], name)) != name:
        return f"it ends as {other}, which is needed: moved aside, or copied"
    if kind in records.RECORD_KINDS:
        try:
            records.read_finished_record(path, None)
        except StoreError:
            return "its record is damaged, so it is not known whose it is"
    if (
        kind == "data"
        and (path / ownership.CARD_FILE).exists()
        and not unlabelled.is_unlabelled(path)
    ):
        try:
            other = cards.read_card(path / ownership.CARD_FILE).folder
        except DataError:
            return "its card is damaged, so it is not known what it holds"
        if other != name:
            return f"it holds {other}, as its card says: moved aside, or copied"
    return None


def _find_orphans(run_store: store.Store, removals: list[Path]) -> Iterator[Path]:
    """Yield what killed processes have left in folders that stay."""
    yield from bucket.find_staging_folders(run_store)
    yield from find_temporary_files(run_store.root, records.ARCHIVE_FILE)
    yield from find_temporary_files(run_store.root, copies.COPIES_FILE)
    yield from find_temporary_files(run_store.root / registrations.REGISTRATIONS_FOLDER)
    yield from find_temporary_files(run_store.root / state.SEARCHES_FOLDER, below=True)
    for kind in ownership.STORE_FOLDERS:
        if not (run_store.root / kind).is_symlink():
            yield from ownership.list_half_deleted(run_store, kind)
            for folder in ownership.list_entries(run_store, kind):
                if folder not in removals and not store.is_running(folder):
                    yield from ownership.list_orphans(folder, kind)


def _remove_path(path: Path) -> None:
    """Remove a folder or a file, unless another process has begun to work in it."""
    try:
        if not path.is_dir() or path.is_symlink():
            path.unlink(missing_ok=True)
        elif path.name.endswith(ownership.REMOVED_SUFFIX):
            ownership.remove_renamed_tree(path)
        else:
            with _try_lock(path) as is_locked:
                if is_locked:
                    ownership.remove_tree(path)
    except OSError as error:
        raise KdpipeError(
            f"{path} cannot be removed: {error.strerror}; everything listed before it is removed, "
            "the rest is not"
        ) from None


@contextlib.contextmanager
def _try_lock(folder: Path) -> Generator[bool, None, None]:
    """Hold the lock of a folder; yield False if another process has it."""
    with open_lock_file(folder / run_folder.LOCK_FILE) as lock_file:
        try:
            fcntl.flock(lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


def _collect_planned(plans: list[Plan], excluded: set[str]) -> NamesByKind:
    """Return the names of all plans by kind."""
    return {
        kind: {name for plan in plans for name in plan.recorded_nodes[kind]} - excluded
        for kind in records.RECORD_KINDS
    }


def _split_entries(
    planned: NamesByKind, run_store: store.Store
) -> tuple[list[ArchiveEntry], list[ArchiveEntry]]:
    """Return the entries of the archive that no plan has, and the others."""
    surplus: list[ArchiveEntry] = []
    remaining: list[ArchiveEntry] = []
    for entry in run_store.read_archive().values():
        is_needed = entry.kind == records.LABELS_KIND or entry.name in planned[entry.kind]
        (remaining if is_needed else surplus).append(entry)
    return surplus, records.drop_unused_labels(remaining)


def _find_awaited_caches(plan: Plan, run_store: store.Store) -> Iterator[str]:
    """Yield the logit caches that pending students need, and the folders where they are built."""
    states = status.get_plan_status(plan, run_store)
    for run in plan.runs.values():
        if states[run.name] == "to do":
            for cache in run.logit_caches:
                yield from (cache.name, f".{cache.name}")


def _find_unneeded_checkpoints(plans: list[Plan], run_store: store.Store) -> dict[Path, list[int]]:
    """Return by the folder of a finished run the epochs whose checkpoints no plan needs."""
    unneeded: dict[Path, list[int]] = {}
    for name in sorted({name for plan in plans for name in plan.runs}):
        folder = run_store.run(name)
        planned_epochs = {
            epoch for plan in plans for epoch in plan.checkpoints_to_keep.get(name, ())
        }
        if not folder.is_symlink() and (epochs := _list_checkpoints(folder)):
            surplus = [epoch for epoch in epochs if epoch not in planned_epochs]
            surplus = [
                epoch for epoch in surplus if run_folder.find_checkpoint_files(folder, epoch)
            ]
            if surplus and not store.is_running(folder):
                unneeded[folder] = surplus
    return unneeded


def _list_checkpoints(folder: Path) -> list[int]:
    """Return the epochs of the checkpoints that either copy of a run's record lists.

    A process that removes them may have been killed when one copy did not list them any more.
    """
    epochs: set[int] = set()
    if _read_own_record(folder) is not None:
        for name in (run_folder.RECORD_FILE, run_folder.RECORD_COPY_FILE):
            with contextlib.suppress(StoreError):
                record = records.read_record(folder, None, name) or {}
                epochs |= set(map(int, record.get("checkpoints", {})))
    return sorted(epochs)


def _remove_checkpoints(folder: Path, epochs: list[int]) -> None:
    """Remove checkpoints, from the record of their run first."""
    record = _read_own_record(folder)
    assert record is not None
    paths = [path for epoch in epochs for path in run_folder.find_checkpoint_files(folder, epoch)]
    for epoch in epochs:
        record["checkpoints"].pop(str(epoch), None)
    for path in paths:
        record["files"].pop(str(path.relative_to(folder)), None)
    records.publish_record(folder, record)
    for path in paths:
        _remove_path(path)


def _read_own_record(folder: Path) -> dict[str, Any] | None:
    """Return the record of a folder if it is intact and belongs to the folder's name.

    Nothing is removed of a run that is damaged, or was moved there.
    """
    return None if ownership.moved_reason(folder) else records.find_whole_record(folder)


def _compute_size(path: Path) -> int:
    """Return the size of a file, or of a folder with all that is in it, in bytes."""
    inside: Iterable[Path] = [] if path.is_symlink() else path.rglob("*")
    return sum(entry.lstat().st_size for entry in [path, *inside] if not entry.is_dir())
