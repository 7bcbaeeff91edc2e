"""What the tests of upkeep start from."""

import shutil

import pytest
import tiny
from finished_study import PLAN, STUDY

from kdpipe.cli.main import main
from kdpipe.jobs.score import score
from kdpipe.jobs.train import train
from kdpipe.results.store import Store
from kdpipe.upkeep import archive as archived_now


@pytest.fixture
def place(tmp_path, shared, monkeypatch):
    def build(folder):
        made = tiny.results(folder, shared)
        for run in PLAN.runs.values():
            train(run.spec, sorted(PLAN.keep.get(run.name, ())), made)
        for ensemble in PLAN.ensembles.values():
            score(ensemble.spec, made)

    source = tiny.once(shared / "housekeeping", build)
    shutil.copytree(source / "results", tmp_path / "results")
    monkeypatch.chdir(tmp_path)
    tiny.write(tmp_path / "study.yaml", STUDY)
    return Store(tmp_path / "results")


@pytest.fixture
def say(capsys):
    def run(*command, code=0):
        assert main(list(command)) == code
        return capsys.readouterr().out

    return run


@pytest.fixture
def archive(place):
    archived_now.write(PLAN, place, place.root)
    return place.archive
