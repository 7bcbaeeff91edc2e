"""What of a results folder none of the given studies needs any more.

It is shown, and removed when that is asked for. No link is followed, and what another process
works on is left alone.
"""

import contextlib
import fcntl
import itertools
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from kdpipe.data import cards
from kdpipe.data.own.unlabelled import prepared as unlabelled
from kdpipe.errors import DataError, KdpipeError, StoreError
from kdpipe.plan import outdated, status
from kdpipe.plan.items import Plan
from kdpipe.plan.prices import as_size
from kdpipe.results import archived, leftovers, marks, records, registrations, run_folder, store
from kdpipe.results.archived import Entry
from kdpipe.results.files import temporary_files
from kdpipe.search import decisions


def prune(
    plans: list[Plan],
    place: store.Store,
    remove: bool,
    remake: bool = False,
    beside: Iterable[Path] = (),
) -> str:
    """What none of the plans needs, as text; `remove` removes it.

    remake: what is outdated counts as not needed, so that it is made again; beside: leftovers in
    other folders than the results.
    What another process works on stays, and so does all that a link leads to, and all that is not
    kdpipe's own. Raises KdpipeError for a folder that holds no results.
    """
    marks.refuse_another_folder(place)
    checkpoints = _unneeded_checkpoints(plans, place)
    old = {name for plan in plans for name in outdated.of(plan, place)}
    planned = _planned(plans, old if remake else set())
    folders, left = _unneeded(plans, planned, place)
    gone = [*folders, *_leftovers(place, folders), *beside]
    unneeded = list(gone)
    for folder, epochs in checkpoints.items():
        unneeded += [path for each in epochs for path in run_folder.checkpoint_files(folder, each)]
    surplus, remaining = _unneeded_entries(planned, place)
    others = [f"not kdpipe's, left: {path} ({why})" for path, why in left.items()]
    if old and not remake:
        others.append(f"{len(old):,} outdated, kept: with --outdated they count as not needed")
    if not unneeded and not surplus:
        return "\n".join([f"{place.root}: everything in it is needed", *others])
    sizes = {str(path): _size(path) for path in unneeded}
    if surplus:
        count = f"{len(surplus):,} of its {len(surplus) + len(remaining):,} records"
        lost = _size(place.archive) - archived.size(remaining)
        sizes[f"{place.archive}: {count}"] = lost
    if remove:
        if surplus:
            with store.alone(place.root):
                archived.write(place.archive, _unneeded_entries(planned, place)[1])
        for folder, epochs in checkpoints.items():
            with _at_rest(folder) as at_rest:
                if at_rest:
                    _strike_out(folder, epochs)
        for path in sorted(gone, key=_from_the_ends(plans)):
            _remove(path)
    verb = "removed" if remove else "not needed; with --yes it is removed"
    lines = [f"{as_size(size):>10}  {what}" for what, size in sizes.items()]
    return "\n".join([*lines, f"{as_size(sum(sizes.values())):>10}  {verb}", *others])


def _from_the_ends(plans: list[Plan]) -> Callable[[Path], int]:
    """A key that sorts what descends from another before it.

    What is outdated is known by its parents: if these went first and the process was killed, nobody
    would know it any more.
    """
    names = (name for plan in plans for items in plan.recorded.values() for name in items)
    place = {name: number for number, name in enumerate(dict.fromkeys(names))}  # parents first
    return lambda path: -place.get(path.name, 0)


Names = dict[str, set[str]]  # by kind


def _unneeded(
    plans: list[Plan], planned: Names, place: store.Store
) -> tuple[list[Path], dict[Path, str]]:
    """Folders that no plan needs; and what is not kdpipe's, with the reason."""
    needed = {
        **planned,
        "data": {folder for plan in plans for folder in plan.data_sets},
        "tables": {name for plan in plans for name in _awaited_tables(plan, place)},
    }
    called = {name[-12:]: name for plan in plans for name in _every_name(plan)}
    found, left = [], {}
    for kind in needed:
        base = place.root / kind
        if base.is_symlink():
            left[base] = "a link"
            continue
        for path in marks.entries(place, kind):
            if path.name in needed[kind] or store.is_running(path):
                continue
            why = marks.foreign(path, kind) or _doubt(path, kind, called)
            if why is None:
                found.append(path)
            else:
                left[path] = why
    return found, left


def _every_name(plan: Plan) -> Iterator[str]:
    yield from itertools.chain(*plan.recorded.values(), plan.tables, plan.data_sets)


def _doubt(path: Path, kind: str, called: dict[str, str]) -> str | None:
    """Why a folder that kdpipe may have made is left all the same; None if it is not.

    called: the names in all plans by the digest that they end in. One that ends as another does is
    a copy of it, or was moved aside.
    """
    name = path.name.removeprefix(".")
    if (other := called.get(name[-12:], name)) != name:
        return f"it ends as {other}, which is needed: moved aside, or copied"
    if kind in archived.KINDS:
        try:
            records.finished(path, None)
        except StoreError:
            return "its record is damaged, so it is not known whose it is"
    if kind == "data" and (path / marks.CARD).exists() and not unlabelled.is_one(path):
        try:
            other = cards.read(path / marks.CARD).folder
        except DataError:
            return "its card is damaged, so it is not known what it holds"
        if other != name:
            return f"it holds {other}, as its card says: moved aside, or copied"
    return None


def _leftovers(place: store.Store, gone: list[Path]) -> Iterator[Path]:
    """What processes that were killed have left in folders that stay."""
    yield from temporary_files(place.root, archived.FILE)
    yield from temporary_files(place.root / registrations.FOLDER)
    yield from temporary_files(place.root / decisions.FOLDER, below=True)
    for kind in marks.FOLDERS:
        if not (place.root / kind).is_symlink():
            yield from marks.half_removed(place, kind)
            for folder in marks.entries(place, kind):
                if folder not in gone and not store.is_running(folder):
                    yield from leftovers.of(folder, kind)


def _remove(path: Path) -> None:
    """Remove a folder or a file. Raises KdpipeError if that is not allowed.

    A folder that another process has begun to work on stays.
    """
    try:
        if not path.is_dir() or path.is_symlink():
            path.unlink(missing_ok=True)
        elif path.name.endswith(marks.REMOVED):
            leftovers.remove(path)
        else:
            with _at_rest(path) as at_rest:
                if at_rest:
                    leftovers.discard(path)
    except OSError as error:
        raise KdpipeError(
            f"{path} cannot be removed: {error.strerror}; what was shown before it is gone, the "
            "rest is there"
        ) from None


@contextlib.contextmanager
def _at_rest(folder: Path) -> Iterator[bool]:
    """Hold the lock of a folder; False if another process has it."""
    with open(folder / run_folder.LOCK, "a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


def _planned(plans: list[Plan], without: set[str]) -> Names:
    """Names of all plans."""
    return {
        kind: {name for plan in plans for name in plan.recorded[kind]} - without
        for kind in archived.KINDS
    }


def _unneeded_entries(planned: Names, place: store.Store) -> tuple[list[Entry], list[Entry]]:
    """Of the archive what no plan has, and what remains."""
    surplus, remaining = [], []
    for entry in place.archived().values():
        (remaining if entry.name in planned[entry.kind] else surplus).append(entry)
    return surplus, remaining


def _awaited_tables(plan: Plan, place: store.Store) -> Iterator[str]:
    """Tables that students still to do will learn from, and the folders where they are made."""
    states = status.of(plan, place)
    for run in plan.runs.values():
        if states[run.name] == "to do":
            for table in run.tables:
                yield from (table.name, f".{table.name}")


def _unneeded_checkpoints(plans: list[Plan], place: store.Store) -> dict[Path, list[int]]:
    """By the folder of a finished run, the epochs whose checkpoints no plan wants kept."""
    found = {}
    for name in sorted({name for plan in plans for name in plan.runs}):
        folder = place.run(name)
        wanted = {epoch for plan in plans for epoch in plan.keep.get(name, ())}
        if not folder.is_symlink() and (listed := _listed_checkpoints(folder)):
            surplus = [epoch for epoch in listed if epoch not in wanted]
            surplus = [epoch for epoch in surplus if run_folder.checkpoint_files(folder, epoch)]
            if surplus and not store.is_running(folder):
                found[folder] = surplus
    return found


def _listed_checkpoints(folder: Path) -> list[int]:
    """The epochs of checkpoints that either record of a run lists, if they are whole.

    A process that strikes them out may be killed when one of the two does not list them any more.
    """
    found: set[int] = set()
    if _sound(folder) is not None:
        for name in (run_folder.RECORD, run_folder.KEPT_RECORD):
            with contextlib.suppress(StoreError):
                record = records.read(folder, None, name) or {}
                found |= set(map(int, record.get("checkpoints", {})))
    return sorted(found)


def _strike_out(folder: Path, epochs: list[int]) -> None:
    """Take checkpoints out of the record of their run, and then remove them."""
    record = _sound(folder)
    assert record is not None
    paths = [path for epoch in epochs for path in run_folder.checkpoint_files(folder, epoch)]
    for epoch in epochs:
        record["checkpoints"].pop(str(epoch), None)
    for path in paths:
        record["files"].pop(str(path.relative_to(folder)), None)
    records.publish(folder, record)
    for path in paths:
        _remove(path)


def _sound(folder: Path) -> dict | None:
    """The record of a folder, if it is whole and of the run that the folder is called after.

    Of what is damaged, or was moved there, nothing is removed.
    """
    try:
        return None if marks.moved_aside(folder) else records.finished(folder, None)
    except StoreError:
        return None


def _size(path: Path) -> int:
    inside = [] if path.is_symlink() else path.rglob("*")
    return sum(entry.lstat().st_size for entry in [path, *inside] if not entry.is_dir())
