"""The state of a study in words: done, running, failed, to do, and how long it will take.

It is read from the results folder alone, so it works next to a running Snakemake, and needs no
torch.
"""

import csv
import shlex
from collections import Counter
from pathlib import Path

from kdpipe.analysis.preregistration import registration
from kdpipe.plan import estimate, status
from kdpipe.plan.nodes import Plan
from kdpipe.plan.render import format_run_count
from kdpipe.runs.integrity import data_drift
from kdpipe.runs.store import Store, is_running
from kdpipe.workflow.run_state import find_running_jobs, price_plan, read_progress


def format_status(
    plan: Plan, store: Store, device: str = "cpu", gpu_jobs: int | None = None
) -> str:
    """Return the state of a study on one screen.

    Parameters
    ----------
    plan : Plan
        The plan; in a search the part of it that is decided.
    store : Store
        Its results.
    device : {"cpu", "cuda"}
        Device of its runs.
    gpu_jobs : int, optional
        Jobs that the GPUs hold at a time; None without GPUs.
    """
    states = status.get_plan_status(plan, store)
    records, damaged = store.scan_records("runs")
    pending = [run for run in plan.runs.values() if states[run.name] == "to do"]
    running = [run for run in pending if is_running(store.run(run.name))]
    damaged_runs = {run.name: damaged[run.name] for run in pending if run.name in damaged}
    failed = {
        run.name: reason
        for run in pending
        if run not in running
        and run.name not in damaged_runs
        and (reason := store.failure_reason("runs", run.name)) is not None
    }
    counts = Counter(states[name] for name in plan.runs)
    counts.update(running=len(running), failed=len(failed), damaged=len(damaged_runs))
    counts["to do"] -= len(running) + len(failed) + len(damaged_runs)
    order = ("done", "diverged", "skipped", "damaged", "running", "failed", "to do")
    counts_text = ", ".join(f"{counts[state]:,} {state}" for state in order if counts[state])
    lines = [f"study {plan.study.study}: {format_run_count(plan)}: {counts_text}"]
    if (blinding := registration.find_blinding_reason(plan, store)) is not None:
        lines.append(f"sealed: {blinding}")
    if not store.root.is_dir():
        lines.append(f"no results yet at {store.root.absolute()}")
    if plan.ensembles:
        done = sum(states[name] != "to do" for name in plan.ensembles)
        lines.append(f"{len(plan.ensembles):,} ensembles: {done:,} scored")
    if plan.probes:
        done = sum(states[name] != "to do" for name in plan.probes)
        lines.append(f"{len(plan.probes):,} probes on other data: {done:,} finished")
    if plan.gauges:
        done = sum(states[name] != "to do" for name in plan.gauges)
        lines.append(f"{len(plan.gauges):,} networks to measure as files: {done:,} measured")
    caches = {cache.name: cache for run in pending for cache in run.logit_caches}
    caches_in_progress = find_running_jobs(caches.values(), store)
    if caches:
        n_made = sum(store.logit_cache(name).exists() for name in caches)
        lines.append(
            f"{len(caches):,} teacher tables for what is to do: {n_made:,} made, "
            f"{len(caches_in_progress):,} being made"
        )
    progress = {run.name: read_progress(store.run(run.name)) for run in pending}
    for run in running:
        epoch, error = progress[run.name]
        error_text = "" if error is None else f", validation error {error:.1f} %"
        lines.append(f"  running  {run.name}: epoch {epoch} of {run.epochs} done{error_text}")
    lines += [f"  running  table {cache.name}" for cache in caches_in_progress]
    for name in plan.runs:
        if states[name] in ("diverged", "skipped"):
            lines.append(f"  {states[name]}  {name}: {records[name]['reason']}")
    for kind in ("ensembles", "probes", "gauges"):
        damaged_records = store.scan_records(kind)[1]
        for name in plan.recorded_nodes[kind]:
            if states[name] != "to do":
                continue
            if is_running(store.root / kind / name):
                lines.append(f"  running  {name}")
            elif name in damaged_records:
                damaged_runs[name] = damaged_records[name]
            elif (reason := store.failure_reason(kind, name)) is not None:
                failed[name] = reason
    failed |= _failed_inputs(plan, store, states)
    lines += [f"  damaged  {name}: {reason}" for name, reason in damaged_runs.items()]
    lines += [f"  failed  {name}: {reason}" for name, reason in failed.items()]
    stale = status.find_stale(plan, store)
    lines += [f"  outdated  {name}: {reason}" for name, reason in stale.items()]
    if stale:
        lines.append(
            f"{len(stale):,} outdated: kdpipe prune with --outdated and --yes removes them, the "
            "next start makes them again"
        )
    lines += data_drift.find_changed_images(plan.study)
    if "to do" in states.values():
        n_running = len(running) + len(caches_in_progress)
        left = price_plan(plan, device, store, gpu_jobs, n_running).total
        lines.append(f"time left: {estimate.format_time_left(left)}")
    return "\n".join(lines)


def find_renamed_reports(plan: Plan, reports: Path) -> list[str]:
    """Return a line for each report of the same runs under another study's name.

    A study that is renamed leaves such a report behind.

    Parameters
    ----------
    plan : Plan
        The plan.
    reports : Path
        Folder of the reports of all studies.
    """
    run_names = {name for nodes in plan.recorded_nodes.values() for name in nodes}
    lines = []
    for path in sorted(reports.glob("*/results.csv")):
        if path.parent.name == plan.study.study:
            continue
        try:
            with path.open(newline="") as file:
                report_names = {row.get("run") for row in csv.DictReader(file)}
        except (OSError, ValueError, csv.Error):
            continue
        if report_names == run_names:
            lines.append(
                f"{path.parent} is a report of these runs under another name: if the study was "
                "renamed, remove it"
            )
    return lines


def format_incomplete(plan: Plan, store: Store, study: str) -> str:
    """Return how many runs a report lacks, and which command says why; empty if it lacks none.

    Parameters
    ----------
    plan, store : Plan, Store
        The study and its results.
    study : str
        Its file, or `-` where it came by standard input.
    """
    states = status.get_plan_status(plan, store)
    pending = [name for name in plan.runs if states[name] == "to do"]
    if not pending:
        return ""
    damaged = store.scan_records("runs")[1]
    failed = sum(
        not is_running(store.run(name))
        and status.find_missing_reason(plan.runs[name], plan, store, damaged)[1] is not None
        for name in pending
    )
    text = f" without {len(pending):,} of {len(plan.runs):,} runs"
    if not failed:
        return text
    file = "FILE" if study == "-" else shlex.quote(study)
    return f"{text}, of which {failed:,} failed: kdpipe status {file} says why"


def _failed_inputs(plan: Plan, store: Store, states: dict[str, str]) -> dict[str, str]:
    """Return by name why data sets and logit caches failed that pending jobs wait for."""
    reasons: dict[str, str] = {}
    for nodes in plan.recorded_nodes.values():
        for name, node in nodes.items():
            if states[name] == "to do":
                reasons |= dict(status.iter_failed_inputs(node, plan, store))
    return reasons
