"""Studies so small that a run takes half a second, and a results folder ready for them."""

import copy
import fcntl
import hashlib
import itertools
import json
import shutil
import signal
from pathlib import Path

import yaml

from kdpipe import hashing
from kdpipe.config import load
from kdpipe.data import cache
from kdpipe.data.cards import load_known_card as card
from kdpipe.plan import planner
from kdpipe.plan.nodes import Plan, Run
from kdpipe.runs.store import Store

STUDY = {
    "study": "tiny",
    "seeds": [0],
    "data": {"name": "digits", "train_size": 64, "validation": 40, "pad": 1},
    "recipe": {"epochs": 2, "batch_size": 16, "lr": 0.05, "drop_epochs": [1]},
    "teacher_outputs": "live",
    "methods": {"kd": {}},
    "experiments": [
        {
            "name": "main",
            "teachers": ["wrn10-1"],
            "students": ["wrn10-0.5"],
            "methods": ["kd"],
        }
    ],
}
# The files of a run that must come out the same, byte by byte.
EXACT = (
    "*weights.safetensors", "curve.jsonl", "*outputs.safetensors", "*errors.safetensors",
    "checkpoints/*",
)  # fmt: skip


def study(**changes) -> dict:
    """The tiny study with other keys; recipe, data and the block `main` are merged."""
    result = copy.deepcopy(STUDY)
    for key in ("recipe", "data"):
        result[key].update(changes.pop(key, {}))
    result["experiments"][0].update(changes.pop("main", {}))
    return result | changes


def planned(**changes) -> Plan:
    return planner.build_plan(load.validate_study(study(**changes), "tiny"))


def write(path: Path, content: dict) -> Path:
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


def results(folder: Path, shared: Path) -> Store:
    """A results folder with the data set prepared."""
    store = Store(folder / "results")
    once(shared / "data", lambda new: cache.prepare_dataset(card("digits"), Store(new)))
    shutil.copytree(shared / "data" / "data", store.root / "data")
    return store


def once(folder: Path, build) -> Path:
    """A folder that the first test process to ask for it builds, for all of them."""
    with open(folder.with_suffix(".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            new = folder.with_suffix(".new")
            shutil.rmtree(new, ignore_errors=True)  # of one that failed: it says so again
            build(new)
            new.rename(folder)
    return folder


def train(run: Run, keep=(), results: str = "results") -> list[str]:
    """The command that trains a run."""
    text = ",".join(map(str, keep))
    return [
        "train",
        "--spec",
        hashing.canonical_json(run.spec),
        f"--keep={text}",
        "--results",
        results,
    ]


def exact(folder: Path) -> dict[str, str]:
    """The checksums of a run's files that must not depend on how it came about."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for pattern in EXACT
        for path in sorted(folder.glob(pattern))
    }


def record(store: Store, run) -> dict:
    kind = store.run if isinstance(run, Run) else store.ensemble
    return json.loads((kind(run.name) / "record.json").read_text())


def record_of(folder: Path) -> dict:
    return json.loads((folder / "record.json").read_text())


def stop_after(monkeypatch, steps: int) -> None:
    """A run in this process is asked to stop after so many steps more, as by a time limit."""
    from kdpipe.training.optim import Optimizer  # torch, for those who ask

    count, whole = itertools.count(1), Optimizer.step

    def step(self, lr):
        whole(self, lr)
        if next(count) == steps:
            signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(Optimizer, "step", step)
