"""Why something of a plan has no record to be used: it is damaged, its job failed, or another's.

A run waits for its data set and for its teacher's tables, whose jobs leave no record; what they
failed of is said of every run that waits for them.
"""

import contextlib
import dataclasses
from collections.abc import Collection, Iterator
from pathlib import Path

from kdpipe.errors import StoreError
from kdpipe.plan.items import Averaged, Item, Plan, Probe, Recorded, Run
from kdpipe.results.files import read_bytes
from kdpipe.results.run_folder import best_outputs, curve, outputs
from kdpipe.results.store import Store

# As the store calls them.
KINDS = {"Run": "runs", "Averaged": "ensembles", "Probe": "probes", "Gauge": "gauges"}
# Of a run, by a report; those of its checkpoints by ensembles alone.
READ = {each(Path()).name for each in (curve, outputs, best_outputs)}


def of(item: Recorded, plan: Plan, store: Store, damaged: dict[str, str]) -> tuple[str, str | None]:
    """(status, reason): damaged, failed, or not run with no reason.

    damaged: by name, what is the matter with records of its kind (`Store.scan`).
    """
    if item.name in damaged:
        return "damaged", damaged[item.name]
    reason = store.failure(KINDS[type(item).__name__], item.name)
    if reason is None:
        before = next(iter(awaited(item, plan, store)), None)
        reason = before and f"{before[0]} failed: {before[1]}"
    return ("not run", None) if reason is None else ("failed", reason)


def awaited(item: Item, plan: Plan, store: Store) -> Iterator[tuple[str, str]]:
    """(what, why) of each job without a record that an item waits for and that has failed."""
    if isinstance(item, Averaged):  # sees no image
        return
    card = item.card if isinstance(item, Probe) else plan.card
    if not (store.data(card.folder) / "card.json").exists():
        reason = store.failure("data", card.folder)
        if reason is not None:
            yield f"data {card.folder}", reason
    for table in item.tables if isinstance(item, Run) else ():
        reason = store.failure("tables", f".{table.name}")
        if reason is not None:
            yield f"table {table.name}", reason


def by_altered_files(plan: Plan, store: Store) -> Store:
    """The store, where a run of which a curve or outputs were altered counts as damaged, and so do
    the ensembles that it is in and its gauge: a report is rendered without them. A store that has
    been looked at so is given back as it is.
    """
    if store.altered:
        return store
    runs, records = {}, store.records("runs")
    for name, record in records.items():
        if name in plan.runs and (why := _altered(record, store.run(name))) is not None:
            runs[name] = why
    teams = {}
    for name, team in plan.ensembles.items():
        for run, epoch in team.members:
            record, why = records.get(run.name), runs.get(run.name)
            if record is not None and why is None and epoch != run.epochs:
                of_epoch = outputs(Path(), epoch).as_posix()
                why = _altered(record, store.run(run.name), {of_epoch})
            if why is not None:
                teams[name] = why
    gauges = {
        name: runs[gauge.run.name] for name, gauge in plan.gauges.items() if gauge.run.name in runs
    }
    altered = {"runs": runs, "ensembles": teams, "gauges": gauges}
    return dataclasses.replace(store, altered=altered)


def _altered(record: dict, folder: Path, read: Collection[str] = READ) -> str | None:
    """What is the matter with what a report reads of a run beside its record."""
    for name, facts in record.get("files", {}).items():
        if name in read:
            try:
                with contextlib.suppress(FileNotFoundError):  # of an archive, or said by its record
                    read_bytes(folder / name, facts)
            except StoreError as error:
                return str(error)
    return None
