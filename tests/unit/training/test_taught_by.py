"""A student that was cut off goes on with the teacher that it began with, and with no other."""

import shutil

import numpy as np
from helpers import tiny_study

from kdpipe.jobs.train import train_run
from kdpipe.runs import records, run_folder
from kdpipe.runs.files import compute_file_info, read_arrays, write_arrays
from kdpipe.training.checkpoint import SAVE_ENV

_, TEACHER, STUDENT = tiny_study.planned(recipe={"epochs": 3}).runs.values()


def half_done(store, monkeypatch) -> None:
    """The student, killed where its last state was saved."""

    class Killed(BaseException):
        pass

    def finish(*_):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr("kdpipe.training.evaluate.finalize_run", finish)
        try:
            train_run(STUDENT.spec, [], store)
        except Killed:
            return
    raise AssertionError("it was not killed")


def made_again(store) -> None:
    """The teacher with other weights, as another machine would make it."""
    folder = store.run(TEACHER.name)
    path = run_folder.weights_path(folder)
    arrays, about = read_arrays(path)
    kind = np.float32
    write_arrays(
        path, {k: v * kind(0.5) if v.dtype == kind else v for k, v in arrays.items()}, about
    )
    record = records.read_record(folder, None)
    record["files"][path.name] = compute_file_info(path)
    records.publish_record(folder, record)


def test_it_begins_anew_where_its_teacher_was_made_again(store, monkeypatch):
    train_run(TEACHER.spec, [], store)
    half_done(store, monkeypatch)
    _, about = read_arrays(run_folder.state_path(store.run(STUDENT.name)))
    assert about["taught_by"] == [
        compute_file_info(run_folder.weights_path(store.run(TEACHER.name)))["sha256"]
    ]
    made_again(store)
    train_run(STUDENT.spec, [], store)
    resumed = tiny_study.exact(store.run(STUDENT.name))
    shutil.rmtree(store.run(STUDENT.name))
    train_run(STUDENT.spec, [], store)
    assert resumed == tiny_study.exact(store.run(STUDENT.name))


def test_it_goes_on_where_its_teacher_is_the_same(store, monkeypatch):
    monkeypatch.setenv(SAVE_ENV, "0")
    train_run(TEACHER.spec, [], store)
    half_done(store, monkeypatch)
    with monkeypatch.context() as patch:  # no batch is seen again
        patch.setattr("kdpipe.training.loop.evaluate.log_batch", None)
        assert " error " in train_run(STUDENT.spec, [], store)
