"""What of a plan is finished, looked up in one scan of the results folder.

A run is finished when its record says `done` and lists every checkpoint that the plan wants
kept, when it diverged (an outcome, never tried again), or when it was skipped and a parent still
is diverged or skipped. Everything else is to do.
"""

from collections.abc import Iterable

from kdpipe.errors import KdpipeError, StoreError
from kdpipe.plan.items import Averaged, Plan, Probe, Run
from kdpipe.results.records import FAILURE, RECORD
from kdpipe.results.store import Store

STATES = ("done", "diverged", "skipped", "to do")


def of(plan: Plan, store: Store) -> dict[str, str]:
    """The state of every run, ensemble and probe of the plan, by name.

    Raises StoreError for a record that is damaged or belongs to another spec.
    """
    states: dict[str, str] = {}
    for kind, items in plan.recorded.items():  # runs first: the others wait for them
        records = store.records(kind)
        for name, item in items.items():
            states[name] = _state(item, records.get(name), states)
            if states[name] == "done" and _lacks(records[name], plan.keep.get(name, ())):
                states[name] = "to do"
    return states


def refuse_nothing(plan: Plan, store: Store, failures: bool = False) -> None:
    """Raise KdpipeError if the results folder holds no record of the plan.

    failures: one that holds only the reason of a failure will do.
    """
    wanted = (RECORD, FAILURE) if failures else (RECORD,)
    folders = [store.run(name) for name in plan.runs]
    folders += [store.ensemble(name) for name in plan.ensembles]
    folders += [store.probe(name) for name in plan.probes]
    if any((folder / file).exists() for folder in folders for file in wanted):
        return
    there = "holds" if store.root.exists() else "is not there, so there is"
    raise KdpipeError(
        f"{store.root} {there} no record of the study {plan.study.study}: run it first "
        "(snakemake), or say where its records are with --results; nothing was written"
    )


def _state(item: Run | Averaged | Probe, record: dict | None, states: dict[str, str]) -> str:
    """By its own record, and by what became of its parents."""
    if record is None:
        return "to do"
    if record["digest"] != item.digest:
        raise StoreError(
            f"the record of {item.name} belongs to another spec (digest {record['digest'][:12]}): "
            "remove that folder, the run is then made again"
        )
    hindered = any(states[run.name] in ("diverged", "skipped") for run in item.parents)
    if record["status"] == "skipped" and not hindered:
        return "to do"
    return record["status"]


def _lacks(record: dict, wanted: Iterable[int]) -> bool:
    """Whether a finished run has not all checkpoints that are wanted."""
    return any(str(epoch) not in record["checkpoints"] for epoch in wanted)
