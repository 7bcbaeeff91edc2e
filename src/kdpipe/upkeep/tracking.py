"""Curves where people look at curves: a study mirrored into a tracker, once or while it runs.

Jobs know nothing of it. A curve is read where a job leaves it, in the state of an unfinished run or
the file of a finished one, so it works from any machine that sees the results folder. Of a record
go the spec's chief keys, seconds and what came out on train and validation; test is the report's.
"""

import time
from collections.abc import Callable
from pathlib import Path

from kdpipe import discovery
from kdpipe.errors import KdpipeError
from kdpipe.plan import status
from kdpipe.plan.items import Plan, Run
from kdpipe.results.store import Store
from kdpipe.upkeep import going
from kdpipe.upkeep.tracker import Mirror, Tracker

TRACKERS = "kdpipe.upkeep.trackers"
EVERY = 5.0  # seconds between two looks while a study is followed
PATIENCE = 12  # looks in a row at which nothing goes on, after which it has ended


def names() -> tuple[str, ...]:
    return discovery.names(TRACKERS)


def opened(name: str, folder: Path, study: str) -> tuple[Tracker, Mirror]:
    """The tracker of that name. Raises KdpipeError where its library is not installed."""
    tracker = discovery.one(TRACKERS, name, "TRACKER", Tracker)
    try:
        return tracker, tracker.open(folder, study)
    except ModuleNotFoundError as error:
        raise KdpipeError(
            f"kdpipe track --to {name} needs {tracker.package}, which is not installed "
            f"({error.name} is missing): pip install 'kdpipe[{name}]'"
        ) from None


def mirror(plan: Plan, place: Store, to: Mirror) -> tuple[int, int]:
    """Add what is not there yet: (epochs, records) that were added."""
    records = place.records("runs")
    epochs = finished = 0
    for run in plan.runs.values():
        record = records.get(run.name)
        for line in _curve(run, record, place)[to.epochs(run.name) :]:
            to.add_epoch(run.name, line["epoch"], _values(line))
            epochs += 1
        if record is not None and not to.finished(run.name):
            to.add_record(run.name, _facts(run, record), _outcome(record))
            finished += 1
    return epochs, finished


def follow(
    due: Callable[[], Plan], place: Store, to: Mirror, say: Callable[[int, int], None]
) -> tuple[int, int]:
    """Mirror until no run is to do, or nothing went on for a minute.

    due: the plan as far as it is decided, which the rounds of a search make longer. Returns how
    many runs are left to do, and of how many. A study goes on while a job is at work, or a
    Snakemake holds the folder: on a cluster jobs wait.
    """
    plan, idle = due(), 0
    while True:
        states = status.of(plan, place)
        added = mirror(plan, place, to)
        if any(added):
            say(*added)
        left = sum(states[name] == "to do" for name in plan.runs)
        idle = 0 if any(added) or going.goes_on(plan, place) else idle + 1
        if not left:
            before, plan = plan, due()
            if plan.runs.keys() <= before.runs.keys():
                return 0, len(plan.runs)
        if idle >= PATIENCE:
            return left, len(plan.runs)
        time.sleep(EVERY)


def _curve(run: Run, record: dict | None, place: Store) -> list[dict]:
    """One line an epoch, of a run that is finished, or as far as it has come."""
    if record is not None:
        return place.curve(run.name) or []
    return going.curve_of(place.run(run.name))


def _values(line: dict) -> dict[str, float]:
    """`train/loss`, `val/accuracy`, ..., `lr`."""
    found = {"lr": float(line["lr"])}
    for split in ("train", "val"):
        found |= {f"{split}/{key}": float(value) for key, value in (line[split] or {}).items()}
    return found


def _outcome(record: dict) -> dict[str, float]:
    """What came out in the end."""
    found = {f"seconds/{key}": float(value) for key, value in record.get("seconds", {}).items()}
    for reading in ("last", "best"):
        for split in ("train", "val"):
            metrics = (record.get(reading) or {}).get(split) or {}
            found |= {
                f"{reading}/{split}/{key}": float(value)
                for key, value in metrics.items()
                if isinstance(value, int | float)
            }
    return found


def _facts(run: Run, record: dict) -> dict[str, str]:
    """What a run was."""
    spec, teacher = run.spec, run.spec["teacher"]
    taught = [
        f"{member['network']} after {member['epoch']}"
        for member in (teacher or {}).get("members", [])
    ]
    facts = {
        "network": run.network,
        "seed": spec["seed"],
        "data": spec["data"]["name"],
        "train_size": spec["data"]["train_size"],
        "taught by": ", ".join(taught) or "labels",
        **spec["recipe"],
        **{f"method.{key}": value for key, value in (spec["method"] or {}).items()},
        "status": record["status"],
        "reason": record.get("reason") or "",
        "digest": run.digest,
    }
    return {key: str(value) for key, value in facts.items()}
