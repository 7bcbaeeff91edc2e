"""What goes on in a results folder: which jobs are at work, and how far each has come.

A run is at work while a process holds its lock; its place is in the header of its saved state. So
it is seen beside a running Snakemake, from another terminal, and where its jobs are on a cluster.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from kdpipe.plan.items import Averaged, Gauge, Item, Plan, Probe, Run, Table
from kdpipe.results import run_folder
from kdpipe.results.files import DAMAGED, about_in
from kdpipe.results.store import Store, is_running


class Place(NamedTuple):
    """Where a run stands: epochs behind it, and its validation error after the last, in percent."""

    epoch: int = 0
    error: float | None = None


def place_of(folder: Path) -> Place:
    """Where a run stands, by its saved state."""
    try:
        about = _about(folder)
        last = about["curve"][-1]["val"] if about["curve"] else None
        return Place(int(about["epoch"]), 100 * (1 - last["accuracy"]) if last else None)
    except DAMAGED:  # or there is none
        return Place()


def curve_of(folder: Path) -> list[dict]:
    """The curve of an unfinished run as far as its state was saved: one line an epoch."""
    try:
        return list(_about(folder)["curve"])
    except DAMAGED:  # or there is none
        return []


def _about(folder: Path) -> dict:
    return about_in(run_folder.state(folder))


def folder_of(item: Item, store: Store) -> Path:
    """The folder in which the job of an item works, and holds its lock."""
    match item:
        case Run():
            return store.run(item.name)
        case Table():
            return store.table(f".{item.name}")
        case Averaged():
            return store.ensemble(item.name)
        case Probe():
            return store.probe(item.name)
        case Gauge():
            return store.gauge(item.name)


def at_work(items: Iterable[Item], store: Store) -> list[Item]:
    """Those of the items whose jobs are at work now."""
    return [item for item in items if is_running(folder_of(item, store))]


def goes_on(plan: Plan, store: Store) -> bool:
    """Whether a job of the plan is at work, or a Snakemake holds the folder of the results."""
    if any((store.root.absolute().parent / ".snakemake" / "locks").glob("*.lock")):
        return True
    items = [item for kind in plan.recorded.values() for item in kind.values()]
    return any(is_running(folder_of(item, store)) for item in [*items, *plan.tables.values()])


def what(item: Item) -> str:
    """The word for what a job makes."""
    words = {Run: "run", Table: "table", Averaged: "ensemble", Probe: "probe", Gauge: "gauge"}
    return words[type(item)]
