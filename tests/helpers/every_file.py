"""A study that leaves a file of every kind: what tests of damage and of kills start from.

Data of one's own in a folder and digits to be transferred to, a network and a term of one's own, a
teacher whose answers are a table, checkpoints, an ensemble, probes, a report and an archive. One
student is to do, so its teacher's table is there; another is half done.
"""

import contextlib
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from helpers import synthetic_data, tiny_study
from kdpipe import hashing
from kdpipe.cli.main import main
from kdpipe.config import load
from kdpipe.plan import estimate, planner
from kdpipe.plan.nodes import Plan, Run
from kdpipe.runs import run_folder
from kdpipe.runs.store import Store

CODE = """
from torch import nn

from kdpipe.losses.base import LossTerm, to_float32
from kdpipe.pydantic_base import StrictModel


def small(num_classes, in_channels):
    body = [nn.Conv2d(in_channels, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten()]
    return nn.Sequential(*body, nn.Linear(8 * 64, num_classes))


class Keys(StrictModel):
    power: int = 2


def loss(student, teacher, labels, keys):
    apart = to_float32(student.logits) - to_float32(teacher.logits).detach()
    return apart.abs().pow(keys["power"]).mean()


TERM = LossTerm(
    title="logit matching", short_title="LM", part="lm", revision=1, keys=Keys, loss=loss
)
"""
CACHE = "cache"  # in the folder: what was measured of the machine
BLOCK = {"students": ["wrn10-0.5"], "methods": ["kd"]}
STUDY = {
    "study": "world",
    "seeds": [0],
    "data": {"name": "mine", "path": "mine", "train_size": 32, "validation": 8},
    "recipe": {"epochs": 2, "batch_size": 16, "lr": 0.05, "drop_epochs": [1]},
    "teacher_outputs": "table",
    "networks": {"small": {"build": "own_code.small"}},
    "methods": {
        "kd": {},
        "own": {"term": "own_code.TERM", "term_weight": 0.5, "kd_weight": 0.0, "ce_weight": 1.0},
    },
    "ensembles": {"pair": {"networks": ["wrn10-1", "wrn10-0.5"]}},
    "experiments": [
        {"name": "main", "teachers": ["wrn10-1"], "stops": ["full", "checkpoint 1"]} | BLOCK,
        {"name": "own", "teachers": ["small"], "students": ["small"], "methods": ["own"]},
    ],
    "transfers": {
        "digits": {
            "data": {"name": "digits", "train_size": 40, "validation": 20},
            "blocks": ["main"],
        }
    },
    "tables": {"teacher_size": ["main"], "ensembles": ["pair"], "transfer": ["main"]},
}


@dataclass(frozen=True)
class World:
    """A folder with `study.yaml`, results, reports and a published archive."""

    folder: Path

    @property
    def store(self) -> Store:
        return Store(self.folder / "results")

    def plan(self) -> Plan:
        return planner.build_plan(load.load_study(self.folder / "study.yaml"))

    def copied(self, folder: Path) -> "World":
        return World(Path(shutil.copytree(self.folder, folder, symlinks=True)))

    def files(self) -> dict[str, bytes]:
        """Every file by its path, but for locks."""
        return {
            str(path.relative_to(self.folder)): path.read_bytes()
            for path in sorted(self.folder.rglob("*"))
            if path.is_file() and path.name != ".lock" and "__pycache__" not in path.parts
        }


def begin(folder: Path) -> World:
    """The study, its images and its code, and nothing that kdpipe has made."""
    folder.mkdir()
    arrays = synthetic_data.arrays((1, 8, 8), 4, train=48, test=20)
    synthetic_data.class_folders(folder / "mine", arrays)
    (folder / "own_code.py").write_text(CODE)
    tiny_study.write(folder / "study.yaml", STUDY)
    return World(folder)


def commands(plan: Plan) -> dict[str, list[list[str]]]:
    """By verb every command of the study, in the order in which they can be run."""
    data = [["prepare", "mine", "--path=mine"], ["prepare", "digits"]]
    return {
        "data": [["data", "mine"]],
        "network": [["network", "study.yaml"]],
        "term": [["term", "study.yaml"]],
        "prepare": data,
        "train": [train(run, plan) for run in plan.runs.values()],
        "tabulate": [tabulate(plan, name) for name in plan.logit_caches],
        "score": [["score", *spec(item)] for item in plan.ensembles.values()],
        "probe": [["probe", *spec(item), "--code=."] for item in plan.probes.values()],
        "report": [["report", "study.yaml"]],
        "archive": [["archive", "study.yaml", "--to", "published"]],
    }


def spec(item) -> list[str]:
    return ["--spec", hashing.canonical_json(item.spec)]


def train(run: Run, plan: Plan) -> list[str]:
    keep = ",".join(map(str, sorted(plan.checkpoints_to_keep.get(run.name, ()))))
    return ["train", *spec(run), f"--keep={keep}", "--code=."]


def tabulate(plan: Plan, name: str) -> list[str]:
    students = [
        run.name for run in plan.runs.values() if any(t.name == name for t in run.logit_caches)
    ]
    return ["tabulate", *spec(plan.logit_caches[name]), "--code=.", "--students", *students]


def in_order(plan: Plan) -> list[list[str]]:
    """The commands that make everything of a plan."""
    by = commands(plan)
    tables = dict(zip(plan.logit_caches, by["tabulate"], strict=True))
    trained = []
    for run, command in zip(plan.runs.values(), by["train"], strict=True):
        trained += [tables.pop(table.name) for table in run.logit_caches if table.name in tables]
        trained.append(command)
    return [*by["prepare"], *trained, *by["score"], *by["probe"], *by["report"], *by["archive"]]


def carded(folder: Path) -> World:
    """The study with its cards: it can be planned. The working directory becomes the folder."""
    world = begin(folder)
    os.chdir(folder)
    for command in (["data", "mine"], ["network", "study.yaml"], ["term", "study.yaml"]):
        kdpipe(*command)
    return world


def finished(folder: Path) -> World:
    """The study with everything that it leaves."""
    world = carded(folder)
    for command in in_order(world.plan()):
        kdpipe(*command)
    return world


def half_done(folder: Path) -> World:
    """The same with a file of every kind that a job at work leaves besides.

    Of four tables' students one is to do, one was killed in its last epoch, one has failed; a
    table is made, one is half made. The report and the archive are those of the whole study.
    """
    world = finished(folder)
    plan, store = world.plan(), world.store
    students = [run for run in plan.runs.values() if run.logit_caches]
    half = list(plan.logit_caches)[-1]
    for run in students:
        shutil.rmtree(store.run(run.name))
    for name in plan.logit_caches:
        kdpipe(*tabulate(plan, name))
    with killed_at("weights.safetensors"):
        kdpipe(*train(students[0], plan))
    (store.run(students[1].name)).mkdir()
    run_folder.failure_path(store.run(students[1].name)).write_text('{"reason": "for a test"}')
    shutil.rmtree(store.logit_cache(half))
    with killed_at("table.npy"):
        kdpipe(*tabulate(plan, half))
    speeds_of(plan, folder / CACHE)
    return world


def speeds_of(plan: Plan, cache: Path) -> None:
    """What a user has measured of this machine."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(estimate.CACHE_ENV, str(cache))
        runs = [run for run in plan.runs.values() if run.epochs]
        one = estimate.Speed(0.25, 0.5, 0.125, 2.0, 4.0, 500.0)
        estimate.save_speeds({estimate.make_speed_key(plan, run, "cpu"): one for run in runs})


def registered(folder: Path) -> World:
    """The study with its cards, registered, and nothing run."""
    world = carded(folder)
    kdpipe("register", "study.yaml")
    return world


def kdpipe(*command: str) -> None:
    assert main([*command]) == 0, command


class Killed(BaseException):
    """As if the process had been."""


@contextlib.contextmanager
def killed_at(name: str) -> Iterator[None]:
    """Whatever happens inside ends where a file of that name would be put in its place."""
    real = os.replace

    def replace(source, target):
        if Path(target).name == name:
            raise Killed
        real(source, target)

    with pytest.MonkeyPatch.context() as patch, contextlib.suppress(Killed):
        patch.setattr(os, "replace", replace)
        yield
