"""The records of a plan's runs, ensembles, probes and gauges by name, and why one is missing.

A record counts only if its digest is that of the item in the plan. What a registration seals has no
test numbers in it here. What a run learned from is
priced here too, since its ancestors are looked up by name.
"""

import math
from typing import Any

import pandas as pd

from kdpipe.plan import hindrances, prices
from kdpipe.plan.items import Averaged, Gauge, Plan, Probe, Recorded, Run
from kdpipe.results import registrations
from kdpipe.results.records import UNAVERAGED
from kdpipe.results.store import Store

SPLITS = ("train", "val", "test")


class Lookup:
    """The records of one plan in one folder of results, each folder read once."""

    def __init__(self, plan: Plan, store: Store):
        self.plan = plan
        self.store = store
        self.runs, damaged_runs = store.scan("runs")
        self.ensembles, damaged_ensembles = store.scan("ensembles")
        self.probes, damaged_probes = store.scan("probes")
        self.gauges, damaged_gauges = store.scan("gauges")
        self.damaged = damaged_runs | damaged_ensembles | damaged_probes | damaged_gauges
        for name in registrations.sealed(store):
            for known in (self.runs, self.ensembles, self.probes, self.gauges):
                if name in known:
                    known[name] = untested(known[name])
        self.prices: dict[tuple[str, int], prices.Lineage] = {}

    def outcome(self, item: Recorded) -> tuple[dict | None, str, str | None]:
        """(record or None, status, reason); what is damaged, failed or not run has no record."""
        kinds = {Run: self.runs, Averaged: self.ensembles, Probe: self.probes, Gauge: self.gauges}
        record = kinds[type(item)].get(item.name)
        if record is None or record["digest"] != item.digest:
            return None, *hindrances.of(item, self.plan, self.store, self.damaged)
        return record, record["status"], record["reason"]

    def epochs(self, run: Run) -> int:
        """The epochs of the full training of a run's network."""
        return self.plan.study.recipe_of(run.network).epochs

    def ancestors(self, run: Run) -> float:
        """Multiply-adds spent to train all that a run learned from, each ancestor once."""
        return prices.ancestors(run, self.prices)

    def measured(self, run: Run, epoch: int) -> dict[str, Any]:
        """The metrics by split of a run at an epoch, empty where there are none."""
        record, _, _ = self.outcome(run)
        if record is None or record["status"] != "done":
            return {}
        if epoch == run.epochs:
            return record["last"]
        return record["checkpoints"].get(str(epoch), {})


def untested(record: dict) -> dict:
    """A record without what test images say."""
    kept = {epoch: part | {"test": None} for epoch, part in record["checkpoints"].items()}
    ends = [key for key in ("last", "best", UNAVERAGED) if key in record]
    said = {key: record[key] and record[key] | {"test": None} for key in ends}
    return record | said | {"checkpoints": kept}


def numeric(found: pd.DataFrame) -> pd.DataFrame:
    """With NaN for metrics that no row has, as pandas makes it of those that some rows have.

    A study without validation images would else have columns of None, with which nobody reckons.
    """
    known = [name for name in found if any(f"{split}_" in str(name) for split in SPLITS)]
    never = found[known].columns[found[known].isna().all()]
    return found.assign(**dict.fromkeys(never, math.nan))


def error_of(values: dict | None) -> float | None:
    """The top-1 error, in points, of the metrics of one split."""
    return 100 * (1 - values["accuracy"]) if values else None
