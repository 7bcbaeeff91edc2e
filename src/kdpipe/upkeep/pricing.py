"""The price of what is to do in a results folder, as `init`, `plan` and `status` say it alike."""

from collections.abc import Collection
from dataclasses import replace
from typing import NamedTuple

from kdpipe.plan import status
from kdpipe.plan.cost import price, schedule
from kdpipe.plan.cost.price import Price, Total
from kdpipe.plan.items import Plan, Run, Table
from kdpipe.results.store import Store
from kdpipe.upkeep.going import place_of


class Priced(NamedTuple):
    """The states of a plan's items by name, the price of each, and of all that is to do.

    plainly: of all by Snakemake alone, where `kdpipe run` would fork its jobs; else None.
    """

    states: dict[str, str]
    price: Price
    total: Total
    plainly: Total | None


def of(
    plan: Plan, device: str, place: Store, on_gpus: int | None = None, at_work: int = 0
) -> Priced:
    """On this machine's cores, or on as many as jobs are `at_work` where those are more.

    device: `cpu` or `cuda`; on_gpus: how many jobs the GPUs hold at a time, None without them.
    """
    states = status.of(plan, place)
    to_do = [name for name, state in states.items() if state == "to do"]
    found = price.of(plan, device, place.records("runs"), on_gpus)
    cores = max(at_work, schedule.cores())
    total = found.total(to_do, cores, behind(found, to_do, place))
    plainly = None
    if found.start is not None:
        alone = replace(found, start=None)
        plainly = alone.total(to_do, cores, behind(alone, to_do, place))
    return Priced(states, found, total, plainly)


def behind(found: Price, to_do: Collection[str], place: Store) -> dict[str, float]:
    """Seconds of its price that a job has behind it: epochs of a run, tables that stand."""
    known: dict[str, float] = {}
    for name in to_do:
        if (run := found.plan.runs.get(name)) is not None:
            known[name] = found.done(run, place_of(place.run(name)).epoch)
            known |= {table.name: found.of(table) for table in standing(run, place)}
    return known


def standing(run: Run, place: Store) -> list[Table]:
    """The tables of a run that are made and not yet removed."""
    return [table for table in run.tables if place.table(table.name).exists()]
