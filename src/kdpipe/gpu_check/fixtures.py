"""What the checks work with: small studies, a folder for their runs, and processes of their own.

Runs of `exact` are compared byte for byte: networks and images are as small as possible. Those of
`timed` have images of 32 x 32 and the networks of the paper. Both use the digits, which come with
scikit-learn, so that nothing is downloaded.
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

from kdpipe.config import load
from kdpipe.data import cache, cards
from kdpipe.devices import leases
from kdpipe.gpu_check import subprocess_runner
from kdpipe.jobs.cache_logits import cache_logits
from kdpipe.jobs.train import train_run
from kdpipe.plan import planner
from kdpipe.plan.nodes import Plan, Run
from kdpipe.runs.execution_options import ExecutionOptions
from kdpipe.runs.run_folder import RECORD_FILE
from kdpipe.runs.store import Store

STUDIES: dict[str, dict] = {
    "exact": {
        "data": {"train_size": 192, "validation": 64, "pad": 1},
        "recipe": {"epochs": 6, "batch_size": 32, "lr": 0.05, "drop_epochs": [4]},
        "networks": ("wrn10-1", "wrn10-0.5"),
    },
    # The student has a thousand steps, so that what a process does once matters little.
    "timed": {
        "data": {"train_size": 896, "validation": 128, "pad": 1, "resize": 32},
        "recipe": {"epochs": 150, "batch_size": 128, "lr": 0.05, "drop_epochs": [75]},
        "network_recipes": {"wrn40-2": {"epochs": 5, "drop_epochs": [3]}},
        "networks": ("wrn40-2", "wrn16-1"),
    },
    # In place of both in a quick check, which shows that all checks run.
    "quick": {
        "data": {"train_size": 64, "validation": 40, "pad": 1},
        "recipe": {"epochs": 3, "batch_size": 32, "lr": 0.05, "drop_epochs": [2]},
        "networks": ("wrn10-1", "wrn10-0.5"),
    },
}
StudyKind = Literal["exact", "timed"]


@dataclass(frozen=True)
class RunPair:
    """The plan of a study, its teacher, and the student of that."""

    plan: Plan
    teacher: Run
    student: Run


@dataclass(frozen=True)
class CheckFixture:
    """A folder for the runs of a check, and its time limit.

    Attributes
    ----------
    folder : Path
        The folder.
    quick : bool
        Whether the smallest study stands in for the others.
    deadline : float
        When the check has to have ended, by the monotonic clock.
    """

    folder: Path
    quick: bool
    deadline: float = float("inf")

    @property
    def log(self) -> Path:
        """Return the file that the processes of the check write to."""
        return self.folder / "log"

    def get_runs(self, kind: StudyKind = "exact", outputs: str = "table") -> RunPair:
        """Return the runs of a study, by logit cache (`table`) or with a live teacher."""
        return _plan_runs("quick" if self.quick else kind, outputs)

    def make_store(self, name: str) -> Store:
        """Return a new or existing results folder with the data set in it."""
        store, card = Store(self.folder / name), cards.load_known_card("digits")
        shared = Store(self.folder / "shared")
        if not shared.data(card.folder).exists():
            cache.prepare_dataset(card, shared)
        if not store.data(card.folder).exists():
            shutil.copytree(shared.data(card.folder), store.data(card.folder))
        return store

    def train(
        self, run: Run, store: Store, keep_epochs: Sequence[int] = (), runs_per_gpu: int = 1
    ) -> dict:
        """Train a run in this process as a job does, unless it is there; return its record."""
        train_run(run.spec, sorted(keep_epochs), store, ExecutionOptions("cuda", runs_per_gpu))
        return load_run_record(run, store)

    def train_timed(self, run: Run, store: Store, runs_per_gpu: int = 1) -> dict:
        """Train a run after an epoch of warm-up: what a process loads once is not timed."""
        from kdpipe.training import loop

        execution_options = ExecutionOptions("cuda", runs_per_gpu)
        with leases.acquire_gpu("cuda", runs_per_gpu), tempfile.TemporaryDirectory() as folder:
            loop.train(run.spec, run.digest, Path(folder), [], 1, store, execution_options)
        return self.train(run, store, (), runs_per_gpu)

    def train_student(self, runs: RunPair, store: Store, is_timed: bool = False) -> dict:
        """Train the student with all that it needs in this process; return its record."""
        epochs = [member.epoch for member in runs.student.spec.members]
        self.train(runs.teacher, store, epochs)
        for logit_cache in runs.student.logit_caches:
            cache_logits(logit_cache.spec, store, ExecutionOptions("cuda"), [runs.student.name])
        return (
            self.train_timed(runs.student, store) if is_timed else self.train(runs.student, store)
        )

    def run_forked(self, *functions: Callable[[], Any]) -> list[Any]:
        """Call functions in parallel, each in a process of its own; return their results."""
        return subprocess_runner.run_parallel(functions, self.log, self.deadline)

    def time_left(self) -> float:
        """Return the seconds that are left for the check."""
        return max(0.0, self.deadline - time.monotonic())


def load_run_record(run: Run, store: Store) -> dict:
    """Return the record of a finished run."""
    return json.loads((store.run(run.name) / RECORD_FILE).read_bytes())


def get_checksums(record: dict) -> dict[str, str]:
    """Return the checksums of all files of a run by name, without its record."""
    return {name: file_info["sha256"] for name, file_info in record["files"].items()}


def diff_files(record: dict, other_record: dict) -> list[str]:
    """Return the names of the files that differ between two records of a run."""
    checksums, other_checksums = get_checksums(record), get_checksums(other_record)
    return sorted(
        name
        for name in checksums.keys() | other_checksums.keys()
        if checksums.get(name) != other_checksums.get(name)
    )


@functools.cache
def _plan_runs(kind: str, outputs: str) -> RunPair:
    """Plan a study with one teacher and one student."""
    settings = STUDIES[kind]
    teacher, student = settings["networks"]
    block = {"name": "main", "teachers": [teacher], "students": [student], "methods": ["kd"]}
    study = {
        "study": "gpu_check",
        "seeds": [0],
        "data": {"name": "digits", **settings["data"]},
        "recipe": settings["recipe"],
        "network_recipes": settings.get("network_recipes", {}),
        "teacher_outputs": outputs,
        "methods": {"kd": {}},
        "experiments": [block],
    }
    plan = planner.build_plan(load.validate_study(study, "gpu-check"))
    students = [run for run in plan.runs.values() if run.parents]
    return RunPair(plan, students[0].parents[0], students[0])
