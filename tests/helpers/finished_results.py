"""A finished study in a folder of its own, its archive, and commands typed there: fixtures."""

import shutil

import pytest

from helpers import tiny_study
from helpers.finished_study import PLAN, STUDY
from kdpipe.cli.main import main
from kdpipe.jobs.eval_ensemble import eval_ensemble
from kdpipe.jobs.train import train_run
from kdpipe.runs.integrity import archive as archived_now
from kdpipe.runs.store import Store


@pytest.fixture
def store(tmp_path, shared, monkeypatch):
    def build(folder):
        result = tiny_study.results(folder, shared)
        for run in PLAN.runs.values():
            train_run(run.spec, sorted(PLAN.checkpoints_to_keep.get(run.name, ())), result)
        for ensemble in PLAN.ensembles.values():
            eval_ensemble(ensemble.spec, result)

    source = tiny_study.once(shared / "housekeeping", build)
    shutil.copytree(source / "results", tmp_path / "results")
    monkeypatch.chdir(tmp_path)
    tiny_study.write(tmp_path / "study.yaml", STUDY)
    return Store(tmp_path / "results")


@pytest.fixture
def say(capsys):
    def run(*command, code=0):
        assert main(list(command)) == code
        return capsys.readouterr().out

    return run


@pytest.fixture
def archive(store):
    archived_now.archive_study(PLAN, store, store.root)
    return store.archive_path
