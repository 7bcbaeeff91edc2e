"""How the jobs of a plan fit beside each other: hours, and what stands on the disk at a time.

A simulation of what Snakemake does: whatever has all that it waits for may start, runs before
tables, while there are cores. A teacher's table is there until the last of its students ends.
"""

import heapq
import os
from collections.abc import Callable, Collection
from dataclasses import dataclass

from kdpipe.plan.items import Averaged, Gauge, Item, Plan, Probe, Run, Table


@dataclass(frozen=True)
class Schedule:
    """Seconds from the first start to the last end, and of all cores; bytes of tables at a time."""

    seconds: float
    core_seconds: float
    table_bytes: int
    abreast: int  # the most jobs at a time


def cores() -> int:
    """How many this process may use, as Snakemake counts them for `--cores all`."""
    return len(os.sched_getaffinity(0))


def simulate(
    plan: Plan,
    to_do: Collection[str],
    seconds: Callable[[Item], float],
    cores: int,
    on_gpus: int | None = None,
) -> Schedule:
    """The schedule of everything that is to do, with the tables that it waits for.

    on_gpus: how many jobs the GPUs hold at a time, ensembles apart; None where none is needed.
    """
    items = _items(plan, to_do)
    after: dict[str, list[Item]] = {name: [] for name in items}
    waits: dict[str, int] = {}
    for name, item in items.items():
        awaited = [parent.name for parent in (*item.parents, *_tables(item))]
        waits[name] = sum(one in items for one in awaited)
        for one in awaited:
            if one in items:
                after[one].append(item)
    students = {n: len(after[n]) for n, item in items.items() if isinstance(item, Table)}
    order = {name: number for number, name in enumerate(items)}

    def place(item: Item) -> tuple[bool, int, str]:
        return isinstance(item, Table), order[item.name], item.name  # runs have a higher priority

    ready = [place(item) for name, item in items.items() if not waits[name]]
    heapq.heapify(ready)
    running: list[tuple[float, str, int]] = []
    now = total = 0.0
    free, standing, most, abreast = cores, 0, 0, 0
    on_gpu = 0
    while ready or running:
        while ready and free > 0:
            item = items[heapq.heappop(ready)[2]]
            taken = min(threads(item, plan), cores)
            held = on_gpus is not None and not isinstance(item, (Averaged, Gauge))
            if running and (taken > free or (held and on_gpu >= (on_gpus or 1))):
                heapq.heappush(ready, place(item))
                break
            took = seconds(item)
            heapq.heappush(running, (now + took, item.name, taken))
            free, total, on_gpu = free - taken, total + took * taken, on_gpu + held
            if isinstance(item, Table):
                standing += item.bytes
                most = max(most, standing)
            abreast = max(abreast, len(running))
        now, name, taken = heapq.heappop(running)
        free += taken
        on_gpu -= on_gpus is not None and not isinstance(items[name], (Averaged, Gauge))
        for item in after[name]:
            waits[item.name] -= 1
            if not waits[item.name]:
                heapq.heappush(ready, place(item))
        for table in _tables(items[name]):
            students[table.name] -= 1
            if not students[table.name]:
                standing -= table.bytes
    return Schedule(now, total, most, abreast)


def threads(item: Item, plan: Plan) -> int:
    """Of a job, and of the processes that read images beside it; scoring an ensemble has one.

    A gauge takes times: on this machine nothing runs beside it.
    """
    if isinstance(item, Averaged):
        return 1
    if isinstance(item, Gauge):
        return cores()
    own = item.spec["recipe"] if isinstance(item, Run) else item.spec
    card = item.card if isinstance(item, Probe) else plan.card
    return own["threads"] + (plan.study.workers if card.streamed else 0)


def _items(plan: Plan, to_do: Collection[str]) -> dict[str, Item]:
    """What is to do by name, tables that a run to do learns from among it."""
    found: dict[str, Item] = {}
    for items in plan.recorded.values():
        found |= {name: item for name, item in items.items() if name in to_do}
    runs = [item for item in found.values() if isinstance(item, Run)]
    return {table.name: table for run in runs for table in run.tables} | found


def _tables(item: Item) -> tuple[Table, ...]:
    return item.tables if isinstance(item, Run) else ()
