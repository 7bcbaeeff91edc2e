"""Results that the tests of jobs and of their faults start from: fixtures."""

import signal
import time

import pytest

from helpers import tiny_study
from helpers.trained_runs import LONG, SHORT, copied, do, runs
from kdpipe.runs.store import Store


@pytest.fixture(scope="session")
def short(shared):
    """SHORT, finished."""

    def build(folder):
        store = tiny_study.results(folder, shared)
        for run in runs():
            do(run, store, SHORT.checkpoints_to_keep.get(run.name, ()))

    return Store(tiny_study.once(shared / "short", build) / "results")


@pytest.fixture(scope="session")
def unkilled(shared):
    """A teacher of 40 epochs with two checkpoints, never interrupted."""

    def build(folder):
        finished_runs = do(runs(LONG)[1], tiny_study.results(folder, shared), [0, 25])
        assert len(list(finished_runs.glob("best-*"))) == 2  # its best epoch is not the last

    return Store(tiny_study.once(shared / "unkilled", build) / "results")


@pytest.fixture
def finished(short, tmp_path):
    return copied(short, tmp_path)


@pytest.fixture(scope="session")
def finished_state(shared, warm):
    """The folder of a run that was cut off after some epochs."""

    def build(folder):
        store = tiny_study.results(folder, shared)
        run = runs(LONG)[1]
        child = warm.start(*tiny_study.train(run, [0]), cwd=folder)
        while not (store.run(run.name) / ".state.safetensors").exists():
            time.sleep(0.02)
        child.kill(signal.SIGTERM)
        assert child.wait() == 75

    result = tiny_study.once(shared / "cut-off", build)
    return Store(result / "results").run(runs(LONG)[1].name)


@pytest.fixture(scope="session")
def pair(shared):
    """Ensembles of every kind over few runs: copies, checkpoints, several networks, generations."""
    plan = tiny_study.planned(
        seeds=[0, 1],
        recipe={"epochs": 2},
        ensembles={
            "copies": {"networks": ["wrn10-0.5"], "copies": 2},
            "snapshots": {"networks": ["wrn10-0.5"], "stops": ["checkpoint 1", "full"]},
            "mixed": {"networks": ["wrn10-0.5", "wrn10-0.25"]},
            "sequence": {"block": "main"},
        },
        main={"teachers": ["self"], "generations": 2},
    )

    def build(folder):
        store = tiny_study.results(folder, shared)
        for run in plan.runs.values():
            do(run, store, plan.checkpoints_to_keep.get(run.name, ()))

    return plan, Store(tiny_study.once(shared / "pair", build) / "results")
