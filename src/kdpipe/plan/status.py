"""What of a plan is finished, looked up in one scan of the results folder.

A run is finished when its record says `done` and lists every checkpoint that the plan wants
kept, when it diverged (an outcome, never tried again), or when it was skipped and a parent still
is diverged or skipped. An ensemble is scored again where its record lacks the best reading and its
members have theirs. Everything else is to do. A run that only the archive knows has left no
weights: it is finished until something that is to do descends from it.
"""

from collections.abc import Iterable

from kdpipe.errors import KdpipeError
from kdpipe.plan import hindrances
from kdpipe.plan.items import Averaged, Plan, Recorded
from kdpipe.results.parents import at_its_best
from kdpipe.results.store import Store

STATES = ("done", "diverged", "skipped", "to do")


def of(plan: Plan, store: Store) -> dict[str, str]:
    """The state of every run, ensemble, probe and gauge of the plan, by name.

    What has a record that is damaged or belongs to another spec is to do. Raises StoreError for an
    archive that is damaged.
    """
    states: dict[str, str] = {}
    runs = store.records("runs")
    for kind, items in plan.recorded.items():  # runs first: the others wait for them
        records = runs if kind == "runs" else store.records(kind)
        for name, item in items.items():
            states[name] = _state(item, records.get(name), states)
            if states[name] == "done" and (
                _lacks(records[name], plan.keep.get(name, ()))
                or (isinstance(item, Averaged) and _can_be_read(item, records[name], runs, store))
            ):
                states[name] = "to do"
    _call_back(plan, store.only_archived("runs"), states)
    return states


def _call_back(plan: Plan, archived: set[str], states: dict[str, str]) -> None:
    """Set to do what is only archived and needed: from the ends of the plan to their ancestors."""
    if not archived:
        return
    needed: set[str] = set()
    for item in reversed([item for items in plan.recorded.values() for item in items.values()]):
        if item.name in needed and item.name in archived:
            states[item.name] = "to do"
        if states[item.name] == "to do":
            needed |= {parent.name for parent in item.parents}


def refuse_nothing(plan: Plan, store: Store, failures: bool = False) -> None:
    """Raise KdpipeError if the results folder holds no record of the plan.

    failures: one that holds only the reason of a failure will do, be it of a table or a data set.
    """
    if any(
        store.has_record(kind, name)
        or (failures and hindrances.of(item, plan, store, {})[1] is not None)
        for kind, items in plan.recorded.items()
        for name, item in items.items()
    ):
        return
    there = "holds" if store.root.exists() else "is not there, so there is"
    raise KdpipeError(
        f"{store.root} {there} no record of the study {plan.study.study}: run it first "
        "(snakemake), or say where its records are with --results; nothing was written"
    )


def _state(item: Recorded, record: dict | None, states: dict[str, str]) -> str:
    """By its own record, and by what became of its parents."""
    if record is None or record["digest"] != item.digest:
        return "to do"
    hindered = any(states[run.name] in ("diverged", "skipped") for run in item.parents)
    if record["status"] == "skipped" and not hindered:
        return "to do"
    return record["status"]


def _can_be_read(team: Averaged, record: dict, runs: dict[str, dict], store: Store) -> bool:
    """Whether an ensemble has no best reading yet, and the outputs for it are there."""
    if record.get("best") is not None:
        return False
    for run, epoch in team.members:
        member = runs.get(run.name)
        if member is None or member["status"] != "done":
            return False
        path = at_its_best(store.run(run.name), member, epoch)
        if path is None or not path.exists():
            return False
    return True


def _lacks(record: dict, wanted: Iterable[int]) -> bool:
    """Whether a finished run has not all checkpoints that are wanted."""
    return any(str(epoch) not in record["checkpoints"] for epoch in wanted)
