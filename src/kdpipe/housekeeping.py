"""The results folder as a whole: is everything in it what it says it is, and is it still wanted?

`faults` reads every record, file and data set and compares checksums. `prune` finds what no given
study needs. Neither follows a link, and neither touches what another process works on.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path

from kdpipe import cards, data, identity, jobs, status, store, watch
from kdpipe.errors import DataError, KdpipeError
from kdpipe.plan import Plan
from kdpipe.prices import as_size

KINDS = ("runs", "ensembles", "probes", "data")
NAMES = {
    "run": identity.run_name,
    "ensemble": identity.ensemble_name,
    "probe": identity.probe_name,
}
STATE = ".state.safetensors"
BESIDE = {store.RECORD, store.KEPT_RECORD, jobs.FAILURE, STATE, ".lock"}


def faults(place: store.Store) -> Iterator[str]:
    """One line for each fault of the results folder, with what to do."""
    for kind in KINDS:
        for folder in _entries(place, kind):
            if folder.is_symlink() or not folder.is_dir():
                yield f"{folder}: a link or a file where kdpipe makes folders: remove it"
            elif not watch.is_running(folder):
                for path in sorted(folder.rglob(".*.tmp")):
                    yield f"{path}: left by a process that was killed: remove it"
                try:
                    yield from _of_data(folder, place) if kind == "data" else _of_run(folder)
                except KdpipeError as error:
                    yield str(error)


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


def _entries(place: store.Store, kind: str) -> list[Path]:
    base = place.root / kind
    return [] if base.is_symlink() or not base.is_dir() else sorted(base.iterdir())


# --- verify


def _of_run(folder: Path) -> Iterator[str]:
    record = store.read_record(folder, None)
    kept = store.read_record(folder, None, store.KEPT_RECORD)
    found = record or kept
    if found is None:
        yield from _of_unfinished(folder)
        return
    if record and kept and record != kept:
        yield f"{folder}: its two records differ: remove the folder, the run is then made again"
    spec, digest = found["spec"], found["digest"]
    if identity.digest(spec) != digest or NAMES[found["kind"]](spec, digest) != folder.name:
        yield f"{folder}: the record of another run ({found['name']}): remove the folder"
        return
    listed = found["files"]
    for name, facts in listed.items():
        path = folder / name
        if not path.is_file() or path.is_symlink():
            yield f"{path}: missing: remove the folder {folder}, the run is then made again"
        elif (now := store.file_facts(path)) != facts:
            what = "truncated or altered" if now["bytes"] != facts["bytes"] else "altered"
            yield (
                f"{path}: {what} ({now['bytes']:,} bytes, sha256 {now['sha256'][:12]}, the record "
                f"says {facts['bytes']:,} and {facts['sha256'][:12]}): remove the folder {folder}"
            )
    for path in _files(folder):
        if str(path.relative_to(folder)) not in listed:
            yield f"{path}: not a file of this run: remove it"


def _of_unfinished(folder: Path) -> Iterator[str]:
    """A run that was cut off: what lies there must be whole and its own, or it cannot go on."""
    for path in _files(folder, but=BESIDE - {STATE}):
        if path.suffix == ".safetensors":
            try:
                _, about = store.read_arrays(path)
                if not folder.name.endswith(f"-{about['run'][:12]}"):
                    yield f"{path}: of another run ({about['run'][:12]}): remove it"
            except KdpipeError as error:
                yield str(error)


def _files(folder: Path, but=BESIDE) -> list[Path]:
    return [
        path
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.suffix != ".tmp" and path.name not in but
    ]


def _of_data(folder: Path, place: store.Store) -> Iterator[str]:
    if not (folder / "card.json").exists():
        return
    try:
        card = cards.read(folder / "card.json")
    except DataError:
        yield f"{folder / 'card.json'}: not a card: remove the folder {folder}"
        return
    if card.name in cards.known():
        card = cards.load(card.name)
    if card.folder != folder.name:
        yield f"{folder}: the data set of another version of kdpipe: remove the folder"
        return
    data.read(card, place)


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
        for path in _entries(place, kind):
            if path.name not in needed[kind] and not watch.is_running(path):
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
        if not folder.is_symlink() and (record := store.read_record(folder, None)):
            surplus = [int(epoch) for epoch in record["checkpoints"] if int(epoch) not in wanted]
            if surplus and not watch.is_running(folder):
                found[folder] = [
                    path
                    for epoch in surplus
                    for path in sorted(folder.glob(f"checkpoints/epoch-{epoch:04d}*.safetensors"))
                ]
    return found


def _strike_out(folder: Path, paths: list[Path]) -> None:
    """Take checkpoints out of the record of their run, before they are removed."""
    record = store.read_record(folder, None)
    assert record is not None
    names = {str(path.relative_to(folder)) for path in paths}
    epochs = {str(int(name.split("-")[1].split(".")[0])) for name in names}
    for epoch in epochs:
        record["checkpoints"].pop(epoch, None)
    for name in names:
        record["files"].pop(name, None)
    store.publish(folder, record)


def _size(path: Path) -> int:
    inside = [] if path.is_symlink() else path.rglob("*")
    return sum(entry.lstat().st_size for entry in [path, *inside] if not entry.is_dir())
