"""The job of a cluster that makes several short runs and logit caches, one after another.

Each is a process of its own with the command line, lock, record, failure file and log that it has
as a job of its own. If one fails, those that learn from it are left out and all others are made. A
job that is interrupted, or killed, goes on from there when it is started again.
"""

import contextlib
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from kdpipe.errors import InterruptedRun, KdpipeError
from kdpipe.jobs import parent_watchdog
from kdpipe.pydantic_base import StrictModel
from kdpipe.runs.files import read_regular_file, write_bytes
from kdpipe.runs.store import Store
from kdpipe.text import dotted_path, format_count


class PackedJob(StrictModel):
    """One run or logit cache of a pack.

    Attributes
    ----------
    kind, name : str
        What it makes, as the store names it.
    arguments : list of str
        Its command line after `kdpipe`.
    parents : list of str
        Those of the same pack that it learns from.
    students : list of str
        Runs that read a logit cache; it is not made if all of them are done.
    """

    kind: Literal["runs", "tables"]
    name: str
    arguments: list[str]
    parents: list[str]
    students: list[str] = Field(default_factory=list[str])


class PackFile(StrictModel):
    """What the head process tells a pack: its jobs, parents first, and what it may use.

    Attributes
    ----------
    jobs : list of PackedJob
        What it makes.
    threads, minutes, megabytes : int
        What its first attempt requests from the cluster.
    attempts : int
        How often it is started at most.
    """

    jobs: list[PackedJob]
    threads: int
    minutes: int
    megabytes: int
    attempts: int


def read_pack(path: Path) -> PackFile:
    """Read the file of a pack.

    Raises
    ------
    KdpipeError
        If it is missing or not such a file.
    """
    try:
        return PackFile.model_validate_json(read_regular_file(path))
    except FileNotFoundError:
        raise KdpipeError(
            f"{path} is missing: the study was started again since, and that start makes its runs"
        ) from None
    except ValidationError as error:
        first = error.errors()[0]
        raise KdpipeError(
            f"{path}: {dotted_path(first['loc']) or 'the file'}: {first['msg']}; start the study "
            "again, which writes it"
        ) from None


def run_pack(pack: PackFile, attempt: int, finished_path: Path, store: Store) -> str:
    """Make what a pack lists, and write the names of all that are there into a file.

    Parameters
    ----------
    pack : PackFile
        The pack.
    attempt : int
        Number of this attempt, from 1. Before the last one, a failure of a job is one of the pack,
        which is then started again with more time and memory, for what is missing.
    finished_path : Path
        The file, one name a line.
    store : Store
        The results folder.

    Returns
    -------
    str
        The last line of the log.

    Raises
    ------
    InterruptedRun
        After SIGTERM, once the state of the present run is saved.
    KdpipeError
        If jobs failed, and this is not the last attempt.
    """
    child = _Child()
    signal.signal(signal.SIGTERM, lambda *_: child.terminate())
    missing: list[str] = []
    with parent_watchdog.tie_children():  # a job ends with its pack, even if that is killed
        for job in pack.jobs:
            if _is_finished(job, store):
                continue
            if any(parent in missing for parent in job.parents):
                print(f"{job.name}: left out, since what it learns from is missing", flush=True)
                missing.append(job.name)
                continue
            code = 0 if child.is_terminated else child.run(job, store)
            if child.is_terminated and not _is_finished(job, store):
                raise InterruptedRun(f"SIGTERM; {job.name} goes on when it is started again")
            print(f"{job.name}: {f'failed with exit code {code}' if code else 'done'}", flush=True)
            if code:
                missing.append(job.name)
    finished = [job.name for job in pack.jobs if job.name not in missing]
    summary = f"{len(finished):,} of {format_count(len(pack.jobs), 'job')} done"
    if missing:
        name = missing[0]
        reason = store.failure_reason("runs", name) or store.failure_reason("tables", f".{name}")
        summary += f"; the first that failed: {name}{f': {reason}' if reason else ''}"
        if attempt < pack.attempts:
            raise KdpipeError(summary)
    write_bytes(finished_path, "".join(f"{name}\n" for name in finished).encode())
    return summary


class _Child:
    """The process of the job that is being made; SIGTERM of the pack is passed on to it."""

    def __init__(self) -> None:
        self.is_terminated = False
        self._process: subprocess.Popen[bytes] | None = None

    def run(self, job: PackedJob, store: Store) -> int:
        """Run a job with its own log, and return its exit code."""
        log_path = store.root.absolute().parent / "logs" / job.kind / f"{job.name}.log"
        log_path.parent.mkdir(parents=True, exist_ok=True)
        command = ["kdpipe", *job.arguments, "--results", str(store.root)]
        with log_path.open("wb") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
            )
            if self.is_terminated:
                self.terminate()
            return self._process.wait()

    def terminate(self) -> None:
        """Have the process save its state and end; nothing is started after it."""
        self.is_terminated = True
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.terminate()


def _is_finished(job: PackedJob, store: Store) -> bool:
    """Return whether an earlier attempt has made a run, or the last student of a logit cache."""
    names: Sequence[str] = [job.name] if job.kind == "runs" else job.students
    return bool(names) and all(store.has_record("runs", name) for name in names)
