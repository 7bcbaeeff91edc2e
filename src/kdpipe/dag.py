"""What Snakemake asks: which records are still to do, and what each of them waits for.

A finished run is not in the DAG at all: no rule asks for it and no rule takes it as input, so
neither file times nor a lost `.snakemake` folder can retrain anything. Only the head process
knows what is finished; a job that parses the Snakefile again counts everything as to do, since
otherwise it could not find its own target.
"""

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kdpipe import checking, documents, identity, plan, status
from kdpipe.errors import KdpipeError
from kdpipe.store import RECORD, Store
from kdpipe.study import Study


@dataclass(frozen=True)
class Dag:
    study: Study
    plan: plan.Plan
    to_do: frozenset[str]  # names of runs and ensembles
    data_ready: bool
    store: Store = field(default_factory=Store)

    @property
    def reports(self) -> str:
        return f"reports/{self.study.study}"

    @property
    def study_json(self) -> str:
        return self.study.model_dump_json(exclude_defaults=True)

    def data(self) -> list[str]:
        """The card of the data set, while it is to be prepared."""
        return (
            [] if self.data_ready else [str(self.store.data(self.plan.card.folder) / "card.json")]
        )

    def spec(self, wildcards: Any) -> str:
        """The canonical JSON of a run or an ensemble."""
        return identity.canonical(self._item(wildcards.name).spec)

    def keep(self, wildcards: Any) -> str:
        """The checkpoints of a run that stay, as `0,10,20`."""
        return ",".join(str(epoch) for epoch in sorted(self.plan.keep.get(wildcards.name, ())))

    def threads(self, wildcards: Any) -> int:
        return self.plan.runs[wildcards.name].spec["recipe"]["threads"]

    def run_needs(self, wildcards: Any) -> list[str]:
        """What a run waits for: its data set, and the parents that are still to do."""
        return self.data() + self._runs(run.name for run in self.plan.runs[wildcards.name].parents)

    def ensemble_needs(self, wildcards: Any) -> list[str]:
        """The members of an ensemble that are still to do."""
        members = self.plan.ensembles[wildcards.name].members
        return self._runs(dict.fromkeys(run.name for run, _ in members))

    def records(self, *roles: str) -> list[str]:
        """Records still to do: of the runs in these roles, or of everything."""
        if roles:
            played = self.plan.roles
            return self._runs(name for name in played if played[name] & set(roles))
        ensembles = [
            str(self.store.ensemble(name) / RECORD)
            for name in self.plan.ensembles
            if name in self.to_do
        ]
        return self._runs(self.plan.runs) + ensembles

    def _runs(self, names) -> list[str]:
        return [str(self.store.run(name) / RECORD) for name in names if name in self.to_do]

    def _item(self, name: str):
        return self.plan.runs.get(name) or self.plan.ensembles[name]


def load(config: dict, files: list, default: Path, head: bool) -> Dag:
    """The DAG of the study in Snakemake's `config`, or in the default file.

    `files` are what --configfile named; `head` says whether this is the head process. Mistakes
    are printed and end the process with exit code 2.
    """
    try:
        for path in files:
            documents.read(path)  # stricter than Snakemake's own reading
        if config:
            study = checking.validate(dict(config), ", ".join(map(str, files)) or "--config")
        else:
            study = checking.load(default)
        made = plan.make(study)
        store = Store()
        states = status.of(made, store) if head else {}
        to_do = [
            name for name in [*made.runs, *made.ensembles] if states.get(name, "to do") == "to do"
        ]
        ready = head and (store.data(made.card.folder) / "card.json").exists()
        return Dag(study, made, frozenset(to_do), ready)
    except KdpipeError as error:
        print(f"kdpipe: {error}", file=sys.stderr)
        sys.exit(2)
