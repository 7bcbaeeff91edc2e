"""Logging a study to an experiment tracker (TensorBoard, MLflow), once or while it runs.

Jobs are not involved. Curves are read from the saved state of unfinished runs and the files of
finished ones, so it works from any machine with access to the results folder. From a record, the
main keys of its spec, seconds, and results on train and validation are logged; test results are
left to the report. Each file of `trackers/` defines one tracker.
"""

import contextlib
import fcntl
import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from kdpipe import registry
from kdpipe.errors import KdpipeError
from kdpipe.plan import status
from kdpipe.plan.nodes import Plan, Run
from kdpipe.runs.store import Store
from kdpipe.workflow import run_state

TRACKERS_PACKAGE = "kdpipe.workflow.trackers"
POLL_SECONDS = 5.0  # polling interval in seconds
IDLE_POLLS = 12  # consecutive polls without a running job, after which a study has ended


class TrackerRun(Protocol):
    """A study in a tracker's own format.

    What is already logged is read from the tracker's files, so that a killed call can be repeated
    and nothing is added twice.
    """

    def count_epochs(self, run: str) -> int:
        """Return how many epochs of a run are logged."""
        ...

    def is_finished(self, run: str) -> bool:
        """Return whether the record of a run is logged."""
        ...

    def add_epoch(self, run: str, epoch: int, values: Mapping[str, float]) -> None:
        """Add one line of a curve; epochs count from 1."""
        ...

    def add_record(self, run: str, facts: Mapping[str, str], values: Mapping[str, float]) -> None:
        """Log the parameters and results of a run, after its last epoch."""
        ...

    def close(self) -> None:
        """Write everything that was added to the disk."""
        ...


@dataclass(frozen=True)
class Tracker:
    """An experiment tracker: `TRACKER` of a file in `trackers/`.

    Attributes
    ----------
    title : str
        Its name.
    package : str
        Required package, installed by `kdpipe[<name of the file>]`.
    show : str
        Command that shows the curves, with {folder}.
    open : callable
        Import its library and open a folder for a study by its name.
    """

    title: str
    package: str
    show: str
    open: Callable[[Path, str], TrackerRun]


@contextlib.contextmanager
def lock_tracker(folder: Path, study: str) -> Iterator[None]:
    """Hold the lock of a study in a tracker's folder; two calls would log everything twice.

    Raises
    ------
    KdpipeError
        If another call holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / f".{study}.lock", "wb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise KdpipeError(
                f"another kdpipe track is writing {study} to {folder}: wait until it has ended, or "
                "stop it"
            ) from None
        except OSError:  # a file system without locks
            pass
        yield


def open_tracker(name: str, folder: Path, study: str) -> tuple[Tracker, TrackerRun]:
    """Open a tracker by its name; raise KdpipeError if its library is not installed."""
    tracker = registry.load_object(TRACKERS_PACKAGE, name, "TRACKER", Tracker)
    try:
        with _lock_folder(folder):
            return tracker, tracker.open(folder, study)
    except ModuleNotFoundError as error:
        raise KdpipeError(
            f"kdpipe track --to {name} requires {tracker.package}, which is not installed "
            f"({error.name} is missing): pip install 'kdpipe[{name}]'"
        ) from None


@contextlib.contextmanager
def _lock_folder(folder: Path) -> Iterator[None]:
    """Wait for others that open the folder: MLflow cannot create two experiments at once."""
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def sync_study(plan: Plan, store: Store, tracker_run: TrackerRun) -> tuple[int, int]:
    """Add what is not logged yet; return the numbers of added epochs and records."""
    records = store.load_records("runs")
    n_epochs = n_records = 0
    for run in plan.runs.values():
        record = records.get(run.name)
        for line in _read_run_curve(run, record, store)[tracker_run.count_epochs(run.name) :]:
            tracker_run.add_epoch(run.name, line["epoch"], _curve_values(line))
            n_epochs += 1
        if record is not None and not tracker_run.is_finished(run.name):
            tracker_run.add_record(run.name, _run_facts(run, record), _result_values(record))
            n_records += 1
    return n_epochs, n_records


def sync_until_done(
    make_plan: Callable[[], Plan],
    store: Store,
    tracker_run: TrackerRun,
    report: Callable[[int, int], None],
) -> tuple[int, int]:
    """Log a study until no run is to do, or no job has been running for a minute.

    A Snakemake that holds the folder counts as a running job: on a cluster its jobs may wait.

    Parameters
    ----------
    make_plan : callable
        Return the plan as far as it is decided; search rounds extend it.
    store : Store
        The results.
    tracker_run : TrackerRun
        The tracker.
    report : callable
        Called with the numbers of epochs and records that were added.

    Returns
    -------
    tuple of int
        The numbers of runs left to do, and of all runs.
    """
    plan, idle_polls = make_plan(), 0
    while True:
        states = status.get_plan_status(plan, store)
        added = sync_study(plan, store, tracker_run)
        if any(added):
            report(*added)
        n_left = sum(states[name] == "to do" for name in plan.runs)
        idle_polls = 0 if any(added) or run_state.is_active(plan, store) else idle_polls + 1
        if not n_left:
            old_plan, plan = plan, make_plan()
            if plan.runs.keys() <= old_plan.runs.keys():
                return 0, len(plan.runs)
        if idle_polls >= IDLE_POLLS:
            return n_left, len(plan.runs)
        time.sleep(POLL_SECONDS)


def _read_run_curve(run: Run, record: dict | None, store: Store) -> list[dict]:
    """Return the curve of a run so far, one line per epoch."""
    if record is not None:
        return store.load_curve(run.name) or []
    return run_state.read_curve(store.run(run.name))


def _curve_values(line: dict) -> dict[str, float]:
    """Return the values of one epoch: `lr`, `train/loss`, `val/accuracy`, ..."""
    values = {"lr": float(line["lr"])}
    for split in ("train", "val"):
        values |= {f"{split}/{key}": float(value) for key, value in (line[split] or {}).items()}
    return values


def _result_values(record: dict) -> dict[str, float]:
    """Return the results of a run by their keys in the record."""
    values = {f"seconds/{key}": float(value) for key, value in record.get("seconds", {}).items()}
    for eval_point in ("last", "best"):
        for split in ("train", "val"):
            metrics = (record.get(eval_point) or {}).get(split) or {}
            values |= {
                f"{eval_point}/{split}/{key}": float(value)
                for key, value in metrics.items()
                if isinstance(value, int | float)
            }
    return values


def _run_facts(run: Run, record: dict) -> dict[str, str]:
    """Return the parameters of a run as text."""
    spec = run.spec
    teacher_names = [f"{member.network} after {member.epoch}" for member in run.spec.members]
    facts = {
        "network": run.network,
        "seed": spec.seed,
        "data": spec.data.name,
        "train_size": spec.data.train_size,
        "taught by": ", ".join(teacher_names) or "labels",
        **spec.recipe.to_spec(),
        **{f"method.{key}": value for key, value in (spec.method or {}).items()},
        "status": record["status"],
        "reason": record.get("reason") or "",
        "digest": run.digest,
    }
    return {key: str(value) for key, value in facts.items()}
