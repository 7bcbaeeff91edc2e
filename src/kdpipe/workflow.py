"""What Snakemake asks: which records are still to do, and what each of them waits for.

A finished run is not in the DAG at all: no rule asks for it and no rule takes it as input, so
neither file times nor a lost `.snakemake` folder can retrain anything. Only the head process
knows what is finished; a job that parses the Snakefile again counts everything as to do, since
otherwise it could not find its own target.
"""

import os
import shutil
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kdpipe import identity
from kdpipe.data import cards
from kdpipe.errors import KdpipeError
from kdpipe.plan import planner, resources, status
from kdpipe.plan.items import Plan, Probe, Run
from kdpipe.results.records import read
from kdpipe.results.run_folder import RECORD
from kdpipe.results.store import Store
from kdpipe.specs.equipment import Means
from kdpipe.study import checking, yaml_file
from kdpipe.study.grammar import Study
from kdpipe.training import devices

# Keys that say how a study is run; `--config device=cuda` alone still means the default study.
EXECUTION = {"device", "runs_per_gpu", "workers"}
REPORTED = ("index.html", "index.md", "results.csv", "claims.json")  # what `render` promises


@dataclass(frozen=True)
class Dag:
    study: Study
    plan: Plan
    to_do: frozenset[str]  # names of runs, ensembles and probes
    data_ready: frozenset[str]  # folders of the data sets that are prepared
    device: str = "cpu"  # cpu or cuda, of every run
    longest_job: int | None = None  # minutes
    store: Store = field(default_factory=Store)

    @property
    def report_files(self) -> list[str]:
        return [f"{self.report_folder}/{name}" for name in REPORTED]

    @property
    def report_folder(self) -> str:
        return f"reports/{self.study.study}"

    @property
    def study_json(self) -> str:
        return self.study.model_dump_json(exclude_defaults=True)

    def data(self, card: cards.Card | None = None) -> list[str]:
        """The card of the study's data set, or of another one, while it is to be prepared."""
        folder = (card or self.plan.card).folder
        return [] if folder in self.data_ready else [str(self.store.data(folder) / "card.json")]

    def data_source(self, wildcards: Any) -> list[str]:
        """What `kdpipe prepare` is told: the data set, and where its files and its card lie."""
        data = self.plan.data_sets[wildcards.name]
        path = [f"--path={data.path}"] if data.path else []
        return [data.name, *path, *([f"--card={data.card}"] if data.card else [])]

    def spec(self, wildcards: Any) -> str:
        """The canonical JSON of a run, a table, an ensemble or a probe."""
        return identity.canonical(self._item(wildcards.name).spec)

    def keep(self, wildcards: Any) -> str:
        """The checkpoints of a run that stay, as `0,10,20`."""
        return ",".join(str(epoch) for epoch in sorted(self.plan.keep.get(wildcards.name, ())))

    def means(self, wildcards: Any) -> list[str]:
        """What a job is told that is not in its spec."""
        item = self._item(wildcards.name)
        specs = [item.spec]
        specs += [parent.spec for parent in item.parents] if isinstance(item, Run) else []
        own = any("build" in spec["network"] for spec in specs)
        weights = self.plan.weights.get(wildcards.name)
        return Means(
            self.device,
            self.study.runs_per_gpu if self.device == "cuda" else 1,
            Path(weights) if weights else None,
            Path(str(self.study.code)) if own else None,
            self._workers_of(item.card) if isinstance(item, Probe) else self.workers,
        ).options()

    def threads(self, wildcards: Any) -> int:
        spec = self._item(wildcards.name).spec
        own = spec["recipe"]["threads"] if "recipe" in spec else spec["threads"]
        probe = self.plan.probes.get(wildcards.name)
        return own + (self._workers_of(probe.card) if probe else self.workers)

    def minutes(self, wildcards: Any, attempt: int) -> int:
        needed = resources.minutes(self.plan.runs[wildcards.name], self.device, self.workers)
        return resources.time_at(attempt, needed, self.longest_job)

    def megabytes(self, wildcards: Any, attempt: int) -> int:
        run = self.plan.runs[wildcards.name]
        needed = resources.megabytes(run, self.plan.card, self.device, self.workers)
        return resources.memory_at(attempt, needed)

    def table_minutes(self, wildcards: Any, attempt: int) -> int:
        needed = resources.table_minutes(
            self.plan.tables[wildcards.name], self.device, self.workers
        )
        return resources.time_at(attempt, needed, self.longest_job)

    def table_megabytes(self, wildcards: Any, attempt: int) -> int:
        table = self.plan.tables[wildcards.name]
        needed = resources.table_megabytes(table, self.plan.card, self.device, self.workers)
        return resources.memory_at(attempt, needed)

    @property
    def workers(self) -> int:
        """Processes that read images beside a run."""
        return self._workers_of(self.plan.card)

    def _workers_of(self, card: cards.Card) -> int:
        return self.study.workers if card.streamed else 0

    @property
    def gpus(self) -> int:
        """Of one run."""
        return int(self.device == "cuda")

    @property
    def runs_on_gpus(self) -> int:
        """How many runs the GPUs of this machine hold at a time."""
        return len(devices.gpus()) * self.study.runs_per_gpu

    def run_needs(self, wildcards: Any) -> list[str]:
        """What a run waits for: its data set, and the parents that are still to do."""
        run = self.plan.runs[wildcards.name]
        tables = [str(self.store.table(table.name)) for table in run.tables]
        return self.data() + self._runs(parent.name for parent in run.parents) + tables

    def table_needs(self, wildcards: Any) -> list[str]:
        """What a teacher table waits for: the data set, and the run that it asks."""
        return self.data() + self._runs([self.plan.tables[wildcards.name].parent.name])

    def ensemble_needs(self, wildcards: Any) -> list[str]:
        """The members of an ensemble that are still to do."""
        members = self.plan.ensembles[wildcards.name].members
        return self._runs(dict.fromkeys(run.name for run, _ in members))

    def probe_needs(self, wildcards: Any) -> list[str]:
        """What a probe waits for: the other data set, and the run if it is still to do."""
        probe = self.plan.probes[wildcards.name]
        return self.data(probe.card) + self._runs([probe.run.name])

    def probe_minutes(self, wildcards: Any, attempt: int) -> int:
        probe = self.plan.probes[wildcards.name]
        workers = self._workers_of(probe.card)
        needed = resources.probe_minutes(probe, self.device, workers)
        return resources.time_at(attempt, needed, self.longest_job)

    def probe_megabytes(self, wildcards: Any, attempt: int) -> int:
        probe = self.plan.probes[wildcards.name]
        workers = self._workers_of(probe.card)
        needed = resources.probe_megabytes(probe, self.device, workers)
        return resources.memory_at(attempt, needed)

    def records(self, *roles: str) -> list[str]:
        """Records still to do: of the runs in these roles, or of everything."""
        if roles:
            played = self.plan.roles
            return self._runs(name for name in played if played[name] & set(roles))
        ensembles = [self.store.ensemble(name) for name in self.plan.ensembles]
        probes = [self.store.probe(name) for name in self.plan.probes]
        rest = [str(each / RECORD) for each in ensembles + probes if each.name in self.to_do]
        return self._runs(self.plan.runs) + rest

    def report_needs(self) -> list[str]:
        """What a report waits for, and a finished record that is younger than the report.

        Snakemake may have been killed between the last run and the report.
        """
        return self.records() + [str(path) for path in self._unreported()]

    def _unreported(self) -> list[Path]:
        try:
            reported = min(_age(Path(path)) for path in self.report_files)
        except FileNotFoundError:
            return []
        folders = [self.store.run(name) for name in self.plan.runs if name not in self.to_do]
        folders += [
            self.store.ensemble(name) for name in self.plan.ensembles if name not in self.to_do
        ]
        folders += [self.store.probe(name) for name in self.plan.probes if name not in self.to_do]
        paths = [folder / RECORD for folder in folders] + [self.store.archive]
        youngest = max((path for path in paths if path.exists()), key=_age, default=None)
        return [youngest] if youngest is not None and _age(youngest) > reported else []

    def _runs(self, names) -> list[str]:
        return [str(self.store.run(name) / RECORD) for name in names if name in self.to_do]

    def _item(self, name: str):
        plan = self.plan
        for known in (plan.runs, plan.tables, plan.ensembles, plan.probes):
            if name in known:
                return known[name]
        raise KeyError(name)


def _begun_on(made: Plan, to_do: list[str], store: Store) -> str | None:
    """The device of a finished run of the plan, if there is one."""
    for name in made.runs.keys() - set(to_do):
        record = read(store.run(name), made.runs[name].digest)
        if record is not None and record["status"] == "done":
            return record["device"]["type"]
    return None


def _age(path: Path) -> int:
    return path.stat().st_mtime_ns


def load(
    config: dict,
    files: list,
    default: Path,
    head: bool,
    remote: bool = False,
    longest_job: int | None = None,
) -> Dag:
    """The DAG of the study in Snakemake's `config`, or in the default file.

    `files` are what --configfile named; `head` says whether this is the head process,
    `remote` whether its jobs run on other machines, which give a job `longest_job` minutes.
    Mistakes are printed and end the process with exit code 2.
    """
    if shutil.which("kdpipe") is None:  # snakemake was started by its path alone
        os.environ["PATH"] = os.pathsep.join([os.path.dirname(sys.executable), os.environ["PATH"]])
    try:
        for path in files:
            yaml_file.read(path)  # stricter than Snakemake's own reading
        if set(config) - EXECUTION:
            folder = Path(files[-1]).parent if files else Path()
            source = ", ".join(map(str, files)) or "--config"
            study = checking.validate(dict(config), source, folder)
        else:
            content = yaml_file.read(default)
            content = content | config if isinstance(content, dict) else content
            study = checking.validate(content, str(default), Path(default).parent)
        made = planner.make(study)
        store = Store()
        states = status.of(made, store) if head else {}
        names = [*made.runs, *made.ensembles, *made.probes]
        to_do = [name for name in names if states.get(name, "to do") == "to do"]
        ready = frozenset(
            name for name in made.data_sets if head and (store.data(name) / "card.json").exists()
        )
        if head:
            begun = _begun_on(made, to_do, store)
            os.environ[devices.DECIDED] = devices.decide(study.device, remote, begun)
        device = devices.of_job(study.device)
        return Dag(study, made, frozenset(to_do), ready, device, longest_job, store)
    except KdpipeError as error:
        print(f"kdpipe: {error}", file=sys.stderr)
        sys.exit(2)
