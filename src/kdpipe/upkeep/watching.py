"""A study while it runs: done, running, failed, to do, and how long it will take.

Read from the results folder alone, so it works beside a running Snakemake, and needs no torch.
"""

import csv
import shlex
from collections import Counter
from pathlib import Path

from kdpipe.beforehand import registered
from kdpipe.plan import hindrances, outdated, status
from kdpipe.plan.cost import said
from kdpipe.plan.items import Plan
from kdpipe.plan.overview import counted
from kdpipe.results.store import Store, is_running
from kdpipe.upkeep import comparing, pricing
from kdpipe.upkeep.going import at_work, place_of


def as_text(plan: Plan, place: Store, device: str = "cpu", on_gpus: int | None = None) -> str:
    """The state of a study on one screen; it runs on a `cpu` or on `cuda`, see `pricing.of`."""
    states = status.of(plan, place)
    records, damaged = place.scan("runs")
    waiting = [run for run in plan.runs.values() if states[run.name] == "to do"]
    running = [run for run in waiting if is_running(place.run(run.name))]
    unlike = {run.name: damaged[run.name] for run in waiting if run.name in damaged}
    failed = {
        run.name: reason
        for run in waiting
        if run not in running
        and run.name not in unlike
        and (reason := place.failure("runs", run.name)) is not None
    }
    count = Counter(states[name] for name in plan.runs)
    count["running"], count["failed"], count["damaged"] = len(running), len(failed), len(unlike)
    count["to do"] -= len(running) + len(failed) + len(unlike)
    order = ("done", "diverged", "skipped", "damaged", "running", "failed", "to do")
    shown = ", ".join(f"{count[state]:,} {state}" for state in order if count[state])
    lines = [f"study {plan.study.study}: {counted(plan)}: {shown}"]
    if (why := registered.sealed(plan, place)) is not None:
        lines.append(f"sealed: {why}")
    if not place.root.is_dir():
        lines.append(f"no results yet at {place.root.absolute()}")
    if plan.ensembles:
        done = sum(states[name] != "to do" for name in plan.ensembles)
        lines.append(f"{len(plan.ensembles):,} ensembles: {done:,} scored")
    if plan.probes:
        done = sum(states[name] != "to do" for name in plan.probes)
        lines.append(f"{len(plan.probes):,} probes on other data: {done:,} finished")
    if plan.gauges:
        done = sum(states[name] != "to do" for name in plan.gauges)
        lines.append(f"{len(plan.gauges):,} networks to measure as files: {done:,} measured")
    awaited = {table.name: table for run in waiting for table in run.tables}
    making = at_work(awaited.values(), place)
    if awaited:
        there = sum(place.table(name).exists() for name in awaited)
        lines.append(
            f"{len(awaited):,} teacher tables for what is to do: {there:,} made, "
            f"{len(making):,} being made"
        )
    stands = {run.name: place_of(place.run(run.name)) for run in waiting}
    for run in running:
        epoch, error = stands[run.name]
        shown = "" if error is None else f", validation error {error:.1f} %"
        lines.append(f"  running  {run.name}: epoch {epoch} of {run.epochs} done{shown}")
    lines += [f"  running  table {table.name}" for table in making]
    for name in plan.runs:
        if states[name] in ("diverged", "skipped"):
            lines.append(f"  {states[name]}  {name}: {records[name]['reason']}")
    for kind in ("ensembles", "probes", "gauges"):
        marred = place.scan(kind)[1]
        for name in plan.recorded[kind]:
            if states[name] != "to do":
                continue
            if is_running(place.root / kind / name):
                lines.append(f"  running  {name}")
            elif name in marred:
                unlike[name] = marred[name]
            elif (reason := place.failure(kind, name)) is not None:
                failed[name] = reason
    failed |= _failed_before(plan, place, states)
    lines += [f"  damaged  {name}: {reason}" for name, reason in unlike.items()]
    lines += [f"  failed  {name}: {reason}" for name, reason in failed.items()]
    old = outdated.of(plan, place)
    lines += [f"  outdated  {name}: {reason}" for name, reason in old.items()]
    if old:
        lines.append(
            f"{len(old):,} outdated: kdpipe prune with --outdated and --yes removes them, the next "
            "start makes them again"
        )
    lines += comparing.of_images(plan.study)
    if "to do" in states.values():
        _, _, left, _ = pricing.of(plan, device, place, on_gpus, len(running) + len(making))
        lines.append(f"time left: {said.time_left(left)}")
    return "\n".join(lines)


def under_other_names(plan: Plan, reports: Path) -> list[str]:
    """A line for each report of the very runs of a plan that lies under another study's name.

    A study that is renamed leaves it behind.
    """
    ours = {name for items in plan.recorded.values() for name in items}
    found = []
    for path in sorted(reports.glob("*/results.csv")):
        if path.parent.name == plan.study.study:
            continue
        try:
            with path.open(newline="") as file:
                theirs = {row.get("run") for row in csv.DictReader(file)}
        except (OSError, ValueError, csv.Error):
            continue
        if theirs == ours:
            found.append(
                f"{path.parent} is a report of these runs under another name: if the study was "
                "renamed, remove it"
            )
    return found


def missing(plan: Plan, place: Store, study: str) -> str:
    """What to say of a report that lacks runs: how many, and where the reasons are to be had.

    study: the file, or `-` where it came by standard input.
    """
    states = status.of(plan, place)
    waiting = [name for name in plan.runs if states[name] == "to do"]
    if not waiting:
        return ""
    damaged = place.scan("runs")[1]
    failed = sum(
        not is_running(place.run(name))
        and hindrances.of(plan.runs[name], plan, place, damaged)[1] is not None
        for name in waiting
    )
    counted = f" without {len(waiting):,} of {len(plan.runs):,} runs"
    if not failed:
        return counted
    file = "FILE" if study == "-" else shlex.quote(study)
    return f"{counted}, of which {failed:,} failed: kdpipe status {file} says why"


def _failed_before(plan: Plan, place: Store, states: dict[str, str]) -> dict[str, str]:
    """Why data sets and teacher tables failed that something to do waits for."""
    found: dict[str, str] = {}
    for items in plan.recorded.values():
        for name, item in items.items():
            if states[name] == "to do":
                found |= dict(hindrances.awaited(item, plan, place))
    return found
