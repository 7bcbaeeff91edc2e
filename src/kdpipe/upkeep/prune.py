"""TODO upkeep.prune, from housekeeping."""

import shutil
from collections.abc import Iterator
from pathlib import Path

from kdpipe.plan import status
from kdpipe.plan.items import Plan
from kdpipe.plan.prices import as_size
from kdpipe.results import records, store
from kdpipe.upkeep.verify import entries


def prune(plans: list[Plan], place: store.Store, remove: bool) -> str:
    """What none of the plans needs, as text; `remove` removes it.

    What another process works on stays, and so does all that a link leads to.
    """
    checkpoints = _unneeded_checkpoints(plans, place)
    unneeded = [
        *_unneeded(plans, place),
        *(path for paths in checkpoints.values() for path in paths),
    ]
    if not unneeded:
        return f"{place.root}: everything in it is needed"
    sizes = {path: _size(path) for path in unneeded}
    if remove:
        for folder, paths in checkpoints.items():
            _strike_out(folder, paths)
        for path in unneeded:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
    verb = "removed" if remove else "not needed; with --yes it is removed"
    lines = [f"{as_size(size):>10}  {path}" for path, size in sizes.items()]
    return "\n".join([*lines, f"{as_size(sum(sizes.values())):>10}  {verb}"])


# --- prune


def _unneeded(plans: list[Plan], place: store.Store) -> Iterator[Path]:
    needed = {
        "runs": {name for plan in plans for name in plan.runs},
        "ensembles": {name for plan in plans for name in plan.ensembles},
        "probes": {name for plan in plans for name in plan.probes},
        "data": {folder for plan in plans for folder in plan.data_sets},
        "tables": {name for plan in plans for name in _awaited_tables(plan, place)},
    }
    for kind in needed:
        for path in entries(place, kind):
            if path.name not in needed[kind] and not store.is_running(path):
                yield path


def _awaited_tables(plan: Plan, place: store.Store) -> Iterator[str]:
    """Tables that students still to do will learn from, and the folders where they are made."""
    states = status.of(plan, place)
    for run in plan.runs.values():
        if states[run.name] == "to do":
            for table in run.tables:
                yield from (table.name, f".{table.name}")


def _unneeded_checkpoints(plans: list[Plan], place: store.Store) -> dict[Path, list[Path]]:
    """By the folder of a finished run, the files of checkpoints that no plan wants kept."""
    found = {}
    for name in sorted({name for plan in plans for name in plan.runs}):
        folder = place.run(name)
        wanted = {epoch for plan in plans for epoch in plan.keep.get(name, ())}
        if not folder.is_symlink() and (record := records.read(folder, None)):
            surplus = [int(epoch) for epoch in record["checkpoints"] if int(epoch) not in wanted]
            if surplus and not store.is_running(folder):
                found[folder] = [
                    path
                    for epoch in surplus
                    for path in sorted(folder.glob(f"checkpoints/epoch-{epoch:04d}*.safetensors"))
                ]
    return found


def _strike_out(folder: Path, paths: list[Path]) -> None:
    """Take checkpoints out of the record of their run, before they are removed."""
    record = records.read(folder, None)
    assert record is not None
    names = {str(path.relative_to(folder)) for path in paths}
    epochs = {str(int(name.split("-")[1].split(".")[0])) for name in names}
    for epoch in epochs:
        record["checkpoints"].pop(epoch, None)
    for name in names:
        record["files"].pop(name, None)
    records.publish(folder, record)


def _size(path: Path) -> int:
    inside = [] if path.is_symlink() else path.rglob("*")
    return sum(entry.lstat().st_size for entry in [path, *inside] if not entry.is_dir())
