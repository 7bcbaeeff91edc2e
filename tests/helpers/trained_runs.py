"""Runs of two tiny plans, trained in the process that asks for it."""

import shutil
from pathlib import Path

from helpers import tiny_study
from kdpipe.jobs.train import train_run
from kdpipe.plan.nodes import Run
from kdpipe.runs.store import Store

LONG = tiny_study.planned(recipe={"epochs": 40, "drop_epochs": [20]})
SHORT = tiny_study.planned(main={"stops": ["full", "checkpoint 1"]})


def runs(made=SHORT) -> list[Run]:
    """Scratch student, teacher, students."""
    return list(made.runs.values())


def do(run, store, keep=()):
    train_run(run.spec, sorted(keep), store)
    return store.run(run.name)


def copied(source: Store, folder: Path) -> Store:
    shutil.copytree(source.root, folder / "results")
    return Store(folder / "results")


def stripped(record: dict) -> dict:
    """What of a record is the same wherever and whenever it is made."""
    return {
        key: record[key] for key in ("digest", "status", "last", "best", "checkpoints", "files")
    }
