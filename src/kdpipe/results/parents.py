"""The files of a finished run that others build on: its weights and outputs after an epoch.

A parent is named as in a spec: `{"run": digest, "epoch": e}`. It is looked up by its digest, and
a file that belongs to another run or epoch is refused. No torch.
"""

from collections.abc import Callable
from pathlib import Path

from kdpipe.errors import Missing, StoreError
from kdpipe.results import readings, records, run_folder
from kdpipe.results.files import read_arrays
from kdpipe.results.store import Store

Name = Callable[[Path, int | None], Path]  # of a run's file after an epoch


def weights(member: dict, place: Store) -> dict:
    """Named arrays of the weights after the epoch. Raises StoreError if they cannot be trusted."""
    return _read(member, place, run_folder.weights)


def outputs(member: dict, place: Store) -> dict:
    """`val_logits`, `val_labels`, `test_logits`, `test_labels` after the epoch."""
    return _read(member, place, run_folder.outputs)


def best_outputs(member: dict, place: Store) -> dict | None:
    """The same at the member's best epoch on validation; None if it kept none.

    A member that was cut out of its training was asked for by its epoch and stays what it is.
    """
    folder, record = _finished(member, place)
    path = at_its_best(folder, record, member["epoch"])
    if path is None:
        return None
    wanted = member
    if member["epoch"] == readings.epoch(record, "last"):
        wanted = member | {"epoch": readings.epoch(record, "best")}
    return _of_member(path, records.facts(record, folder, path), wanted, place)


def at_best(member: dict, place: Store) -> tuple[int, dict, dict]:
    """A run at its best epoch on validation: after which it is, its weights, its outputs.

    Raises StoreError if they cannot be trusted, Missing if the run has kept none.
    """
    folder, record = _finished(member, place)
    epoch = readings.epoch(record, "best")
    paths = [readings.weights(folder, record, "best"), readings.outputs(folder, record, "best")]
    if epoch is None or None in paths:
        raise Missing(
            f"{record['name']} has kept nothing of its best epoch on validation: write reading: "
            "last into the study, or train the run again (remove its folder)"
        )
    wanted = member | {"epoch": epoch}
    weights, outputs = (
        _of_member(path, records.facts(record, folder, path), wanted, place)
        for path in paths
        if path is not None
    )
    return epoch, weights, outputs


def at_its_best(folder: Path, record: dict, epoch: int) -> Path | None:
    """The outputs that an ensemble reads of a member at its best, if its record lists them.

    epoch: of the member in the ensemble.
    """
    if epoch == readings.epoch(record, "last"):
        return readings.outputs(folder, record, "best")
    path = run_folder.outputs(folder, epoch)
    return path if records.facts(record, folder, path) else None


def record(member: dict, place: Store) -> dict:
    """The record of a finished run."""
    return _finished(member, place)[1]


def spec(member: dict, place: Store) -> dict:
    """The spec of a finished run."""
    return record(member, place)["spec"]


def failed_member(members: list[dict], place: Store) -> str | None:
    """Why one of the members cannot be used, if its training ended in another way than done."""
    for member in members:
        folder = place.find_run(member["run"])
        record = records.finished(folder, member["run"])
        if record is None:
            raise StoreError(f"{folder} is not finished: its students have to wait for it")
        if record["status"] != "done":
            return f"{record['name']} {record['status']}: {record['reason']}"
    return None


def made_of(members: list[dict], place: Store, name: Name = run_folder.weights) -> list[dict]:
    """What a record says of the files that it is made of: of each member its SHA-256."""
    found = []
    for member in members:
        _, facts = _listed(member, place, name)
        found.append({key: member[key] for key in ("run", "epoch")} | {"sha256": facts["sha256"]})
    return found


def outdated(record: dict, runs: dict[str, dict]) -> str | None:
    """Why a record is outdated: a parent has other bytes than those that it was made of.

    runs: records by digest. What a record does not say of its parents counts as it is.
    """
    name = run_folder.outputs if record.get("kind") == "ensemble" else run_folder.weights
    for member in record.get("parents", ()):
        parent = runs.get(member["run"])
        if parent is None:
            continue
        if parent["status"] != "done":
            how = {"diverged": "has diverged"}.get(parent["status"], f"is {parent['status']}")
            return f"{_as_it_was(parent, member)}, and {how}"
        path = _path(Path(), parent, member["epoch"], name)
        now = parent["files"].get(path.as_posix())
        if now is not None and now["sha256"] != member["sha256"]:
            return f"{_as_it_was(parent, member)}, and is another ({now['sha256'][:12]})"
    return None


def _as_it_was(parent: dict, member: dict) -> str:
    return (
        f"made of {parent['name']} as it was (sha256 {member['sha256'][:12]}), which has been made "
        "again since"
    )


def _read(member: dict, place: Store, name: Name) -> dict:
    path, facts = _listed(member, place, name)
    return _of_member(path, facts, member, place)


def _of_member(path: Path, facts: dict | None, member: dict, place: Store) -> dict:
    """The arrays in a file of a member. Raises StoreError if it is of another run or epoch."""
    epoch = member["epoch"]
    if place.leaves_weights_out and not path.exists():
        raise Missing(f"{path} was left out, as kdpipe 0.1 left out weights and outputs")
    arrays, about = read_arrays(path, facts)
    if (about["run"], about["epoch"]) != (member["run"], epoch):
        raise StoreError(
            f"{path} holds epoch {about['epoch']} of run {about['run'][:12]}, not epoch "
            f"{epoch} of {member['run'][:12]}: remove the folder {path.parent} and run "
            "the study again"
        )
    return arrays


def _listed(member: dict, place: Store, name: Name) -> tuple[Path, dict]:
    """A file of a member, and what the record of its run says of it."""
    folder, record = _finished(member, place)
    path = _path(folder, record, member["epoch"], name)
    facts = records.facts(record, folder, path)
    if facts is None:
        raise Missing(
            f"{path} is not among the files that the record of {record['name']} lists: run the "
            "study again, or remove the folder"
        )
    return path, facts


def _path(folder: Path, record: dict, epoch: int, name: Name) -> Path:
    epochs = record["spec"]["recipe"]["epochs"]
    return name(folder, None if epoch == epochs else epoch)


def _finished(member: dict, place: Store) -> tuple[Path, dict]:
    """The folder of a member and its record."""
    folder = place.find_run(member["run"])
    record = records.finished(folder, member["run"])
    if record is None or record["status"] != "done":
        raise Missing(f"{folder} is not a finished run: its students cannot be trained")
    if wrong := records.unusable(record, folder, place.leaves_weights_out):
        raise Missing(wrong)
    return folder, record
