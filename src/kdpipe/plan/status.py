"""What of a plan is finished, looked up in one scan of the results folder.

A run is finished when its record says `done` and lists every checkpoint that the plan wants
kept, when it diverged (an outcome, never tried again), or when it was skipped and a parent still
is diverged or skipped. Everything else is to do.
"""

from kdpipe.errors import KdpipeError, StoreError
from kdpipe.plan.items import Averaged, Plan, Probe, Run
from kdpipe.results.records import FAILURE, RECORD
from kdpipe.results.store import Store

STATES = ("done", "diverged", "skipped", "to do")


def of(plan: Plan, store: Store) -> dict[str, str]:
    """The state of every run, ensemble and probe of the plan, by name.

    Raises StoreError for a record that is damaged or belongs to another spec.
    """
    records = store.records("runs")
    states: dict[str, str] = {}
    for name, run in plan.runs.items():
        states[name] = _state(run, records.get(name), run.parents, states)
        if states[name] == "done":
            kept = records[name]["checkpoints"]
            if any(str(epoch) not in kept for epoch in plan.keep.get(name, ())):
                states[name] = "to do"
    records = store.records("ensembles")
    for name, ensemble in plan.ensembles.items():
        members = tuple(run for run, _ in ensemble.members)
        states[name] = _state(ensemble, records.get(name), members, states)
    records = store.records("probes")
    for name, probe in plan.probes.items():
        states[name] = _state(probe, records.get(name), (probe.run,), states)
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


def _state(item: Run | Averaged | Probe, record: dict | None, needs: tuple, states: dict) -> str:
    if record is None:
        return "to do"
    if record["digest"] != item.digest:
        raise StoreError(
            f"the record of {item.name} belongs to another spec (digest {record['digest'][:12]}): "
            "remove that folder, the run is then made again"
        )
    hindered = any(states[run.name] in ("diverged", "skipped") for run in needs)
    if record["status"] == "skipped" and not hindered:
        return "to do"
    return record["status"]
