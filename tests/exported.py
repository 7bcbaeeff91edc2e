"""A tiny study that was run and exported once, for all tests that ask the export."""

import contextlib
import shutil
from pathlib import Path

import tiny

from kdpipe.cli.main import main
from kdpipe.jobs.train import train
from kdpipe.plan import planner
from kdpipe.results.store import Store
from kdpipe.study import checking

STUDY = tiny.study(data={"mean": [0.3], "std": [0.35]}, recipe={"epochs": 4, "lr": 0.1})


def run(folder: Path, shared: Path, content: dict = STUDY) -> Store:
    """study.yaml in a folder, and all its runs trained."""
    place = tiny.results(folder, shared)
    made = planner.make(checking.load(tiny.write(folder / "study.yaml", content)))
    for each in made.runs.values():
        train(each.spec, sorted(made.keep.get(each.name, ())), place)
    return place


def once(shared: Path) -> Path:
    """A folder with study.yaml, results and `export`, the answer's choice; nobody changes it."""

    def build(new: Path) -> None:
        new.mkdir()
        run(new, shared)
        with contextlib.chdir(new):
            assert main(["export", "study.yaml", "--to", "export"]) == 0

    return tiny.once(shared / "exported", build)


def copy(shared: Path, folder: Path) -> Path:
    """The same, to be spoilt."""
    made = folder / "copy"
    shutil.copytree(once(shared), made)
    return made
