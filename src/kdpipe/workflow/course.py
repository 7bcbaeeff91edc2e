"""The course of a start: what of a study is done, what goes on, what failed, how long it will take.

Snakemake says which jobs begin and end; how far they have come is read in the results folder. The
bar is over the price of what is to do, not over the number of jobs.
"""

import statistics
import time
from dataclasses import dataclass, field, replace

from kdpipe.errors import StoreError
from kdpipe.plan.cost import said, schedule
from kdpipe.plan.cost.price import Price, Total
from kdpipe.plan.items import Item, Plan, Run, Table
from kdpipe.results import records
from kdpipe.results.store import Store, is_running
from kdpipe.upkeep import pricing
from kdpipe.upkeep.going import Place, folder_of, place_of


@dataclass(frozen=True)
class Row:
    """A job at work. `what` it does: training, making a table, scoring, ..., or starting."""

    name: str
    what: str
    place: Place
    epochs: int  # 0 where there are none


@dataclass
class Course:
    """The jobs of one start, by name; `cores` is what Snakemake may use."""

    plan: Plan
    store: Store
    to_do: frozenset[str]
    first: Price  # as it was before anything of it ran
    cores: int
    remote: bool = False
    later: frozenset[str] = frozenset()  # what is to do and not asked for, short of the end
    began: float = field(default_factory=time.monotonic)
    at_work: dict[str, float] = field(default_factory=dict)  # since when
    ended: set[str] = field(default_factory=set)
    failed: dict[str, str] = field(default_factory=dict)  # why
    starts: list[float] = field(default_factory=list)  # seconds that runs took beside their own
    core_seconds: float = 0.0

    def __post_init__(self) -> None:
        self.records = dict(self.first.records)
        items = {n: item for all_ in self.plan.recorded.values() for n, item in all_.items()}
        wanted = {name: item for name, item in items.items() if name in self.to_do}
        runs = [item for item in wanted.values() if isinstance(item, Run)]
        self.items: dict[str, Item] = {t.name: t for run in runs for t in run.tables} | wanted
        self.standing = {t.name for run in runs for t in pricing.standing(run, self.store)}
        self._price: Price | None = self.first

    def begin(self, name: str) -> None:
        self.at_work[name] = time.monotonic()
        self.failed.pop(name, None)

    def end(self, name: str) -> str | None:
        """A job has ended; the line on it for a log, if it made something of the plan."""
        took = self._leave(name)
        item = self.items.get(name)
        if item is None:
            return None
        self.ended.add(name)
        record = None
        if not isinstance(item, Table):
            try:
                record = records.finished(folder_of(item, self.store), item.digest)
            except StoreError:  # said by whoever reads it
                record = None
        if isinstance(item, Run) and record is not None:
            self.records[name] = record
            if record["status"] == "done":
                self.starts.append(max(0.0, took - record["seconds"]["total"]))
            self._price = None
        return f"{name}: {_outcome(item, record)}, {said.as_seconds(took)}"

    def fail(self, name: str, reason: str) -> None:
        self._leave(name)
        self.failed[name] = reason

    def _leave(self, name: str) -> float:
        took = time.monotonic() - self.at_work.pop(name, time.monotonic())
        item = self.items.get(name)
        threads = schedule.threads(item, self.plan) if item else 1
        self.core_seconds += took * min(self.cores, threads)
        return took

    # --- what is shown

    @property
    def price(self) -> Price:
        if self._price is None:
            start = statistics.median(self.starts) if self.starts else self.first.start
            self._price = replace(self.first, records=self.records, start=start)
        return self._price

    def rows(self) -> list[Row]:
        """What is at work, the longest first."""
        return [self._row(name, self.items.get(name)) for name in self.at_work.copy()]

    def _row(self, name: str, item: Item | None) -> Row:
        if item is None:  # no job of the plan: the data before it, the report after it
            what = "rendering the report" if name == "render" else "preparing the data"
            return Row("" if name == "render" else name, what, Place(), 0)
        folder = folder_of(item, self.store)
        place = place_of(folder) if isinstance(item, Run) else Place()
        words = {"Run": "training", "Table": "making a table", "Averaged": "scoring"}
        what = words.get(type(item).__name__, "probing")
        if not is_running(folder):
            what = "queued" if self.remote else "starting"
        return Row(item.name, what, place, item.epochs if isinstance(item, Run) else 0)

    def fraction(self) -> float:
        """How much of the price of all that was to do is behind."""
        whole = sum(self.price.of(item) for item in self.items.values())
        behind = self.ended | self.standing
        done = sum(self.price.of(self.items[name]) for name in behind)
        done += sum(seconds for name, seconds in self._behind().items() if name not in behind)
        return min(1.0, done / whole) if whole else 1.0

    def left(self) -> Total:
        waiting = self.to_do - self.ended - self.failed.keys()
        made = {table.name: self.price.of(table) for table in self._made()}
        return self.price.total(waiting, self.cores, self._behind() | made)

    def _made(self) -> list[Table]:
        """The tables of which nothing is to come: made in this start, or standing before it."""
        tables = [item for item in self.items.values() if isinstance(item, Table)]
        return [t for t in tables if t.name in self.ended or t.name in self.standing]

    def _behind(self) -> dict[str, float]:
        """Seconds of its price that each job at work has behind it."""
        found = {}
        for name, since in self.at_work.copy().items():
            if (item := self.items.get(name)) is None:
                continue
            if isinstance(item, Run):
                place = place_of(folder_of(item, self.store))
                found[name] = self.price.done(item, place.epoch)
            else:
                found[name] = min(0.9 * self.price.of(item), time.monotonic() - since)
        return found

    def counts(self) -> str:
        """Of all runs, ensembles, tables and probes that are asked for: how many are done."""
        tables = {name for name, item in self.items.items() if isinstance(item, Table)}
        kinds = {"runs": self.plan.runs, "teacher tables": tables}
        kinds |= {"ensembles": self.plan.ensembles, "probes": self.plan.probes}
        parts = []
        for word, every in kinds.items():
            names = [name for name in every if name not in self.later]
            done = sum(name in self.ended or name not in self.items for name in names)
            parts += [f"{word} {done:,} of {len(names):,}"] if names else []
        return ", ".join(parts)


def _outcome(item: Item, record: dict | None) -> str:
    """What came out. Of validation: test is read once, by the report."""
    if record is None:
        return "made" if isinstance(item, Table) else "done"
    if record["status"] != "done":
        return f"{record['status']} ({record['reason']})"
    val = (record.get("last") or {}).get("val")
    return f"validation error {100 * (1 - val['accuracy']):.2f} %" if val else "done"
