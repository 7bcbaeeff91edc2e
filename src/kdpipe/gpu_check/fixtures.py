"""Fixtures of the checks: small studies, a folder for their runs, and separate processes.

Runs of `exact` are compared byte for byte: networks and images are as small as possible. Those of
`timed` have images of 32 x 32 and the networks of the paper. Both use the digits data, which comes
with scikit-learn, so that nothing is downloaded.

Functions are called in forked processes, so that a crash or a broken GPU context ends there.

The parent has imported torch and never uses a GPU, since CUDA does not survive a fork.
"""

import ctypes
import functools
import json
import multiprocessing
import os
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Literal

from kdpipe.config import load
from kdpipe.data import cache, cards
from kdpipe.devices import leases
from kdpipe.errors import KdpipeError
from kdpipe.jobs.cache_logits import cache_logits
from kdpipe.jobs.train import train_run
from kdpipe.plan import planner
from kdpipe.plan.nodes import Plan, Run
from kdpipe.runs.execution_options import ExecutionOptions
from kdpipe.runs.run_folder import RECORD_FILE
from kdpipe.runs.store import Store

_FORK = multiprocessing.get_context("fork")
PR_SET_PDEATHSIG = 1  # for Linux's prctl


class SubprocessError(KdpipeError):
    """A function in another process raised an exception, or its process ended."""


class ForkedCall:
    """A call of a function in a separate process, whose output is appended to the file `log`."""

    def __init__(self, function: Callable[[], Any], log: Path):
        self.receiver, sender = _FORK.Pipe(duplex=False)
        self.process = _FORK.Process(target=_run_in_child, args=(function, log, sender))
        self.process.start()
        sender.close()

    def kill(self) -> None:
        """Kill the process, and with it the processes that it has started."""
        self.process.kill()

    def result(self, deadline: float) -> Any:
        """Return the result of the function, or raise SubprocessError at the deadline."""
        is_late = not self.receiver.poll(max(0.0, deadline - time.monotonic()))
        try:
            reply = None if is_late else json.loads(self.receiver.recv_bytes())
        except EOFError:
            reply = None
        self.receiver.close()
        if reply is None and not is_late:
            self.process.join()  # it has ended by itself
        self.kill()
        self.process.join()
        if is_late:
            raise SubprocessError("it took too long, and was killed")
        if reply is None:
            code = self.process.exitcode or 0
            raise SubprocessError(
                f"its process ended with {f'signal {-code}' if code < 0 else f'code {code}'}"
            )
        if "error" in reply:
            raise SubprocessError(reply["error"])
        return reply["result"]


def run_parallel(functions: Sequence[Callable[[], Any]], log: Path, deadline: float) -> list[Any]:
    """Call functions in parallel; return their results, or raise the first SubprocessError.

    Parameters
    ----------
    functions : sequence of callable
        The functions; their results go through JSON.
    log : Path
        File that their output is appended to.
    deadline : float
        Time limit by the monotonic clock.
    """
    children = [ForkedCall(function, log) for function in functions]
    results, errors = [], []
    for child in children:
        try:
            results.append(child.result(deadline))
        except SubprocessError as error:
            errors.append(error)
    if errors:
        raise errors[0]
    return results


def _run_in_child(function: Callable[[], Any], log: Path, sender: Connection) -> None:
    """Call the function in the child, and send its result or its error as JSON."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    with open(log, "a", buffering=1, encoding="utf-8") as log_file:
        os.dup2(log_file.fileno(), 1)
        os.dup2(log_file.fileno(), 2)
    try:
        reply = {"result": function()}
    except BaseException as error:
        traceback.print_exc()
        first_line = (str(error).strip() or repr(error)).splitlines()[0]
        message = (
            first_line
            if isinstance(error, KdpipeError)
            else f"{type(error).__name__}: {first_line}"
        )
        reply = {"error": message}
    sys.stdout.flush()
    sys.stderr.flush()
    sender.send_bytes(json.dumps(reply).encode())


STUDIES: dict[str, dict] = {
    "exact": {
        "data": {"train_size": 192, "validation": 64, "pad": 1},
        "recipe": {"epochs": 6, "batch_size": 32, "lr": 0.05, "drop_epochs": [4]},
        "networks": ("wrn10-1", "wrn10-0.5"),
    },
    # The student has a thousand steps, so that one-time work of a process matters little.
    "timed": {
        "data": {"train_size": 896, "validation": 128, "pad": 1, "resize": 32},
        "recipe": {"epochs": 150, "batch_size": 128, "lr": 0.05, "drop_epochs": [75]},
        "network_recipes": {"wrn40-2": {"epochs": 5, "drop_epochs": [3]}},
        "networks": ("wrn40-2", "wrn16-1"),
    },
    # Used instead of both in a quick check, which shows that all checks run.
    "quick": {
        "data": {"train_size": 64, "validation": 40, "pad": 1},
        "recipe": {"epochs": 3, "batch_size": 32, "lr": 0.05, "drop_epochs": [2]},
        "networks": ("wrn10-1", "wrn10-0.5"),
    },
}
StudyKind = Literal["exact", "timed"]


@dataclass(frozen=True)
class RunPair:
    """The plan of a study, its teacher, and its student."""

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
        Whether the smallest study replaces the others.
    deadline : float
        Time limit of the check by the monotonic clock.
    """

    folder: Path
    quick: bool
    deadline: float = float("inf")

    @property
    def log(self) -> Path:
        """Return the log file of the processes of the check."""
        return self.folder / "log"

    def get_runs(
        self, kind: StudyKind = "exact", outputs: str = "table", shards: int = 1
    ) -> RunPair:
        """Return the runs of a study, with a logit cache (`table`) or a live teacher."""
        return _plan_runs("quick" if self.quick else kind, outputs, shards)

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
        """Train a run in this process as a job does, unless it exists; return its record."""
        train_run(run.spec, sorted(keep_epochs), store, ExecutionOptions("cuda", runs_per_gpu))
        return load_run_record(run, store)

    def train_timed(self, run: Run, store: Store, runs_per_gpu: int = 1) -> dict:
        """Train a run after a warm-up epoch, so that one-time work of a process is not timed."""
        from kdpipe.training import loop

        execution_options = ExecutionOptions("cuda", runs_per_gpu)
        with leases.acquire_gpus("cuda", runs_per_gpu), tempfile.TemporaryDirectory() as folder:
            loop.train(run.spec, run.digest, Path(folder), [], 1, store, execution_options)
        return self.train(run, store, (), runs_per_gpu)

    def train_student(self, runs: RunPair, store: Store, is_timed: bool = False) -> dict:
        """Train the student and all that it needs in this process; return its record."""
        epochs = [member.epoch for member in runs.student.spec.members]
        self.train(runs.teacher, store, epochs)
        for logit_cache in runs.student.logit_caches:
            cache_logits(logit_cache.spec, store, ExecutionOptions("cuda"), [runs.student.name])
        return (
            self.train_timed(runs.student, store) if is_timed else self.train(runs.student, store)
        )

    def run_forked(self, *functions: Callable[[], Any]) -> list[Any]:
        """Call functions in parallel, each in a separate process; return their results."""
        return run_parallel(functions, self.log, self.deadline)

    def time_left(self) -> float:
        """Return the seconds left for the check."""
        return max(0.0, self.deadline - time.monotonic())


def load_run_record(run: Run, store: Store) -> dict:
    """Return the record of a finished run."""
    return json.loads((store.run(run.name) / RECORD_FILE).read_bytes())


def get_checksums(record: dict) -> dict[str, str]:
    """Return the checksums of all files of a run by name, except its record."""
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
def _plan_runs(kind: str, outputs: str, shards: int = 1) -> RunPair:
    """Plan a study with one teacher and one student."""
    settings = STUDIES[kind]
    teacher, student = settings["networks"]
    block = {"name": "main", "teachers": [teacher], "students": [student], "methods": ["kd"]}
    study = {
        "study": "gpu_check",
        "seeds": [0],
        "data": {"name": "digits", **settings["data"]},
        "recipe": settings["recipe"] | {"shards": shards},
        "network_recipes": settings.get("network_recipes", {}),
        "teacher_outputs": outputs,
        "methods": {"kd": {}},
        "experiments": [block],
    }
    plan = planner.build_plan(load.validate_study(study, "gpu-check"))
    students = [run for run in plan.runs.values() if run.parents]
    return RunPair(plan, students[0].parents[0], students[0])
