"""What was damaged, or is another run's, is never learned from, gone on from or scored."""

import json
import shutil
from pathlib import Path

import pytest
from helpers.trained_runs import LONG, copied, do, runs

from kdpipe.errors import KdpipeError, StoreError
from kdpipe.jobs.eval_ensemble import eval_ensemble
from kdpipe.jobs.train import train_run
from kdpipe.runs import ownership
from kdpipe.runs.integrity.verify import verify_store


def truncate(path, other):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path, other):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)


def empty(path, other):
    path.write_bytes(b"")


def foreign(path, other):
    shutil.copyfile(other, path)


def pickled(path, other):
    import pickle

    path.write_bytes(pickle.dumps(Bomb(str(path.parent / "exploded"))))


class Bomb:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (Path.touch, (Path(self.path),))


DAMAGES = [truncate, flip, empty, foreign, pickled]


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", ["weights.safetensors", "checkpoints/epoch-0001.safetensors"])
def test_a_damaged_teacher_never_teaches(finished, name, damage):
    scratch, teacher = runs()[:2]
    member = [
        run
        for run in runs()[2:]
        if (run.spec.teacher.members[0].epoch == 1) == name.startswith("c")
    ]
    path = finished.run(teacher.name) / name
    damage(path, finished.run(scratch.name) / "weights.safetensors")
    shutil.rmtree(finished.run(member[0].name))
    with pytest.raises(StoreError) as actual:
        train_run(member[0].spec, [], finished)
    assert str(path) in str(actual.value) and "remove the folder" in str(actual.value)
    assert not list(finished.root.rglob("exploded"))
    failure = json.loads((finished.run(member[0].name) / "failure.json").read_text())
    assert failure["reason"] == str(actual.value)
    assert any(str(path) in line for line in verify_store(finished))


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_record_is_not_trusted(finished, damage):
    scratch, teacher, student = runs()[:3]
    for name in ("record.json", ".record.json"):
        damage(finished.run(teacher.name) / name, finished.run(scratch.name) / name)
    shutil.rmtree(finished.run(student.name))
    for run in (teacher, student):
        with pytest.raises(StoreError, match="remove"):
            train_run(run.spec, [], finished)
    assert any(teacher.name in line for line in verify_store(finished))


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("what", ["state", "checkpoint"])
def test_a_damaged_state_is_not_gone_on_from(store, tmp_path, damage, what, finished_state):
    run = runs(LONG)[1]
    shutil.copytree(finished_state, store.run(run.name))
    path = store.run(run.name) / {"state": ".state.safetensors"}.get(
        what, "checkpoints/epoch-0000.safetensors"
    )
    other = do(runs()[0], store) / "weights.safetensors"
    damage(path, other)
    with pytest.raises(StoreError, match="remove") as actual:
        train_run(run.spec, [0], store)
    assert str(path) in str(actual.value)
    assert not list(store.root.rglob("exploded"))
    if damage is foreign:  # whoever moved it there may have no other: it is said, and left
        left = ownership.foreign_reason(store.run(run.name), "runs")
        assert left is not None and path.relative_to(store.run(run.name)).as_posix() in left
    else:
        assert any(str(path) in line for line in verify_store(store))


@pytest.mark.parametrize("damage", [truncate, flip, empty, foreign])
def test_damaged_outputs_are_not_scored(tmp_path, pair, damage):
    plan, source = pair
    store = copied(source, tmp_path)
    ensemble = next(iter(plan.ensembles.values()))
    first, second = (store.run(run.name) / "outputs.safetensors" for run, _ in ensemble.members[:2])
    damage(first, second)
    with pytest.raises(StoreError, match="remove") as actual:
        eval_ensemble(ensemble.spec, store)
    assert str(first) in str(actual.value)
    assert not (store.ensemble(ensemble.name) / "record.json").exists()
    assert (store.ensemble(ensemble.name) / "failure.json").exists()


@pytest.mark.parametrize("damage", [truncate, flip, empty, foreign])
def test_damaged_data_is_not_trained_on(store, damage):
    images = next(store.root.glob("data/*/train_images.npy"))
    damage(images, images.with_name("test_images.npy"))
    with pytest.raises(KdpipeError, match="remove the") as actual:
        train_run(runs()[0].spec, [], store)
    assert str(images.parent) in str(actual.value)
    assert any(str(images.parent) in line for line in verify_store(store))
