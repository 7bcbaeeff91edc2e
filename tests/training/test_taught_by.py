"""A student that was cut off goes on with the teacher that it began with, and with no other."""

import shutil

import numpy as np
import tiny

from kdpipe.jobs.train import train
from kdpipe.results import records, run_folder
from kdpipe.results.files import file_facts, read_arrays, write_arrays

_, TEACHER, STUDENT = tiny.planned(recipe={"epochs": 3}).runs.values()


def half_done(place, monkeypatch) -> None:
    """The student, killed where its last state was saved."""

    class Killed(BaseException):
        pass

    def finish(*_):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr("kdpipe.training.evaluation.finish", finish)
        try:
            train(STUDENT.spec, [], place)
        except Killed:
            return
    raise AssertionError("it was not killed")


def made_again(place) -> None:
    """The teacher with other weights, as another machine would make it."""
    folder = place.run(TEACHER.name)
    path = run_folder.weights(folder)
    arrays, about = read_arrays(path)
    kind = np.float32
    write_arrays(
        path, {k: v * kind(0.5) if v.dtype == kind else v for k, v in arrays.items()}, about
    )
    record = records.read(folder, None)
    record["files"][path.name] = file_facts(path)
    records.publish(folder, record)


def test_it_begins_anew_where_its_teacher_was_made_again(place, monkeypatch):
    train(TEACHER.spec, [], place)
    half_done(place, monkeypatch)
    _, about = read_arrays(run_folder.state(place.run(STUDENT.name)))
    assert about["taught_by"] == [file_facts(run_folder.weights(place.run(TEACHER.name)))["sha256"]]
    made_again(place)
    train(STUDENT.spec, [], place)
    resumed = tiny.exact(place.run(STUDENT.name))
    shutil.rmtree(place.run(STUDENT.name))
    train(STUDENT.spec, [], place)
    assert resumed == tiny.exact(place.run(STUDENT.name))


def test_it_goes_on_where_its_teacher_is_the_same(place, monkeypatch):
    train(TEACHER.spec, [], place)
    half_done(place, monkeypatch)
    with monkeypatch.context() as patch:  # no batch is seen again
        patch.setattr("kdpipe.training.loop.curve.note", None)
        assert " error " in train(STUDENT.spec, [], place)
