"""Why something of a plan has no record to be used: it is damaged, its job failed, or another's.

A run waits for its data set and for its teacher's tables, whose jobs leave no record; what they
failed of is said of every run that waits for them.
"""

from collections.abc import Iterator

from kdpipe.plan.items import Averaged, Item, Plan, Probe, Recorded, Run
from kdpipe.results.store import Store

# As the store calls them.
KINDS = {"Run": "runs", "Averaged": "ensembles", "Probe": "probes", "Gauge": "gauges"}


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
