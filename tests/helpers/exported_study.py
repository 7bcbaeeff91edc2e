"""A tiny study that was run and exported once, for all tests that ask the export."""

import contextlib
import shutil
from pathlib import Path

from helpers import tiny_study
from kdpipe.cli.main import main
from kdpipe.config import load
from kdpipe.jobs.train import train_run
from kdpipe.plan import planner
from kdpipe.runs.store import Store

STUDY = tiny_study.study(data={"mean": [0.3], "std": [0.35]}, recipe={"epochs": 4, "lr": 0.1})


def run(folder: Path, shared: Path, content: dict = STUDY) -> Store:
    """study.yaml in a folder, and all its runs trained."""
    store = tiny_study.results(folder, shared)
    plan = planner.build_plan(load.load_study(tiny_study.write(folder / "study.yaml", content)))
    for each in plan.runs.values():
        train_run(each.spec, sorted(plan.checkpoints_to_keep.get(each.name, ())), store)
    return store


def once(shared: Path) -> Path:
    """A folder with study.yaml, results and `export`, the answer's choice; nobody changes it."""

    def build(new: Path) -> None:
        new.mkdir()
        run(new, shared)
        with contextlib.chdir(new):
            assert main(["export", "study.yaml", "--to", "export"]) == 0

    return tiny_study.once(shared / "exported", build)


def copy(shared: Path, folder: Path) -> Path:
    """The same, to be spoilt."""
    result = folder / "copy"
    shutil.copytree(once(shared), result)
    return result
