"""verify: every fault of a results folder is one line that says what to do."""

import dataclasses
import shutil

import pytest
from finished_study import SCRATCH, STUDENT, TEACHER

from kdpipe.results import archived, records, store


def test_a_whole_folder(place, say):
    assert say("verify") == "results: every file is whole\n"
    assert say("verify", "--results", "nowhere") == "nowhere: every file is whole\n"


def damage_weights(place):
    path = place.run(TEACHER.name) / "weights.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    return path, "altered"


def cut_a_curve(place):
    path = place.run(SCRATCH.name) / "curve.jsonl"
    path.write_text("")
    return path, "truncated"


def remove_a_checkpoint(place):
    path = place.run(TEACHER.name) / "checkpoints/epoch-0001.safetensors"
    path.unlink()
    return path, "missing"


def exchange_weights(place):
    path = place.run(STUDENT.name) / "weights.safetensors"
    shutil.copy(place.run(SCRATCH.name) / "weights.safetensors", path)
    return path, "altered"


def leave_a_temporary_file(place):
    path = place.run(TEACHER.name) / ".weights.safetensors.abc.tmp"
    path.write_bytes(b"half")
    return path, "killed"


def add_a_file(place):
    path = place.run(TEACHER.name) / "checkpoints/epoch-0007.safetensors"
    path.write_bytes(b"what is this")
    return path, "not a file of this run"


def rename_a_run(place):
    path = place.run("wrn10-1-labels-2e-s9-0123456789ab")
    place.run(TEACHER.name).rename(path)
    return path, "the record of another run"


def exchange_runs(place):
    shutil.rmtree(place.run(STUDENT.name))
    shutil.copytree(place.run(SCRATCH.name), place.run(STUDENT.name))
    return place.run(STUDENT.name), "the record of another run"


def improve_a_record(place):
    for name in ("record.json", ".record.json"):
        path = place.run(TEACHER.name) / name
        text = path.read_text()
        path.write_text(text.replace('"accuracy": 0.', '"accuracy": 1.', 1))
    return place.run(TEACHER.name), "altered"


def damage_an_ensemble(place):
    path = next(place.root.glob("ensembles/*/record.json"))
    path.write_text("{}")
    return path, "not a record"


def damage_data(place):
    path = next(place.root.glob("data/*/train_labels.npy"))
    data = bytearray(path.read_bytes())
    data[-8] ^= 1
    path.write_bytes(data)
    return path.parent, "data set digits"


def link_a_run(place):
    path = place.run(TEACHER.name)
    path.rename(place.root.parent / "elsewhere")
    path.symlink_to(place.root.parent / "elsewhere")
    return path, "a link"


FAULTS = [
    damage_weights, cut_a_curve, remove_a_checkpoint, exchange_weights, leave_a_temporary_file,
    add_a_file, rename_a_run, exchange_runs, improve_a_record, damage_an_ensemble, damage_data,
    link_a_run,
]  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_one_line_that_names_it(place, say, fault):
    path, word = fault(place)
    said = say("verify", "--results", str(place.root), code=2)
    assert said.count("\n") == 1
    assert str(path) in said and word in said and "remove" in said


def test_all_faults_are_found_at_once(place, say):
    damage_weights(place)
    cut_a_curve(place)
    leave_a_temporary_file(place)
    assert say("verify", code=2).count("\n") == 3


def test_what_is_being_trained_is_left_alone(place, say):
    with store.only_one(place.run(TEACHER.name)):
        leave_a_temporary_file(place)
        assert "every file is whole" in say("verify")


# --- an archive among the results


def test_an_archive_among_the_results_is_whole_and_needed(place, say, archive):
    assert say("verify") == "results: every file is whole\n"
    assert say("prune", "study.yaml") == "results: everything in it is needed\n"


def cut_the_archive(place, path):
    path.write_bytes(path.read_bytes()[:-9])
    return f"{path} is damaged"


def exchange_two_lines(place, path):
    first, second, *others = archived.read(path).values()
    swapped = dataclasses.replace(first, name=second.name, kind=second.kind)
    archived.write(path, [swapped, *others])
    return f"{path}: what it holds as {second.name} is of another run: remove"


def publish_other_numbers(place, path):
    folder = place.run(SCRATCH.name)
    record = records.read(folder, None)
    records.publish(folder, record | {"best": None})
    return f"{folder}: its record and the one in {path} differ (best): remove one"


@pytest.mark.parametrize("fault", [cut_the_archive, exchange_two_lines, publish_other_numbers])
def test_a_fault_of_an_archive_is_one_line_too(place, say, archive, fault):
    expected = fault(place, archive)
    said = say("verify", "--results", str(place.root), code=2)
    assert said.count("\n") == 1 and said.startswith(expected)
