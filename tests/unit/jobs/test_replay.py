"""What is finished is not made again, but for a checkpoint that was asked for later."""

import random
import shutil
import sys
import time

import pytest
from helpers import tiny_study
from helpers.trained_runs import LONG, do, runs, stripped

from kdpipe.errors import DivergedError, StoreError
from kdpipe.jobs.train import train_run
from kdpipe.runs import records


def test_a_finished_run_is_not_trained_again(finished, monkeypatch):
    run = runs()[1]
    before = (finished.run(run.name) / "record.json").read_bytes()
    (finished.run(run.name) / "record.json").unlink()  # as Snakemake does before a job
    monkeypatch.setitem(sys.modules, "kdpipe.training.loop", None)  # an import of it would fail
    assert "finished before" in train_run(run.spec, [1], finished)
    assert (finished.run(run.name) / "record.json").read_bytes() == before


def test_either_name_of_a_record_is_enough(finished):
    for run in runs():
        (finished.run(run.name) / ".record.json").unlink()
    student = runs()[2]
    shutil.rmtree(finished.run(student.name))
    assert "validation error" in train_run(student.spec, [], finished)


def test_a_checkpoint_asked_for_later_has_the_same_bytes(store, tmp_path, warm, unkilled):
    run = runs(LONG)[1]
    do(run, store)
    first = tiny_study.exact(store.run(run.name))
    record = tiny_study.record(store, run)
    chance = random.Random(1)
    for _ in range(4):  # killed in the middle of the replay, it loses nothing
        child = warm.start(*tiny_study.train(run, [0, 25]), cwd=tmp_path)
        time.sleep(chance.uniform(0.1, 0.5))
        child.kill()
        child.wait()
        remaining = records.read_finished_record(store.run(run.name), run.digest)
        assert remaining["status"] == "done" and remaining["last"] == record["last"]
        assert tiny_study.exact(store.run(run.name)).items() >= first.items()
    assert warm.run(*tiny_study.train(run, [0, 25]), cwd=tmp_path).code == 0
    assert tiny_study.exact(store.run(run.name)) == tiny_study.exact(unkilled.run(run.name))
    again, at_first = tiny_study.record(store, run), tiny_study.record(unkilled, run)
    assert stripped(again) == stripped(at_first)
    assert again["seconds"] == record["seconds"]  # of the training, not of the replay


def test_a_replay_that_diverges_does_not_undo_the_run(finished, monkeypatch):
    from kdpipe.training import loop

    run = runs()[1]
    before = (finished.run(run.name) / "record.json").read_bytes()

    def diverges(*_):
        raise DivergedError("the loss is nan")

    monkeypatch.setattr(loop, "train", diverges)
    with pytest.raises(StoreError, match="its record is unchanged"):
        train_run(run.spec, [0, 1], finished)
    assert (finished.run(run.name) / "record.json").read_bytes() == before


def test_a_replay_that_goes_another_way_is_refused(finished, monkeypatch):
    from kdpipe.runs.recipe import learning_rate
    from kdpipe.training import loop

    run = runs()[0]
    before = {path: path.read_bytes() for path in finished.run(run.name).rglob("*.*")}
    real = learning_rate
    monkeypatch.setattr(loop, "learning_rate", lambda *of: 3 * real(*of))
    with pytest.raises(StoreError, match=r"gives different results.*remove the folder"):
        train_run(run.spec, [1], finished)
    after = {path: path.read_bytes() for path in finished.run(run.name).rglob("*.*")}
    new = {path.name for path in after.keys() - before.keys()}
    assert not any("epoch-" in name for name in new), "no checkpoint of another training"
    assert before.items() <= after.items()


def test_a_checkpoint_asked_for_in_the_middle_starts_the_run_anew(store, tmp_path, warm, unkilled):
    run = runs(LONG)[1]
    child = warm.start(*tiny_study.train(run, [25]), cwd=tmp_path)
    time.sleep(0.5)
    child.kill()
    child.wait()
    assert warm.run(*tiny_study.train(run, [0, 25]), cwd=tmp_path).code == 0
    assert tiny_study.exact(store.run(run.name)) == tiny_study.exact(unkilled.run(run.name))
