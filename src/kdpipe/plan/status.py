"""The state of each node of a plan, from one scan of the results folder.

A run is done when its record says so and lists every checkpoint that the plan keeps; it is also
finished when it diverged (an outcome, never retried), or when it was skipped because a parent
diverged or was skipped, and still is. An ensemble is evaluated again if its record lacks the best
evaluation point and its members have theirs. Everything else is to do. A run that only the archive
has left no weights: it is finished until something that is to do descends from it.
"""

import contextlib
import dataclasses
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from kdpipe.errors import KdpipeError, StoreError
from kdpipe.plan.nodes import Ensemble, Node, Plan, Probe, RecordedNode, Run
from kdpipe.runs import copies, upstream
from kdpipe.runs.files import read_bytes
from kdpipe.runs.run_folder import (
    best_outputs_path,
    curve_path,
    outputs_path,
    validation_errors_path,
)
from kdpipe.runs.store import Store
from kdpipe.runs.upstream import find_best_outputs

STATES = ("done", "diverged", "skipped", "to do")

# Files that a report reads of a run; outputs of its checkpoints are read by ensembles alone.
REPORT_FILES = {
    build_path(Path()).name
    for build_path in (curve_path, outputs_path, best_outputs_path, validation_errors_path)
}


def get_plan_status(plan: Plan, store: Store) -> dict[str, str]:
    """Return the state of every run, ensemble, probe and export evaluation of a plan.

    A node whose record is damaged or belongs to another spec is to do.

    Parameters
    ----------
    plan : Plan
        The plan; of a share of it the nodes of the share alone are returned.
    store : Store
        The results folder.

    Returns
    -------
    dict of str to str
        One of `STATES` by name.

    Raises
    ------
    StoreError
        If an archive is damaged.
    """
    if plan.whole is not None:  # parents may be in other shares
        states = get_plan_status(plan.whole, store)
        return {name: states[name] for name in plan.nodes_by_name}
    states: dict[str, str] = {}
    runs = store.load_records("runs")
    for kind, nodes in plan.recorded_nodes.items():  # runs first: the others wait for them
        records = runs if kind == "runs" else store.load_records(kind)
        for name, node in nodes.items():
            states[name] = _get_state(node, records.get(name), states)
            if states[name] == "done" and (
                not records[name]["checkpoints"].keys()
                >= set(map(str, plan.checkpoints_to_keep.get(name, ())))
                or (
                    isinstance(node, Ensemble) and _can_score_best(node, records[name], runs, store)
                )
            ):
                states[name] = "to do"
    _reopen_archived(plan, store.archive_only_runs(), states)
    return states


def _get_state(node: RecordedNode, record: dict[str, Any] | None, states: dict[str, str]) -> str:
    """Return the state by a node's own record and by the states of its parents."""
    if record is None or record["digest"] != node.digest:
        return "to do"
    has_failed_parent = any(states[run.name] in ("diverged", "skipped") for run in node.parents)
    if record["status"] == "skipped" and not has_failed_parent:
        return "to do"
    return record["status"]


def _can_score_best(
    ensemble: Ensemble, record: dict[str, Any], runs: dict[str, dict[str, Any]], store: Store
) -> bool:
    """Return whether an ensemble lacks the best evaluation point and its inputs exist."""
    if record.get("best") is not None:
        return False
    for run, epoch in ensemble.members:
        member = runs.get(run.name)
        if member is None or member["status"] != "done":
            return False
        path = find_best_outputs(store.run(run.name), member, epoch)
        if path is None or not path.exists():
            return False
    return True


def _reopen_archived(plan: Plan, archived: set[str], states: dict[str, str]) -> None:
    """Set needed nodes that are only archived to do, from the ends of the plan upwards."""
    if not archived:
        return
    needed: set[str] = set()
    for node in reversed(plan.nodes_by_name.values()):
        if node.name in needed and node.name in archived:
            states[node.name] = "to do"
        if states[node.name] == "to do":
            needed |= {parent.name for parent in node.parents}


def require_records(plan: Plan, store: Store, failures: bool = False) -> None:
    """Raise KdpipeError if the results folder holds no record of the plan.

    Parameters
    ----------
    plan : Plan
        The plan.
    store : Store
        The results folder.
    failures : bool
        Whether the reason of a failure will do, be it of a logit cache or a data set.

    Raises
    ------
    KdpipeError
        If there is none.
    """
    kinds = (*plan.recorded_nodes, "tables", "data")
    is_empty = not store.read_archive() and not any(map(store.list_folders, kinds))
    if not is_empty and any(
        store.has_record(node.kind, name)
        or (failures and find_missing_reason(node, plan, store, {})[1] is not None)
        for name, node in plan.nodes_by_name.items()
    ):
        return
    clause = "holds" if store.root.exists() else "is not there, so there is"
    raise KdpipeError(
        f"{store.root} {clause} no record of the study {plan.study.study}: run it first "
        "(kdpipe run STUDY), or say where its records are with --results; nothing was written"
    )


# --- why a node has no usable record


def find_missing_reason(
    node: RecordedNode, plan: Plan, store: Store, damaged: dict[str, str]
) -> tuple[str, str | None]:
    """Find out why a node has no record that can be used.

    Parameters
    ----------
    node : RecordedNode
        A node without one.
    plan : Plan
        Its plan.
    store : Store
        The results folder.
    damaged : dict of str to str
        What is wrong with damaged records of its kind, by name (`Store.scan_records`).

    Returns
    -------
    status : str
        `damaged`, `failed` or `not run`.
    reason : str or None
        The reason; None if it was not run.
    """
    if node.name in damaged:
        return "damaged", damaged[node.name]
    reason = store.failure_reason(node.kind, node.name)
    if reason is None:
        failed_input = next(iter(iter_failed_inputs(node, plan, store)), None)
        reason = failed_input and f"{failed_input[0]} failed: {failed_input[1]}"
    return ("not run", None) if reason is None else ("failed", reason)


def iter_failed_inputs(node: Node, plan: Plan, store: Store) -> Iterator[tuple[str, str]]:
    """Yield the failed jobs that a node waits for and that leave no record.

    A run waits for its data set and its teacher's logit caches; their failure is reported for every
    run that waits for them.

    Parameters
    ----------
    node : Node
        A node of the plan.
    plan : Plan
        Its plan.
    store : Store
        The results folder.

    Yields
    ------
    input_name, reason : str
        The failed input, such as `data digits-...`, and why it failed.
    """
    if isinstance(node, Ensemble):  # reads stored outputs only
        return
    card = node.card if isinstance(node, Probe) else plan.card
    if not (store.data(card.folder) / "card.json").exists():
        reason = store.failure_reason("data", card.folder)
        if reason is not None:
            yield f"data {card.folder}", reason
    for cache in node.logit_caches if isinstance(node, Run) else ():
        reason = store.failure_reason("tables", f".{cache.name}")
        if reason is not None:
            yield f"table {cache.name}", reason


def hide_altered(plan: Plan, store: Store) -> Store:
    """Return the store with altered runs counted as damaged.

    These are runs of which a curve or outputs were altered, the ensembles that they are in and
    their export evaluations: a report is rendered without them.

    Parameters
    ----------
    plan : Plan
        The plan.
    store : Store
        The results folder; one that has been checked already is returned as it is.

    Returns
    -------
    Store
        The store, with `altered` filled.
    """
    if store.altered:
        return store
    records = store.load_records("runs")
    run_reasons: dict[str, str] = {}
    for name, record in records.items():
        if name in plan.runs and (reason := _describe_altered(record, store.run(name))) is not None:
            run_reasons[name] = reason
    ensemble_reasons: dict[str, str] = {}
    for name, ensemble in plan.ensembles.items():
        for run, epoch in ensemble.members:
            record, reason = records.get(run.name), run_reasons.get(run.name)
            if record is not None and reason is None and epoch != run.epochs:
                outputs_name = outputs_path(Path(), epoch).as_posix()
                reason = _describe_altered(record, store.run(run.name), {outputs_name})
            if reason is not None:
                ensemble_reasons[name] = reason
    export_eval_reasons = {
        name: run_reasons[export_eval.run.name]
        for name, export_eval in plan.gauges.items()
        if export_eval.run.name in run_reasons
    }
    altered = {"runs": run_reasons, "ensembles": ensemble_reasons, "gauges": export_eval_reasons}
    return dataclasses.replace(store, altered=altered)


def _describe_altered(
    record: dict[str, Any], folder: Path, file_names: Collection[str] = REPORT_FILES
) -> str | None:
    """Describe which file of a run, beside its record, was altered."""
    for name, file_info in record.get("files", {}).items():
        if name in file_names:
            try:
                with contextlib.suppress(FileNotFoundError):  # archived, or missing by its record
                    read_bytes(folder / name, file_info)
            except StoreError as error:
                return str(error)
    return None


# --- nodes made of weights that have been trained again since


def find_stale(plan: Plan, store: Store) -> dict[str, str]:
    """Find nodes made of weights that have been trained again since, with another result.

    A teacher that is lost and trained again on another machine has the same name and other bytes;
    its students' results are then of a teacher that is gone. Records from before they listed what
    they were made of count as up to date, and so do students of another machine's copy, see
    `find_students_of_copies`.

    Parameters
    ----------
    plan : Plan
        The plan.
    store : Store
        The results folder.

    Returns
    -------
    dict of str to str
        Why a run, ensemble, probe or export evaluation is stale, by name.
    """
    return _find_changed(plan, store)[0]


def find_students_of_copies(plan: Plan, store: Store) -> dict[str, str]:
    """Find nodes made of another machine's copy of a run, whose bytes differ from those here.

    Their results are as good as the others'; `kdpipe merge` has brought them, and nothing removes
    them.

    Parameters
    ----------
    plan : Plan
        The plan.
    store : Store
        The results folder.

    Returns
    -------
    dict of str to str
        Which copy a run, ensemble, probe or export evaluation was made of, by name.
    """
    return _find_changed(plan, store)[1]


def _find_changed(plan: Plan, store: Store) -> tuple[dict[str, str], dict[str, str]]:
    """Return by name why nodes are stale, and which others were made of another copy."""
    runs = store.load_records("runs")
    by_digest = {record["digest"]: record for record in runs.values()}
    other_copies = copies.read_copies(store)
    stale: dict[str, str] = {}
    of_copies: dict[str, str] = {}
    for kind, nodes in plan.recorded_nodes.items():  # parents first
        records = runs if kind == "runs" else store.load_records(kind)
        for name, node in nodes.items():
            record = records.get(name)
            if record is None or record["digest"] != node.digest:
                continue
            reason = upstream.stale_reason(record, by_digest, other_copies)
            parents = [parent.name for parent in node.parents]
            stale_parent = next((parent for parent in parents if parent in stale), None)
            if reason is None and stale_parent is not None:
                reason = f"{stale_parent}, which it was made of, is outdated itself"
            if reason is not None:
                stale[name] = reason
                continue
            reason = upstream.other_copy_reason(record, by_digest, other_copies)
            copy_parent = next((parent for parent in parents if parent in of_copies), None)
            if reason is None and copy_parent is not None:
                reason = f"made of {copy_parent}, of which that is so"
            if reason is not None:
                of_copies[name] = reason
    return stale, of_copies
