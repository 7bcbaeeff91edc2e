"""What of a plan was made of weights that have been made again since, and came out differently.

A teacher that is lost and trained again on another machine has the same name and other bytes; its
students then tell of a teacher that is gone. Records from before they said what they were made of
count as they are.
"""

from kdpipe.plan.items import Plan
from kdpipe.results import parents
from kdpipe.results.store import Store


def of(plan: Plan, store: Store) -> dict[str, str]:
    """By name, why a run, ensemble or probe is outdated: by a parent, or with it."""
    runs = store.records("runs")
    by_digest = {record["digest"]: record for record in runs.values()}
    found: dict[str, str] = {}
    for kind, items in plan.recorded.items():  # parents first
        known = runs if kind == "runs" else store.records(kind)
        for name, item in items.items():
            record = known.get(name)
            if record is None or record["digest"] != item.digest:
                continue
            why = parents.outdated(record, by_digest)
            old = next((parent.name for parent in item.parents if parent.name in found), None)
            if why is None and old is not None:
                why = f"{old}, which it was made of, is outdated itself"
            if why is not None:
                found[name] = why
    return found
