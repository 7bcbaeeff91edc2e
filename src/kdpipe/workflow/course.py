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

SLOW = 0.05  # seconds that a look at a plan may take without being one of few


@dataclass(frozen=True)
class Row:
    """A job at work. `what` it does: training, making a table, scoring, ..., or starting."""

    name: str
    what: str
    place: Place
    epochs: int  # 0 where there are none


@dataclass(frozen=True)
class Outlook:
    """How much of the price of all that was to do is behind, and what is left of it."""

    share: float
    left: Total


@dataclass
class Course:
    """The jobs of one start, by name.

    cores: what Snakemake may use; jobs at a time where they run on other machines (`remote`).
    """

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
    marred: dict[str, str] = field(default_factory=dict)  # runs that ended diverged or skipped
    seen: dict[str, float] = field(default_factory=dict)  # since when a job is out of the queue
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
        self._outlook: Outlook | None = None
        self._looked = self._took = 0.0

    def begin(self, name: str) -> None:
        self.at_work[name] = time.monotonic()
        self.failed.pop(name, None)

    def end(self, name: str) -> str | None:
        """A job has ended; the line on it for a log, if it made something of the plan."""
        item = self.items.get(name)
        record = None
        if item is not None and not isinstance(item, Table):
            try:
                record = records.finished(folder_of(item, self.store), item.digest)
            except StoreError:  # said by whoever reads it
                record = None
        took = self._leave(name, record)
        if item is None:
            return None
        self.ended.add(name)
        if isinstance(item, Run) and record is not None:
            self.records[name] = record
            if record["status"] != "done":
                self.marred[name] = record["status"]
            elif took is not None and not self.remote:
                self.starts.append(max(0.0, took - record["seconds"]["total"]))
            self._price = None
        seconds = "" if took is None else f", {said.as_seconds(took)}"
        return f"{name}: {_outcome(item, record)}{seconds}"

    def fail(self, name: str, reason: str) -> None:
        self._leave(name)
        self.failed[name] = reason

    def interrupt(self, name: str) -> None:
        """A job was cut off, which is no fault of its own: it goes on when it is started again."""
        self._leave(name)

    def _leave(self, name: str, record: dict | None = None) -> float | None:
        """Seconds of a job that is at work no more; None if nobody saw it leave the queue."""
        now = time.monotonic()
        took: float | None = now - self.at_work.pop(name, now)
        if self.remote:  # its end is heard of late, and what it waited for is not its own
            times = [record["seconds"]["total"]] if record and "seconds" in record else []
            times += [now - self.seen.pop(name)] if name in self.seen else []
            took = min(times, default=None)
        item = self.items.get(name)
        threads = min(self.slots, schedule.threads(item, self.plan)) if item else 1
        self.core_seconds += (took or 0.0) * threads
        return took

    # --- what is shown

    @property
    def slots(self) -> int:
        """Cores; on other machines as many as the widest job has, for each that may run there."""
        widest = max((schedule.threads(item, self.plan) for item in self.items.values()), default=1)
        return self.cores * widest if self.remote else self.cores

    def outlook(self) -> Outlook:
        """As it is now; of a plan so large that it takes a while, as it was a few whiles ago."""
        now = time.monotonic()
        soon = self._took > SLOW and now - self._looked < 10 * self._took
        if self._outlook is None or not soon:
            self._outlook = Outlook(self.fraction(), self.left())
            self._looked = time.monotonic()
            self._took = self._looked - now
        return self._outlook

    def time_left(self) -> str:
        """The words for it."""
        left = self.outlook().left
        if not self.remote:
            return said.time_left(left)
        if left.seconds is None:
            return "unknown until a run has finished"
        return f"{said.time_left(left)}, and the time in the queue"

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
        if not self._is_out(item):
            what = "queued" if self.remote else "starting"
        return Row(item.name, what, place, item.epochs if isinstance(item, Run) else 0)

    def _is_out(self, item: Item) -> bool:
        """Whether a job works, which may be some time after it was started or sent to a queue."""
        if is_running(folder_of(item, self.store)):
            self.seen.setdefault(item.name, time.monotonic())
            return True
        return False

    def fraction(self) -> float:
        """How much of the price of all that was to do is behind."""
        whole = sum(self.price.of(item) for item in self.items.values())
        behind = self.ended | self.standing  # of its own: another thread adds to what has ended
        done = sum(self.price.of(self.items[name]) for name in behind)
        done += sum(seconds for name, seconds in self._behind().items() if name not in behind)
        return min(1.0, done / whole) if whole else 1.0

    def left(self) -> Total:
        waiting = self.to_do - self.ended - self.failed.keys()
        made = {table.name: self.price.of(table) for table in self._made()}
        return self.price.total(waiting, self.slots, self._behind() | made)

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
            elif self._is_out(item) or not self.remote:
                gone = time.monotonic() - (self.seen[name] if self.remote else since)
                found[name] = min(0.9 * self.price.of(item), gone)
        return found

    def counts(self) -> str:
        """Of all runs, ensembles, tables and probes that are asked for: how many are done."""
        tables = {name for name, item in self.items.items() if isinstance(item, Table)}
        kinds = {"runs": self.plan.runs, "teacher tables": tables}
        kinds |= {
            "ensembles": self.plan.ensembles,
            "probes": self.plan.probes,
            "networks as files": self.plan.gauges,
        }
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
