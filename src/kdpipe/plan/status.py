"""What of a plan is finished, looked up in one scan of the results folder.

A run is finished when its record says `done` and lists every checkpoint that the plan wants
kept, when it diverged (an outcome, never tried again), or when it was skipped and a parent still
is diverged or skipped. Everything else is to do. A run that only the archive knows has left no
weights: it is finished until something that is to do descends from it.
"""

from kdpipe.errors import KdpipeError, StoreError
from kdpipe.plan.items import Averaged, Plan, Probe, Run
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
    _call_back(plan, store.only_archived("runs"), states)
    return states


def _call_back(plan: Plan, archived: set[str], states: dict[str, str]) -> None:
    """Set to do what is only archived and needed: from the ends of the plan to their ancestors."""
    if not archived:
        return
    needed = {
        run.name
        for ensemble in plan.ensembles.values()
        if states[ensemble.name] == "to do"
        for run, _ in ensemble.members
    }
    needed |= {probe.run.name for probe in plan.probes.values() if states[probe.name] == "to do"}
    for run in reversed(plan.runs.values()):
        if run.name in needed & archived:
            states[run.name] = "to do"
        if states[run.name] == "to do":
            needed |= {parent.name for parent in run.parents}


def refuse_nothing(plan: Plan, store: Store, failures: bool = False) -> None:
    """Raise KdpipeError if the results folder holds no record of the plan.

    failures: one that holds only the reason of a failure will do.
    """
    planned = {"runs": plan.runs, "ensembles": plan.ensembles, "probes": plan.probes}
    if any(
        store.has_record(kind, name) or (failures and store.failure(kind, name) is not None)
        for kind, names in planned.items()
        for name in names
    ):
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
