"""The files of a finished run that others build on: its weights and outputs after an epoch.

A parent is named as in a spec: `{"run": digest, "epoch": e}`. It is looked up by its digest, and
a file that belongs to another run or epoch is refused. No torch.
"""

from collections.abc import Callable
from pathlib import Path

from kdpipe.errors import Missing, StoreError
from kdpipe.results import records, run_folder
from kdpipe.results.files import read_arrays
from kdpipe.results.store import Store


def weights(member: dict, place: Store) -> dict:
    """Named arrays of the weights after the epoch. Raises StoreError if they cannot be trusted."""
    return _read(member, place, run_folder.weights)


def outputs(member: dict, place: Store) -> dict:
    """`val_logits`, `val_labels`, `test_logits`, `test_labels` after the epoch."""
    return _read(member, place, run_folder.outputs)


def spec(member: dict, place: Store) -> dict:
    """The spec of a finished run."""
    return _finished(member, place)[1]["spec"]


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


def _read(member: dict, place: Store, name: Callable[[Path, int | None], Path]) -> dict:
    folder, record = _finished(member, place)
    epoch, epochs = member["epoch"], record["spec"]["recipe"]["epochs"]
    path = name(folder, None if epoch == epochs else epoch)
    facts = records.facts(record, folder, path)
    if facts is None:
        raise Missing(
            f"{path} is not among the files that the record of {record['name']} lists: run the "
            "study again, or remove the folder"
        )
    arrays, about = read_arrays(path, facts)
    if (about["run"], about["epoch"]) != (member["run"], epoch):
        raise StoreError(
            f"{path} holds epoch {about['epoch']} of run {about['run'][:12]}, not epoch "
            f"{epoch} of {member['run'][:12]}: remove the folder {path.parent} and run "
            "the study again"
        )
    return arrays


def _finished(member: dict, place: Store) -> tuple[Path, dict]:
    """The folder of a member and its record."""
    folder = place.find_run(member["run"])
    record = records.finished(folder, member["run"])
    if record is None or record["status"] != "done":
        raise Missing(f"{folder} is not a finished run: its students cannot be trained")
    return folder, record
