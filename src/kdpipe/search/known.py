"""What a search reads of the records of runs: numbers on validation, never on test."""

import math
from collections.abc import Iterable

from kdpipe.plan.items import Gauge, Plan, Run
from kdpipe.results.store import Store


class Records:
    """The records of a plan's runs, read once."""

    def __init__(self, plan: Plan, store: Store):
        self.reading = plan.study.reading
        self.by_name = store.records("runs")
        asked = plan.study.search is not None and plan.study.search.latency is not None
        self.gauges = store.records("gauges") if asked else {}

    def of(self, names: Iterable[str]) -> dict[str, dict]:
        """The records of these runs, of those that have one that says what it took."""
        found = {name: self.by_name.get(name) for name in names}
        return {name: record for name, record in found.items() if record and "seconds" in record}

    def ended(self, run: Run, checkpoints: Iterable[int] = ()) -> bool:
        """Whether a run has an outcome, and the checkpoints if it is done."""
        record = self.by_name.get(run.name)
        if record is None or record["digest"] != run.digest:
            return False
        if record["status"] != "done":
            return True
        return all(e == run.epochs or str(e) in record["checkpoints"] for e in checkpoints)

    def measured(self, gauge: Gauge) -> bool:
        """Whether it is known how long the graphs of a network take."""
        record = self.gauges.get(gauge.name)
        return record is not None and record["digest"] == gauge.digest

    def latency(self, gauge: Gauge) -> float:
        """Milliseconds that the float32 graph takes for one image: the median.

        Of a network that diverged there is no graph: inf.
        """
        graphs = self.gauges[gauge.name].get("graphs")
        return graphs["float32"]["latency"]["1"]["median"] if graphs else math.inf

    def error(self, run: Run) -> float:
        """Top-1 error on validation in points, in the study's reading; inf of one that has none."""
        validation = (self.by_name[run.name].get(self.reading) or {}).get("val")
        return 100 * (1 - validation["accuracy"]) if validation else math.inf

    def nll(self, run: Run, epoch: int) -> float:
        """Mean negative log-likelihood of validation, in nat, after an epoch; inf without one."""
        record = self.by_name[run.name]
        whole = epoch == run.epochs
        reading = record["last"] if whole else record["checkpoints"].get(str(epoch))
        validation = (reading or {}).get("val")
        return validation["nll"] if validation else math.inf
