"""What the checks work with: two small studies, a folder for their runs, and processes for them.

Of `exact` runs the bytes are compared: networks and images are as small as they come. `timed` ones
have images of 32 x 32 and the networks of the paper. Both are of the digits, which ship with
scikit-learn: nothing is fetched.
"""

import functools
import json
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from kdpipe.data import cards, prepared
from kdpipe.devices import leases
from kdpipe.jobs.tabulate import tabulate
from kdpipe.jobs.train import train
from kdpipe.plan import planner
from kdpipe.plan.items import Plan, Run
from kdpipe.results.run_folder import RECORD
from kdpipe.results.store import Store
from kdpipe.selfcheck import apart
from kdpipe.specs.equipment import Means
from kdpipe.study import checking

STUDIES: dict[str, dict] = {
    "exact": {
        "data": {"train_size": 192, "validation": 64, "pad": 1},
        "recipe": {"epochs": 6, "batch_size": 32, "lr": 0.05, "drop_epochs": [4]},
        "networks": ("wrn10-1", "wrn10-0.5"),
    },
    # The student's steps are a thousand, so that what is done once in a process tells little.
    "timed": {
        "data": {"train_size": 896, "validation": 128, "pad": 1, "resize": 32},
        "recipe": {"epochs": 150, "batch_size": 128, "lr": 0.05, "drop_epochs": [75]},
        "network_recipes": {"wrn40-2": {"epochs": 5, "drop_epochs": [3]}},
        "networks": ("wrn40-2", "wrn16-1"),
    },
    # The second with the networks of the first, to see that a check runs at all.
    "quick": {
        "data": {"train_size": 64, "validation": 40, "pad": 1},
        "recipe": {"epochs": 3, "batch_size": 32, "lr": 0.05, "drop_epochs": [2]},
        "networks": ("wrn10-1", "wrn10-0.5"),
    },
}
Kind = Literal["exact", "timed"]


@dataclass(frozen=True)
class Runs:
    """The runs of one of the two studies: a teacher, and students of its outputs."""

    plan: Plan
    teacher: Run
    student: Run


@dataclass(frozen=True)
class Bench:
    """`until`: when a check has to have ended, on the monotonic clock."""

    folder: Path
    quick: bool
    until: float = float("inf")

    @property
    def log(self) -> Path:
        return self.folder / "log"

    def runs(self, kind: Kind = "exact", outputs: str = "table") -> Runs:
        return _runs("quick" if self.quick else kind, outputs)

    def place(self, name: str) -> Store:
        """The results folder of that name, with the data set in it."""
        place, card = Store(self.folder / name), cards.load("digits")
        shared = Store(self.folder / "shared")
        if not shared.data(card.folder).exists():
            prepared.prepare(card, shared)
        if not place.data(card.folder).exists():
            shutil.copytree(shared.data(card.folder), place.data(card.folder))
        return place

    def train(
        self, run: Run, place: Store, keep: Sequence[int] = (), runs_per_gpu: int = 1
    ) -> dict:
        """Train a run in this process, as a job does, if it is not there; its record."""
        train(run.spec, sorted(keep), place, Means("cuda", runs_per_gpu))
        return record(run, place)

    def timed(self, run: Run, place: Store, runs_per_gpu: int = 1) -> dict:
        """The same, after an epoch that is forgotten: what a process loads and chooses once is no
        part of its seconds.
        """
        from kdpipe.training import loop

        means = Means("cuda", runs_per_gpu)
        with leases.held("cuda", runs_per_gpu), tempfile.TemporaryDirectory() as folder:
            loop.train(run.spec, run.digest, Path(folder), [], 1, place, means)
        return self.train(run, place, (), runs_per_gpu)

    def taught(self, runs: Runs, place: Store, timed: bool = False) -> dict:
        """The record of the student, trained with all that it needs in this process."""
        epochs = [member["epoch"] for member in runs.student.spec["teacher"]["members"]]
        self.train(runs.teacher, place, epochs)
        for table in runs.student.tables:
            tabulate(table.spec, place, Means("cuda"), [runs.student.name])
        return self.timed(runs.student, place) if timed else self.train(runs.student, place)

    def apart(self, *functions: Callable[[], Any]) -> list[Any]:
        """What functions return, each in a process of its own, side by side."""
        return apart.together(functions, self.log, self.until)

    def left(self) -> float:
        return max(0.0, self.until - time.monotonic())


def record(run: Run, place: Store) -> dict:
    return json.loads((place.run(run.name) / RECORD).read_bytes())


def files(record: dict) -> dict[str, str]:
    """The checksums of all that a run has written beside its record."""
    return {name: facts["sha256"] for name, facts in record["files"].items()}


def differing(one: dict, other: dict) -> list[str]:
    """The files, of two records, that are not the same to the byte."""
    ours, theirs = files(one), files(other)
    return sorted(
        name for name in ours.keys() | theirs.keys() if ours.get(name) != theirs.get(name)
    )


@functools.cache
def _runs(kind: str, outputs: str) -> Runs:
    asked = STUDIES[kind]
    teacher, student = asked["networks"]
    block = {"name": "main", "teachers": [teacher], "students": [student], "methods": ["kd"]}
    study = {
        "study": "gpu_check",
        "seeds": [0],
        "data": {"name": "digits", **asked["data"]},
        "recipe": asked["recipe"],
        "network_recipes": asked.get("network_recipes", {}),
        "teacher_outputs": outputs,
        "methods": {"kd": {}},
        "experiments": [block],
    }
    plan = planner.make(checking.validate(study, "gpu-check"))
    taught = [run for run in plan.runs.values() if run.parents]
    return Runs(plan, taught[0].parents[0], taught[0])
