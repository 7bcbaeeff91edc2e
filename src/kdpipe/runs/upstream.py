"""The files of finished runs that other jobs build on: weights and outputs after an epoch.

A trained network is named as in a spec, by `Member(run=digest, epoch=epoch)`. Its run is found by
the digest, and a file that belongs to another run or epoch is refused. Nothing here imports torch.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypedDict

from kdpipe.errors import MissingRunError, StoreError
from kdpipe.runs import records, run_folder
from kdpipe.runs.files import Arrays, FileInfo, read_arrays
from kdpipe.runs.spec import Member, RunSpec
from kdpipe.runs.store import Store

# From the folder of a run and an epoch (None: the last one) to a file.
PathBuilder = Callable[[Path, int | None], Path]


class ParentInfo(TypedDict):
    """A network that a result was computed from, as the record of the result lists it."""

    run: str
    epoch: int
    sha256: str


def load_weights(member: Member, store: Store) -> Arrays:
    """Return the weights of a member after its epoch, as named arrays.

    Raises
    ------
    StoreError
        If the run is not finished, or the file is damaged or of another run or epoch.
    """
    return _read_member(member, store, run_folder.weights_path)


def load_outputs(member: Member, store: Store) -> Arrays:
    """Return the outputs of a member after its epoch.

    Returns
    -------
    dict
        `val_logits`, `val_labels`, `test_logits`, `test_labels`.

    Raises
    ------
    StoreError
        As `load_weights`.
    """
    return _read_member(member, store, run_folder.outputs_path)


def load_best_outputs(member: Member, store: Store) -> Arrays | None:
    """Return the outputs of a member at its best epoch on validation; None if it kept none.

    A member that names an epoch before the last one of its run was chosen by that epoch: its
    outputs are those after it.
    """
    folder, record = _load_finished_member(member, store)
    path = find_best_outputs(folder, record, member.epoch)
    if path is None:
        return None
    best_member = member
    if member.epoch == records.get_eval_epoch(record, "last"):
        best_member = replace(member, epoch=records.get_eval_epoch(record, "best"))
    return _read_member_arrays(
        path, records.find_file_info(record, folder, path), best_member, store
    )


def load_best_checkpoint(member: Member, store: Store) -> tuple[int, Arrays, Arrays]:
    """Return a run at its best epoch on validation.

    Returns
    -------
    epoch : int
        The best epoch.
    weights, outputs : dict
        Named arrays, as `load_weights` and `load_outputs` return them.

    Raises
    ------
    StoreError
        If a file is damaged or of another run or epoch.
    MissingRunError
        If the run kept no files of its best epoch.
    """
    folder, record = _load_finished_member(member, store)
    epoch = records.get_eval_epoch(record, "best")
    paths = [
        records.find_weights_path(folder, record, "best"),
        records.find_outputs_path(folder, record, "best"),
    ]
    if epoch is None or None in paths:
        raise MissingRunError(
            f"{record['name']} has kept nothing of its best epoch on validation: write reading: "
            "last into the study, or train the run again (remove its folder)"
        )
    best_member = replace(member, epoch=epoch)
    weights, outputs = (
        _read_member_arrays(path, records.find_file_info(record, folder, path), best_member, store)
        for path in paths
        if path is not None
    )
    return epoch, weights, outputs


def find_best_outputs(folder: Path, record: dict[str, Any], epoch: int) -> Path | None:
    """Return the file of outputs that an ensemble reads of a member at its best, if it is listed.

    `epoch` is that of the member in the ensemble, `record` that of its run in `folder`.
    """
    if epoch == records.get_eval_epoch(record, "last"):
        return records.find_outputs_path(folder, record, "best")
    path = run_folder.outputs_path(folder, epoch)
    return path if records.find_file_info(record, folder, path) else None


def load_parent_record(member: Member, store: Store) -> dict[str, Any]:
    """Return the record of a finished run."""
    return _load_finished_member(member, store)[1]


def load_parent_spec(member: Member, store: Store) -> RunSpec:
    """Return the spec of a finished run."""
    return RunSpec.from_dict(load_parent_record(member, store)["spec"])


def find_failed_parent(members: Sequence[Member], store: Store) -> str | None:
    """Return why a member cannot be used, if the training of one has diverged or was skipped.

    Raises
    ------
    StoreError
        If the run of a member is not finished.
    """
    for member in members:
        folder = store.find_run(member.run)
        record = records.read_finished_record(folder, member.run)
        if record is None:
            raise StoreError(f"{folder} is not finished: its students have to wait for it")
        if record["status"] != "done":
            return f"{record['name']} {record['status']}: {record['reason']}"
    return None


def list_parent_checksums(
    members: Sequence[Member], store: Store, build_path: PathBuilder = run_folder.weights_path
) -> list[ParentInfo]:
    """Return the parents of a run or ensemble as its record lists them.

    Parameters
    ----------
    members : sequence of Member
        The networks that it is computed from.
    store : Store
        The results folder.
    build_path : callable
        From the folder of a run and an epoch to the file that is read: weights, or outputs.

    Returns
    -------
    list of dict
        {"run", "epoch", "sha256"} for each member.
    """
    checksums: list[ParentInfo] = []
    for member in members:
        _, file_info = _find_member_file(member, store, build_path)
        checksums.append({"run": member.run, "epoch": member.epoch, "sha256": file_info["sha256"]})
    return checksums


def stale_reason(
    record: dict[str, Any],
    runs: dict[str, dict[str, Any]],
    copies: Mapping[str, Collection[str]] = MappingProxyType({}),
) -> str | None:
    """Return why a record is stale, or None: a parent has other bytes than when it was computed.

    Parameters
    ----------
    record : dict
        The record of a run, ensemble, probe or evaluation of an export.
    runs : dict
        The records of runs by digest. A parent that is not among them, or not in the record, counts
        as unchanged.
    copies : mapping
        Other copies of the runs, see `copies.read_copies`; what was computed from one is not stale.
    """
    for member, parent, change in _iter_changed_parents(record, runs):
        if member["sha256"] not in copies.get(member["run"], ()):
            return f"{_format_stale_parent(parent, member)}, and {change}"
    return None


def other_copy_reason(
    record: dict[str, Any], runs: dict[str, dict[str, Any]], copies: Mapping[str, Collection[str]]
) -> str | None:
    """Return which copy of a parent on another machine a record was computed from, or None.

    Parameters
    ----------
    record, runs, copies
        As for `stale_reason`.
    """
    for member, parent, change in _iter_changed_parents(record, runs):
        if member["sha256"] in copies.get(member["run"], ()):
            return (
                f"made of {parent['name']} as another machine trained it (sha256 "
                f"{member['sha256'][:12]}); the copy here {change}"
            )
    return None


def _iter_changed_parents(
    record: dict[str, Any], runs: dict[str, dict[str, Any]]
) -> Iterator[tuple[dict[str, Any], dict[str, Any], str]]:
    """Yield the parents whose bytes are others, as listed and by their records, and what is."""
    build_path = (
        run_folder.outputs_path if record.get("kind") == "ensemble" else run_folder.weights_path
    )
    for member in record.get("parents", ()):
        parent = runs.get(member["run"])
        if parent is None:
            continue
        if parent["status"] != "done":
            change = {"diverged": "has diverged"}.get(parent["status"], f"is {parent['status']}")
            yield member, parent, change
            continue
        path = _member_path(Path(), parent, member["epoch"], build_path)
        current = parent["files"].get(path.as_posix())
        if current is not None and current["sha256"] != member["sha256"]:
            yield member, parent, f"is another ({current['sha256'][:12]})"


def _format_stale_parent(parent: dict[str, Any], member: dict[str, Any]) -> str:
    return (
        f"made of {parent['name']} as it was (sha256 {member['sha256'][:12]}), which has been made "
        "again since"
    )


def _read_member(member: Member, store: Store, build_path: PathBuilder) -> Arrays:
    path, file_info = _find_member_file(member, store, build_path)
    return _read_member_arrays(path, file_info, member, store)


def _read_member_arrays(
    path: Path, file_info: FileInfo | None, member: Member, store: Store
) -> Arrays:
    """Return the arrays in a file of a member; raise StoreError for another run or epoch."""
    epoch = member.epoch
    arrays, metadata = read_arrays(path, file_info)
    if (metadata["run"], metadata["epoch"]) != (member.run, epoch):
        raise StoreError(
            f"{path} holds epoch {metadata['epoch']} of run {metadata['run'][:12]}, not epoch "
            f"{epoch} of {member.run[:12]}: remove the folder {path.parent} and run "
            "the study again"
        )
    return arrays


def _find_member_file(
    member: Member, store: Store, build_path: PathBuilder
) -> tuple[Path, FileInfo]:
    """Return a file of a member, with its size and SHA-256 from the record of its run."""
    folder, record = _load_finished_member(member, store)
    path = _member_path(folder, record, member.epoch, build_path)
    file_info = records.find_file_info(record, folder, path)
    if file_info is None:
        raise MissingRunError(
            f"{path} is not among the files that the record of {record['name']} lists: run the "
            "study again, or remove the folder"
        )
    return path, file_info


def _member_path(folder: Path, record: dict[str, Any], epoch: int, build_path: PathBuilder) -> Path:
    epochs = record["spec"]["recipe"]["epochs"]
    return build_path(folder, None if epoch == epochs else epoch)


def _load_finished_member(member: Member, store: Store) -> tuple[Path, dict[str, Any]]:
    """Return the folder of the finished run of a member, and its record."""
    folder = store.find_run(member.run)
    record = records.read_finished_record(folder, member.run)
    if record is None or record["status"] != "done":
        raise MissingRunError(f"{folder} is not a finished run: its students cannot be trained")
    if problem := records.record_problem(record, folder):
        raise MissingRunError(problem)
    return folder, record
