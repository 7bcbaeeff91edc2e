"""What Snakemake asks: which records are still to do, and what each of them waits for.

A finished run is not in the DAG at all: no rule asks for it and no rule takes it as input, so
neither file times nor a lost `.snakemake` folder can retrain anything. Only the head process
knows what is finished; a job that parses the Snakefile again counts everything as to do, since
otherwise it could not find its own target.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kdpipe import identity
from kdpipe.data.cards import Card
from kdpipe.devices import listed
from kdpipe.learning.method import OWN
from kdpipe.plan import resources
from kdpipe.plan.cost import schedule
from kdpipe.plan.items import Averaged, Gauge, Item, Plan, Probe, Run, Table
from kdpipe.results.run_folder import RECORD
from kdpipe.results.store import Store
from kdpipe.specs.equipment import Means
from kdpipe.specs.made import unlabelled_folder
from kdpipe.study.grammar import Study

# Targets of the Snakefile before the end, and the roles of the runs that each wants.
HALF_WAY = {"teachers": ("teacher",), "students": ("student", "scratch", "scratch_long")}


@dataclass(frozen=True)
class Dag:
    """What the rules ask, by the wildcard `name` of the job; see `load`."""

    study: Study
    plan: Plan
    to_do: frozenset[str]  # names of runs, ensembles, probes and gauges
    data_ready: frozenset[str]  # folders of the data sets that are prepared
    again: frozenset[str] = frozenset()  # of what is to do, what has a record that lacks something
    device: str = "cpu"  # cpu or cuda, of every run
    longest_job: int | None = None  # minutes
    store: Store = field(default_factory=Store)
    source: str | None = None  # what a report that is there has to be rendered from anew
    remote: bool = False  # its jobs run on other machines
    targets: Callable[[], Iterable[str]] = tuple  # as they were typed; none: everything
    gpu_gres: str = ""  # how a cluster wants to be asked for a GPU, where not by number

    @property
    def asked(self) -> frozenset[str]:
        """What is to do for the targets: of half-way ones their runs, else everything."""
        targets = set(self.targets())
        if not targets or targets - HALF_WAY.keys():
            return self.to_do
        wanted = [n for t in targets for n in self._played(HALF_WAY[t]) if n in self.to_do]
        found: set[str] = set()
        while wanted:
            found.add(name := wanted.pop())
            parents = (run.name for run in self.plan.runs[name].parents)
            wanted += [one for one in parents if one in self.to_do and one not in found]
        return frozenset(found)

    @property
    def report_folder(self) -> str:
        return report_folder_of(self.study)

    @property
    def study_json(self) -> str:
        """The study as the report's job reads it on standard input."""
        return self.study.model_dump_json(exclude_defaults=True)

    def data_source(self, wildcards: Any) -> list[str]:
        """What `kdpipe prepare` is told: the data set, and where its files and its card lie.

        Of images without labels beside it, where these lie.
        """
        data = self.plan.data_sets[wildcards.name]
        said = {"path": data.path, "card": data.card}
        own = self.plan.unlabelled
        if own is not None and wildcards.name == own.folder:
            said["unlabelled"] = data.unlabelled
        return [data.name, *(f"--{key}={value}" for key, value in said.items() if value)]

    def spec(self, wildcards: Any) -> str:
        """The canonical JSON of a run, a table, an ensemble, a probe or a gauge."""
        return identity.canonical(self._item(wildcards).spec)

    def keep(self, wildcards: Any) -> str:
        """The checkpoints of a run that stay, as `0,10,20`."""
        return ",".join(str(epoch) for epoch in sorted(self.plan.keep.get(wildcards.name, ())))

    def means(self, wildcards: Any) -> list[str]:
        """What a job is told that is not in its spec."""
        item = self._item(wildcards)
        built = (item, *item.parents) if isinstance(item, Run) else (item,)
        own = any("build" in each.spec["network"] for each in built)
        own = own or OWN in (item.spec.get("method") or ())
        weights = self.plan.weights.get(item.name)
        device = "cpu" if isinstance(item, Gauge) else self.device
        return Means(
            device,
            self.study.runs_per_gpu if device == "cuda" else 1,
            self.study.kernels if device == "cuda" else Means.kernels,
            Path(weights) if weights else None,
            Path(str(self.study.code)) if own else None,
            self._workers(self._card(item)),
        ).options()

    def inputs(self, wildcards: Any) -> list[str]:
        """What a job waits for: its data set, and the parents and tables that are still to do.

        An ensemble sees no image: the outputs of its members lie in their folders.
        """
        item = self._item(wildcards)
        data = [] if isinstance(item, Averaged) else self._data(item)
        tables = item.tables if isinstance(item, Run) else ()
        parents = self._to_do("runs", (run.name for run in item.parents))
        marks = self._marks_of([item.name]) + [mark_of(table.name) for table in tables]
        return data + parents + marks

    def students(self, wildcards: Any) -> list[str]:
        """The runs to do that learn from a table."""
        return [
            run.name
            for run in self.plan.runs.values()
            if run.name in self.to_do and any(t.name == wildcards.name for t in run.tables)
        ]

    def threads(self, wildcards: Any) -> int:
        """Of the job itself, and of the processes that read images beside it."""
        item = self._item(wildcards)
        if isinstance(item, Gauge) and self.remote:  # a node of many cores may be shared
            return item.spec["threads"] + self._workers(self.plan.card)
        return schedule.threads(item, self.plan)

    def minutes(self, wildcards: Any, attempt: int) -> int:
        return self._needs(wildcards).at(attempt, self.longest_job).minutes

    def megabytes(self, wildcards: Any, attempt: int) -> int:
        return self._needs(wildcards).at(attempt).megabytes

    @property
    def gpus(self) -> int:
        """Of one run; 0 on a cluster that is asked for them by `gres`."""
        return int(self.device == "cuda" and not self.gres)

    @property
    def gpus_of_a_probe(self) -> int:
        """None of this machine's are counted: it waits for a lease, and gives that back early. A
        cluster gives a job its GPU to the end.
        """
        return self.gpus if self.remote else 0

    @property
    def gres(self) -> str:
        """What a run asks a cluster for, as its site names it: gpu:a100:1, shard:1, mps:50."""
        return self.gpu_gres if self.device == "cuda" and self.remote else ""

    @property
    def runs_on_gpus(self) -> int:
        """How many runs the GPUs of this machine hold at a time."""
        return len(listed.gpus()) * self.study.runs_per_gpu

    @property
    def at_once(self) -> int | None:
        """How many jobs the GPUs of this machine hold at a time; None where none is asked of it."""
        return self.runs_on_gpus if self.gpus and not self.remote else None

    def half_way(self, target: str) -> list[str]:
        """Records still to do of the runs that a half-way target wants."""
        return self._to_do("runs", self._played(HALF_WAY[target]))

    def records(self) -> list[str]:
        """Records still to do, of everything."""
        return [path for kind in self.plan.recorded for path in self._to_do(kind)]

    @property
    def report_marks(self) -> list[str]:
        """A file that is missing where a report is there and has to be rendered again."""
        return [f"logs/reports/{self.study.study}.{self.source[:12]}"] if self.source else []

    def _to_do(self, kind: str, names: Iterable[str] | None = None) -> list[str]:
        """Records of these names, or of all of a kind, that are still to do; with their marks.

        By themselves Snakemake does not make what is missing of the inputs of a file that is there.
        """
        names = self.plan.recorded[kind] if names is None else names
        folder, names = self.store.root / kind, [name for name in names if name in self.to_do]
        return [f"{folder}/{name}/{RECORD}" for name in names] + self._marks_of(names)

    def _marks_of(self, names: Iterable[str]) -> list[str]:
        return [again_mark_of(name) for name in names if name in self.again]

    def _played(self, roles: Iterable[str]) -> list[str]:
        """The runs in any of these roles."""
        return [name for name, played in self.plan.roles.items() if played & set(roles)]

    def _item(self, wildcards: Any) -> Item:
        for items in (self.plan.tables, *self.plan.recorded.values()):
            if wildcards.name in items:
                return items[wildcards.name]
        raise KeyError(wildcards.name)

    def _needs(self, wildcards: Any) -> resources.Needs:
        item = self._item(wildcards)
        assert not isinstance(item, Averaged)  # scored beside Snakemake, on no cluster
        card = self._card(item)
        device = "cpu" if isinstance(item, Gauge) else self.device
        return resources.of(item, card, device, self._workers(card))

    def _card(self, item: Item) -> Card:
        """Of the images that a job sees."""
        return item.card if isinstance(item, Probe) else self.plan.card

    def _data(self, item: Item) -> list[str]:
        """The marks of the data that a job sees, while they are to be prepared."""
        spec = item.spec if isinstance(item, Table) else item.spec.get("method") or {}
        folders = [self._card(item).folder, unlabelled_folder(spec)]
        return [prepared_mark_of(one) for one in folders if one and one not in self.data_ready]

    def _workers(self, card: Card) -> int:
        """Processes that read images beside a job."""
        return self.study.workers if card.streamed else 0


def mark_of(table: str) -> str:
    """By what Snakemake knows that a table was made; see workflow/rules/tables.smk."""
    return f"logs/tables/{table}.made"


def prepared_mark_of(folder: str) -> str:
    """The same of a data set; see workflow/rules/data.smk."""
    return f"logs/data/{folder}.prepared"


def again_mark_of(name: str) -> str:
    """By what Snakemake knows that a record which is there is not up to date; see again.smk."""
    return f"logs/again/{name}"


def report_folder_of(study: Study) -> str:
    return f"reports/{study.study}"
