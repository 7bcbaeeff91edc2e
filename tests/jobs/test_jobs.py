"""Nothing is lost and nothing wrong gets in: killed processes, damaged files, outcomes, faults."""

import contextlib
import errno
import itertools
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from scipy.special import softmax

from kdpipe import identity
from kdpipe.cli.main import main
from kdpipe.devices import processor
from kdpipe.errors import Diverged, Interrupted, KdpipeError, StoreError
from kdpipe.jobs.record import summary
from kdpipe.jobs.score import score
from kdpipe.jobs.train import train
from kdpipe.plan import status
from kdpipe.plan.items import Run
from kdpipe.results import marks, records, store
from kdpipe.results.files import read_arrays, write_arrays
from kdpipe.results.store import Store
from kdpipe.specs.made import ensemble_name
from kdpipe.upkeep.verify import faults

KILLS = int(os.environ.get("KDPIPE_KILLS", "20"))
LONG = tiny.planned(recipe={"epochs": 40, "drop_epochs": [20]})
SHORT = tiny.planned(main={"stops": ["full", "checkpoint 1"]})


def runs(made=SHORT) -> list[Run]:
    """Scratch student, teacher, students."""
    return list(made.runs.values())


def do(run, place, keep=()):
    train(run.spec, sorted(keep), place)
    return place.run(run.name)


def copied(source: Store, folder: Path) -> Store:
    shutil.copytree(source.root, folder / "results")
    return Store(folder / "results")


@pytest.fixture(scope="session")
def short(shared):
    """SHORT, finished."""

    def build(folder):
        place = tiny.results(folder, shared)
        for run in runs():
            do(run, place, SHORT.keep.get(run.name, ()))

    return Store(tiny.once(shared / "short", build) / "results")


@pytest.fixture(scope="session")
def unkilled(shared):
    """A teacher of 40 epochs with two checkpoints, never interrupted."""

    def build(folder):
        done = do(runs(LONG)[1], tiny.results(folder, shared), [0, 25])
        assert len(list(done.glob("best-*"))) == 2  # its best epoch is not the last

    return Store(tiny.once(shared / "unkilled", build) / "results")


@pytest.fixture
def finished(short, tmp_path):
    return copied(short, tmp_path)


# --- killed and started again


def test_killed_at_any_moment_it_ends_in_the_same_bytes(place, tmp_path, warm, unkilled):
    run, chance = runs(LONG)[1], random.Random(0)
    command = tiny.train(run, [0, 25])
    kills = 0
    while kills < KILLS:
        child = warm.start(*command, cwd=tmp_path)
        time.sleep(chance.uniform(0.02, 0.5))
        child.kill()
        if child.wait() == 0:  # too late: it was done
            assert tiny.exact(place.run(run.name)) == tiny.exact(unkilled.run(run.name))
            shutil.rmtree(place.run(run.name))
            continue
        kills += 1
    assert warm.run(*command, cwd=tmp_path).code == 0
    assert tiny.exact(place.run(run.name)) == tiny.exact(unkilled.run(run.name))
    assert not list(faults(place))  # nor is anything left behind


def stripped(record):
    return {
        key: record[key] for key in ("digest", "status", "last", "best", "checkpoints", "files")
    }


def test_killed_while_a_file_is_written(place, tmp_path, unkilled):
    """In front of and behind every rename of a run: 2 x the number of files it writes."""
    run = runs(LONG)[1]
    rename = os.replace
    written = []

    class Killed(BaseException):
        pass

    for moment in (0, 1, 2, 25, 26, 27, 28, 45, 46, 47, 48, 49, 50):  # epochs, checkpoints, the end
        for when in ("before", "after"):
            written.clear()

            def replace(source, target, moment=moment, when=when):
                written.append(target)
                if len(written) > moment and when == "before":
                    shutil.copy(source, str(source) + "x.tmp")  # what a dead process leaves
                    raise Killed
                rename(source, target)
                if len(written) > moment:
                    raise Killed

            with pytest.MonkeyPatch.context() as patch, contextlib.suppress(Killed):
                patch.setattr(os, "replace", replace)
                do(run, place, [0, 25])
    do(run, place, [0, 25])
    assert tiny.exact(place.run(run.name)) == tiny.exact(unkilled.run(run.name))
    assert stripped(tiny.record(place, run)) == stripped(tiny.record(unkilled, run))


def saved_epoch(state):
    return read_arrays(state)[1]["epoch"] if state.exists() else None


def test_sigterm_saves_within_seconds_and_leaves_with_75(place, tmp_path, warm, unkilled):
    run = runs(LONG)[1]
    command = tiny.train(run, [0, 25])
    state = place.run(run.name) / ".state.safetensors"
    steps = set()
    for moment in range(6):
        epoch = saved_epoch(state)
        child = warm.start(*command, cwd=tmp_path)
        while saved_epoch(state) == epoch:
            time.sleep(0.01)
        time.sleep(0.01 * moment)
        began = time.monotonic()
        child.kill(signal.SIGTERM)
        assert child.wait() == 75, child.output
        assert time.monotonic() - began < 5
        assert "interrupted: SIGTERM; the state is saved" in child.output
        steps.add(read_arrays(state)[1]["step"])
    assert steps - {0}, "none of them struck within an epoch"
    assert warm.run(*command, cwd=tmp_path).code == 0
    assert tiny.exact(place.run(run.name)) == tiny.exact(unkilled.run(run.name))


def interrupted(run, place, after=3):
    """A run that was told to end behind an epoch."""
    from kdpipe.training import loop

    keep = loop._keep

    def interrupt(folder, digest, model, epoch, kept):
        keep(folder, digest, model, epoch, kept)
        if epoch == after:
            signal.raise_signal(signal.SIGTERM)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "_keep", interrupt)
        with pytest.raises(Interrupted):
            do(run, place)


def test_a_record_names_every_machine_that_its_run_had(place):
    run = runs(LONG)[1]
    had = [("Xeon", "2.13.0"), ("Xeon", "2.14.1"), ("EPYC", "2.14.1"), ("EPYC", "2.14.1")]
    for number, (name, version) in enumerate(had, 1):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(processor, "name", lambda name=name: name)
            patch.setattr(torch, "__version__", version)
            if number < len(had):
                interrupted(run, place, after=number)
            else:
                do(run, place)
    record = tiny.record(place, run)
    assert record["device"]["name"] == "Xeon, then EPYC"
    assert record["versions"]["torch"] == "2.13.0, then 2.14.1"


def test_the_seconds_of_a_resumed_run_are_those_of_all_its_sessions(place):
    run = runs(LONG)[1]
    interrupted(run, place)
    state = place.run(run.name) / ".state.safetensors"
    arrays, about = read_arrays(state)
    assert about["epoch"] == 3 and about["seconds"] > 0
    write_arrays(state, arrays, about | {"seconds": 1000.0})  # as if it had been a long one
    began = time.monotonic()
    do(run, place)
    session = time.monotonic() - began
    seconds = tiny.record(place, run)["seconds"]
    assert 1000 < seconds["training"] < seconds["total"] < 1000 + session
    assert seconds["training"] + seconds["evaluation"] <= seconds["total"] + 0.002  # rounded


def test_sigterm_ends_the_real_command_with_75(place, tmp_path):
    """And where torch has not been imported yet, or a twin is waited for."""
    run = runs(LONG)[1]
    command = [sys.executable, "-m", "kdpipe", *tiny.train(run)]
    with store.only_one(place.run(run.name)):
        child = subprocess.Popen(
            command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert "another process works on it" in child.stdout.readline()
        child.terminate()
        _, said = child.communicate(timeout=10)
    assert child.returncode == 75
    assert said.startswith("interrupted: SIGTERM")
    assert "Traceback" not in said


def test_twins_on_one_run(place, tmp_path, warm, unkilled):
    run = runs(LONG)[1]
    twins = [warm.start(*tiny.train(run, [0, 25]), cwd=tmp_path) for _ in range(3)]
    assert [twin.wait() for twin in twins] == [0, 0, 0]
    said = sorted("finished before" in twin.output for twin in twins)
    assert said == [False, True, True]
    assert tiny.exact(place.run(run.name)) == tiny.exact(unkilled.run(run.name))


def test_the_lock_dies_with_its_process(place, tmp_path, warm, unkilled):
    run = runs(LONG)[1]
    first = warm.start(*tiny.train(run, [0, 25]), cwd=tmp_path)
    time.sleep(0.4)
    second = warm.start(*tiny.train(run, [0, 25]), cwd=tmp_path)
    time.sleep(0.2)
    first.kill()
    assert second.wait() == 0
    assert tiny.exact(place.run(run.name)) == tiny.exact(unkilled.run(run.name))


# --- finished before, and one more checkpoint


def test_a_finished_run_is_not_trained_again(finished, monkeypatch):
    run = runs()[1]
    before = (finished.run(run.name) / "record.json").read_bytes()
    (finished.run(run.name) / "record.json").unlink()  # as Snakemake does before a job
    monkeypatch.setitem(sys.modules, "kdpipe.training.loop", None)  # an import of it would fail
    assert "finished before" in train(run.spec, [1], finished)
    assert (finished.run(run.name) / "record.json").read_bytes() == before


def test_either_name_of_a_record_is_enough(finished):
    for run in runs():
        (finished.run(run.name) / ".record.json").unlink()
    student = runs()[2]
    shutil.rmtree(finished.run(student.name))
    assert "validation error" in train(student.spec, [], finished)


def test_a_checkpoint_asked_for_later_has_the_same_bytes(place, tmp_path, warm, unkilled):
    run = runs(LONG)[1]
    do(run, place)
    first = tiny.exact(place.run(run.name))
    record = tiny.record(place, run)
    chance = random.Random(1)
    for _ in range(4):  # killed in the middle of the replay, it loses nothing
        child = warm.start(*tiny.train(run, [0, 25]), cwd=tmp_path)
        time.sleep(chance.uniform(0.1, 0.5))
        child.kill()
        child.wait()
        kept = records.finished(place.run(run.name), run.digest)
        assert kept["status"] == "done" and kept["last"] == record["last"]
        assert tiny.exact(place.run(run.name)).items() >= first.items()
    assert warm.run(*tiny.train(run, [0, 25]), cwd=tmp_path).code == 0
    assert tiny.exact(place.run(run.name)) == tiny.exact(unkilled.run(run.name))
    again, at_first = tiny.record(place, run), tiny.record(unkilled, run)
    assert stripped(again) == stripped(at_first)
    assert again["seconds"] == record["seconds"]  # of the training, not of the replay


def test_a_replay_that_diverges_does_not_undo_the_run(finished, monkeypatch):
    from kdpipe.training import loop

    run = runs()[1]
    before = (finished.run(run.name) / "record.json").read_bytes()

    def diverges(*_):
        raise Diverged("the loss is nan")

    monkeypatch.setattr(loop, "train", diverges)
    with pytest.raises(StoreError, match="its record stays"):
        train(run.spec, [0, 1], finished)
    assert (finished.run(run.name) / "record.json").read_bytes() == before


def test_a_replay_that_goes_another_way_is_refused(finished, monkeypatch):
    from kdpipe.learning.recipe import learning_rate
    from kdpipe.training import loop

    run = runs()[0]
    before = {path: path.read_bytes() for path in finished.run(run.name).rglob("*.*")}
    real = learning_rate
    monkeypatch.setattr(loop, "learning_rate", lambda *of: 3 * real(*of))
    with pytest.raises(StoreError, match=r"goes another way.*remove the folder"):
        train(run.spec, [1], finished)
    after = {path: path.read_bytes() for path in finished.run(run.name).rglob("*.*")}
    new = {path.name for path in after.keys() - before.keys()}
    assert not any("epoch-" in name for name in new), "no checkpoint of another training"
    assert before.items() <= after.items()


def test_a_checkpoint_asked_for_in_the_middle_starts_the_run_anew(place, tmp_path, warm, unkilled):
    run = runs(LONG)[1]
    child = warm.start(*tiny.train(run, [25]), cwd=tmp_path)
    time.sleep(0.5)
    child.kill()
    child.wait()
    assert warm.run(*tiny.train(run, [0, 25]), cwd=tmp_path).code == 0
    assert tiny.exact(place.run(run.name)) == tiny.exact(unkilled.run(run.name))


# --- damaged and foreign files


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
        if (run.spec["teacher"]["members"][0]["epoch"] == 1) == name.startswith("c")
    ]
    path = finished.run(teacher.name) / name
    damage(path, finished.run(scratch.name) / "weights.safetensors")
    shutil.rmtree(finished.run(member[0].name))
    with pytest.raises(StoreError) as found:
        train(member[0].spec, [], finished)
    assert str(path) in str(found.value) and "remove the folder" in str(found.value)
    assert not list(finished.root.rglob("exploded"))
    failure = json.loads((finished.run(member[0].name) / "failure.json").read_text())
    assert failure["reason"] == str(found.value)
    assert any(str(path) in line for line in faults(finished))


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_record_is_not_trusted(finished, damage):
    scratch, teacher, student = runs()[:3]
    for name in ("record.json", ".record.json"):
        damage(finished.run(teacher.name) / name, finished.run(scratch.name) / name)
    shutil.rmtree(finished.run(student.name))
    for run in (teacher, student):
        with pytest.raises(StoreError, match="remove"):
            train(run.spec, [], finished)
    assert any(teacher.name in line for line in faults(finished))


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("what", ["state", "checkpoint"])
def test_a_damaged_state_is_not_gone_on_from(place, tmp_path, damage, what, finished_state):
    run = runs(LONG)[1]
    shutil.copytree(finished_state, place.run(run.name))
    path = place.run(run.name) / {"state": ".state.safetensors"}.get(
        what, "checkpoints/epoch-0000.safetensors"
    )
    other = do(runs()[0], place) / "weights.safetensors"
    damage(path, other)
    with pytest.raises(StoreError, match="remove") as found:
        train(run.spec, [0], place)
    assert str(path) in str(found.value)
    assert not list(place.root.rglob("exploded"))
    if damage is foreign:  # whoever moved it there may have no other: it is said, and left
        left = marks.foreign(place.run(run.name), "runs")
        assert left is not None and path.relative_to(place.run(run.name)).as_posix() in left
    else:
        assert any(str(path) in line for line in faults(place))


@pytest.fixture(scope="session")
def finished_state(shared, warm):
    """The folder of a run that was cut off after some epochs."""

    def build(folder):
        place = tiny.results(folder, shared)
        run = runs(LONG)[1]
        child = warm.start(*tiny.train(run, [0]), cwd=folder)
        while not (place.run(run.name) / ".state.safetensors").exists():
            time.sleep(0.02)
        child.kill(signal.SIGTERM)
        assert child.wait() == 75

    made = tiny.once(shared / "cut-off", build)
    return Store(made / "results").run(runs(LONG)[1].name)


@pytest.mark.parametrize("damage", [truncate, flip, empty, foreign])
def test_damaged_outputs_are_not_scored(tmp_path, pair, damage):
    made, source = pair
    place = copied(source, tmp_path)
    ensemble = next(iter(made.ensembles.values()))
    first, second = (place.run(run.name) / "outputs.safetensors" for run, _ in ensemble.members[:2])
    damage(first, second)
    with pytest.raises(StoreError, match="remove") as found:
        score(ensemble.spec, place)
    assert str(first) in str(found.value)
    assert not (place.ensemble(ensemble.name) / "record.json").exists()
    assert (place.ensemble(ensemble.name) / "failure.json").exists()


@pytest.mark.parametrize("damage", [truncate, flip, empty, foreign])
def test_damaged_data_is_not_trained_on(place, damage):
    images = next(place.root.glob("data/*/train_images.npy"))
    damage(images, images.with_name("test_images.npy"))
    with pytest.raises(KdpipeError, match="remove the") as found:
        train(runs()[0].spec, [], place)
    assert str(images.parent) in str(found.value)
    assert any(str(images.parent) in line for line in faults(place))


# --- outcomes and faults


def test_a_diverged_run_says_where_and_its_students_are_skipped(place, tmp_path, warm):
    made = tiny.planned(network_recipes={"wrn10-1": {"lr": 99.0, "epochs": 30, "drop_epochs": []}})
    scratch, teacher, student = runs(made)
    for run in (scratch, teacher):
        assert warm.run(*tiny.train(run, [0]), cwd=tmp_path).code == 0
    record = tiny.record(place, teacher)
    assert record["status"] == "diverged"
    assert "epoch" in record["reason"]
    script = (
        "import sys; from kdpipe.cli.main import main; code = main(sys.argv[1:]); "
        "print(code, 'torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *tiny.train(student)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.stdout.splitlines()[-1] == "0 False", done.stderr
    skipped = tiny.record(place, student)
    assert skipped["status"] == "skipped"
    assert teacher.name in skipped["reason"] and record["reason"] in skipped["reason"]
    assert "finished before" in train(teacher.spec, [0], place)  # never retried


def test_a_loss_that_is_not_finite_names_epoch_step_and_last_loss(place, monkeypatch):
    from kdpipe.training.objective import Objective

    loss, calls = Objective.parts, []

    def spoiled(*given):
        calls.append(1)
        parts = loss(*given)
        return (
            {key: value * float("nan") for key, value in parts.items()}
            if len(calls) == 7
            else parts
        )

    monkeypatch.setattr(Objective, "parts", spoiled)
    do(runs()[0], place)
    record = tiny.record(place, runs()[0])
    assert record["status"] == "diverged"
    assert record["reason"].startswith("the loss is nan in epoch 2, step 3 (last finite loss: 2.")


def test_weights_that_are_not_finite_at_the_end_are_diverged(place, monkeypatch):
    """The last step's loss is finite, what it does to the weights is not."""
    from kdpipe.networks import models
    from kdpipe.training import curve

    note, calls = curve.note, []

    def spoils_after(*given):
        note(*given)
        calls.append(1)
        if len(calls) == 8:
            built[-1].linear.weight.data.fill_(float("inf"))

    built, fresh = [], models.fresh
    monkeypatch.setattr(models, "fresh", lambda spec, code: built.append(fresh(spec)) or built[-1])
    monkeypatch.setattr(curve, "note", spoils_after)
    do(runs()[0], place)
    record = tiny.record(place, runs()[0])
    assert (record["status"], record["reason"]) == (
        "diverged",
        "the outputs on val are not finite after epoch 2",
    )


def test_a_skipped_student_is_trained_when_its_parent_has_come(finished):
    student = runs()[2]
    record = tiny.record(finished, student)
    shutil.rmtree(finished.run(student.name))
    record.pop("sha256")
    records.publish(finished.run(student.name), record | {"status": "skipped", "reason": "was"})
    assert "validation error" in train(student.spec, [], finished)
    assert tiny.record(finished, student)["status"] == "done"


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: tried 64 bytes"),
        RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    ],
)
def test_out_of_memory_says_what_to_change(place, monkeypatch, error, capsys):
    from kdpipe.training import loop

    def fails(*_):
        raise error

    monkeypatch.setattr(loop, "train", fails)
    code = main(tiny.train(runs()[0], results=str(place.root)))
    said = capsys.readouterr().err
    assert code not in (0, 75)
    assert "out of memory" in said and "batch_size 16" in said and "Traceback" not in said
    failure = json.loads((place.run(runs()[0].name) / "failure.json").read_text())
    assert "out of memory" in failure["reason"] and "Traceback" in failure["traceback"]
    assert not (place.run(runs()[0].name) / "record.json").exists()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("CUDA error: uncorrectable ECC error encountered", "a fault of the machine"),
        ("put_ does not have a deterministic implementation, but you set", "kernels: any"),
    ],
)
def test_what_a_gpu_cannot_do_is_no_bug(place, monkeypatch, capsys, text, said):
    from kdpipe.training import loop

    def fails(*_):
        raise RuntimeError(text)

    monkeypatch.setattr(loop, "train", fails)
    run = runs()[0]
    assert main(tiny.train(run, results=str(place.root))) == 2
    heard = capsys.readouterr().err
    assert said in heard and heard.count("\n") == 1 and run.name in heard
    assert said in place.failure("runs", run.name)


def test_a_bug_says_where_its_traceback_is_kept(place, monkeypatch):
    from kdpipe.training import loop

    run = runs()[0]
    monkeypatch.setattr(loop, "train", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError) as found:  # Python prints the traceback and the note
        main(tiny.train(run, results=str(place.root)))
    kept = place.run(run.name) / "failure.json"
    assert found.value.__notes__ == [f"This is a bug of kdpipe; the traceback is also in {kept}"]
    failure = json.loads(kept.read_text())
    assert failure["reason"] == "ZeroDivisionError: division by zero"
    assert "Traceback" in failure["traceback"]


@pytest.mark.parametrize("code", [0, 1, "no licence"])
def test_a_network_that_ends_the_process_is_a_failure_that_is_noted(place, monkeypatch, code):
    from kdpipe.training import loop

    run = runs()[0]
    monkeypatch.setattr(loop, "train", lambda *_: sys.exit(code))
    assert main(tiny.train(run, results=str(place.root))) == 2
    assert f"SystemExit: {code}" in place.failure("runs", run.name)


def test_one_that_ends_it_at_once_too_and_a_child_may_end(place, monkeypatch):
    from kdpipe.training import loop

    def leave(*_):
        if (child := os.fork()) == 0:
            os._exit(7)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
        os._exit(0)

    run, whole = runs()[0], os._exit
    monkeypatch.setattr(loop, "train", leave)
    assert main(tiny.train(run, results=str(place.root))) == 2
    assert "SystemExit: os._exit(0)" in place.failure("runs", run.name)
    assert os._exit is whole


def test_a_failure_is_forgotten_once_the_run_succeeds(place):
    run = runs()[0]
    place.run(run.name).mkdir(parents=True)
    (place.run(run.name) / "failure.json").write_text("{}")
    do(run, place)
    assert not (place.run(run.name) / "failure.json").exists()


@pytest.fixture
def small_disk(tmp_path, shared):
    """A results folder on a disk of 3 MB with the data set on it."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = os.geteuid() == 0 and not subprocess.call(
        ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", disk], stderr=subprocess.DEVNULL
    )
    if not mounted:
        pytest.skip("NOT TESTED: a full disk needs a mount of its own, which needs root")
    yield tiny.results(disk, shared)
    subprocess.check_call(["umount", "--lazy", disk])


def test_disk_full(small_disk, warm, capsys):
    disk = small_disk.root.parent
    scratch, teacher, student = runs()[:3]
    assert warm.run(*tiny.train(scratch), cwd=disk).code == 0
    before = tiny.exact(small_disk.run(scratch.name))
    filler = disk / "filler"
    with contextlib.suppress(OSError), open(filler, "wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    for run in (scratch, teacher):
        child = warm.run(*tiny.train(run, [1]), cwd=disk)
        assert child.code not in (0, None, 75), child.output
        assert child.output.count("\n") == 1 and "Traceback" not in child.output, child.output
        assert os.strerror(errno.ENOSPC) in child.output or "bytes needed" in child.output
    assert tiny.exact(small_disk.run(scratch.name)) == before
    assert not list(disk.rglob("*.tmp"))
    filler.unlink()
    for run in (scratch, teacher, student):
        assert warm.run(*tiny.train(run, [1]), cwd=disk).code == 0
    assert not list(faults(small_disk))


def test_the_plan_warns_of_a_disk_that_is_too_small(tmp_path, monkeypatch, capsys):
    study = str(tiny.write(tmp_path / "study.yaml", tiny.study()))
    monkeypatch.chdir(tmp_path)
    assert main(["plan", study]) == 0
    assert "warning" not in capsys.readouterr().err
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    assert main(["plan", study]) == 0
    said = capsys.readouterr()
    assert "warning: the runs to do write" in said.err and "1 kB free" in said.err


def altered(spec, path, value):
    spec = json.loads(identity.canonical(spec))
    *keys, last = path
    part = spec
    for key in keys:
        part = part[key]
    part[last] = value
    return spec


@pytest.mark.parametrize(
    "path, value",
    [
        (["network", "name"], "../../wrn10-1"),
        (["network", "name"], "wrn10-1/../../../x"),
        (["network", "name"], 7),
        (["data", "name"], "../../../etc/passwd"),
        (["data", "card"], "0" * 64),
        (["seed"], "0/../../../x"),
        (["recipe", "epochs"], "../2"),
        (["teacher", "members", 0, "run"], "../../" * 10 + "etc"),
        (["teacher", "members", 0, "run"], "*" * 64),
        (["teacher", "members", 0, "network"], "../x"),
        (["teacher", "members", 0, "epoch"], "../../x"),
        (["revision", "training"], 99),
        (["method", "revision"], 0),
        (["teacher"], {}),
        (["recipe"], None),
    ],
)
def test_a_hostile_or_foreign_spec_is_refused(tmp_path, capsys, path, value):
    place = Store(tmp_path / "inner" / "results")
    spec = altered(runs()[2].spec, path, value)
    code = main(["train", "--spec", json.dumps(spec), "--results", str(place.root)])
    said = capsys.readouterr().err
    assert code == 2 and said.startswith("kdpipe: ") and "Traceback" not in said
    assert not list(tmp_path.rglob("*")), "something was written"


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"a": NaN}', "[" * 100_000, '"x"'])
@pytest.mark.parametrize("verb", ["train", "score"])
def test_what_is_no_spec_is_refused(tmp_path, capsys, verb, text):
    assert main([verb, "--spec", text, "--results", str(tmp_path / "results")]) == 2
    assert "--spec" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("keep", ["x", "1,,y", "-1", "3", "0,99", "1.5"])
def test_checkpoints_that_are_never_passed_are_refused(finished, capsys, keep):
    run = runs()[1]
    command = [
        "train",
        "--spec",
        identity.canonical(run.spec),
        f"--keep={keep}",
        "--results",
        str(finished.root),
    ]
    before = tiny.exact(finished.run(run.name))
    assert main(command) == 2
    assert "--keep" in capsys.readouterr().err
    assert tiny.exact(finished.run(run.name)) == before


def test_a_student_waits_for_its_teacher(place):
    with pytest.raises(StoreError, match="a parent is missing"):
        train(runs()[2].spec, [], place)
    place.run(runs()[1].name).mkdir(parents=True)
    with pytest.raises(StoreError, match="have to wait"):
        train(runs()[2].spec, [], place)


# --- ensembles


@pytest.fixture(scope="session")
def pair(shared):
    """Ensembles of every kind over few runs: copies, checkpoints, several networks, generations."""
    made = tiny.planned(
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
        place = tiny.results(folder, shared)
        for run in made.runs.values():
            do(run, place, made.keep.get(run.name, ()))

    return made, Store(tiny.once(shared / "pair", build) / "results")


def test_every_kind_of_ensemble_is_scored_as_computed_directly(tmp_path, pair):
    made, source = pair
    place = copied(source, tmp_path)
    assert len(made.ensembles) == 8
    members = [{run.name for run, _ in e.members} for e in made.ensembles.values() if e.seed == 0]
    others = [{run.name for run, _ in e.members} for e in made.ensembles.values() if e.seed == 1]
    assert not set().union(*members) & set().union(*others)  # seeds share no member
    for ensemble in made.ensembles.values():
        score(ensemble.spec, place)
        scored = tiny.record(place, ensemble)
        for reading, split in itertools.product(("last", "best"), ("val", "test")):
            found, probabilities = scored[reading], []
            for run, epoch in ensemble.members:
                folder = place.run(run.name)
                path = folder / "outputs.safetensors"
                if epoch < run.epochs:
                    path = folder / "checkpoints" / f"epoch-{epoch:04d}-outputs.safetensors"
                elif reading == "best" and (folder / "best-outputs.safetensors").exists():
                    path = folder / "best-outputs.safetensors"
                stored = read_arrays(path)[0]
                probabilities.append(softmax(stored[f"{split}_logits"].astype(np.float64), axis=1))
            labels = stored[f"{split}_labels"]
            mean = np.mean(probabilities, axis=0)
            assert found[split]["accuracy"] == pytest.approx((mean.argmax(1) == labels).mean())
            nll = -np.log(mean[np.arange(len(labels)), labels]).mean()
            assert found[split]["nll"] == pytest.approx(nll)


def test_an_ensemble_of_older_members_has_no_best_until_they_have_theirs(tmp_path, pair):
    """Scored again then, under the same name, and never asked for before."""
    made, source = pair
    place = copied(source, tmp_path)
    team = next(
        team
        for team in made.ensembles.values()
        if any(list(place.run(run.name).glob("best-*")) for run, _ in team.members)
    )
    older = next(run for run, _ in team.members if list(place.run(run.name).glob("best-*")))
    folder = place.run(older.name)
    record = tiny.record(place, older)
    record.pop("sha256")
    aside = [path.rename(tmp_path / path.name) for path in folder.glob("best-*")]
    files = {name: facts for name, facts in record["files"].items() if name[:5] != "best-"}
    records.publish(folder, record | {"files": files})
    assert train(older.spec, [], place).endswith("finished before (done)")
    score(team.spec, place)
    before = tiny.record(place, team)
    assert before["best"] is None and before["last"]
    assert status.of(made, place)[team.name] == "done"
    for path in aside:
        path.rename(folder / path.name)
    records.publish(folder, record)
    assert status.of(made, place)[team.name] == "to do"
    score(team.spec, place)
    after = tiny.record(place, team)
    assert after["last"] == before["last"] and after["best"]["test"]["n"] == 700
    assert status.of(made, place)[team.name] == "done"
    for scored in (before, after):
        scored.pop("sha256")
    assert records.disagreement(before, after) is None
    assert records.united(before, after)["best"] == after["best"]
    assert records.united(after, before)["best"] == after["best"]
    assert records.disagreement(after, after | {"best": before["last"]}) == "best"


def test_a_checkpoint_of_a_run_whose_curve_is_gone_is_refused_by_name(pair, tmp_path):
    """With what it would be compared with; nothing is trained."""
    made, source = pair
    place = copied(source, tmp_path)
    run = next(iter(made.runs.values()))
    curve = place.run(run.name) / "curve.jsonl"
    curve.unlink()
    with pytest.raises(KdpipeError, match=f"{curve} is missing, which its record lists: put it"):
        train(run.spec, [0], place)
    record = records.read(place.run(run.name), None)
    files = {name: facts for name, facts in record["files"].items() if name != curve.name}
    records.publish(place.run(run.name), record | {"files": files})
    with pytest.raises(KdpipeError, match=r"its record lists no curve.jsonl, which a training up"):
        train(run.spec, [0], place)
    assert not list(place.run(run.name).glob("checkpoints/epoch-0000*"))


def test_an_ensemble_of_copies_of_one_run_equals_it(finished):
    run = runs()[0]
    spec = {"kind": "ensemble", "revision": 1, "evaluation": 1, "seed": 0}
    spec |= {"members": [{"run": run.digest, "epoch": run.epochs}] * 3}
    score(spec, finished)
    name = ensemble_name(spec, identity.digest(spec))
    found = json.loads((finished.ensemble(name) / "record.json").read_text())
    alone = tiny.record(finished, run)["last"]
    for split in ("val", "test"):
        for key in ("accuracy", "nll", "ece", "entropy", "confidence"):
            assert found["last"][split][key] == pytest.approx(alone[split][key])


def test_members_with_other_images_are_not_averaged(finished):
    other = tiny.planned(data={"split_seed": 1})
    stranger = next(iter(other.runs.values()))
    do(stranger, finished)
    spec = {"kind": "ensemble", "revision": 1, "evaluation": 1, "seed": 0}
    spec |= {"members": [{"run": r.digest, "epoch": 2} for r in (runs()[0], stranger)]}
    with pytest.raises(StoreError, match="different images"):
        score(spec, finished)


def test_an_ensemble_with_a_diverged_member_is_skipped(finished):
    run = runs()[0]
    record = tiny.record(finished, run)
    record.pop("sha256")
    records.publish(finished.run(run.name), record | {"status": "diverged", "reason": "nan"})
    spec = {"kind": "ensemble", "revision": 1, "evaluation": 1, "seed": 0}
    spec |= {"members": [{"run": r.digest, "epoch": 2} for r in runs()[:2]]}
    assert "skipped" in score(spec, finished)


def test_the_line_of_a_job_says_nothing_of_test(place):
    """A study may be registered, and a job knows no study."""
    run = runs()[0]
    train(run.spec, [], place)
    record = tiny.record(place, run)
    said = summary(record)
    error = 100 * (1 - record["last"]["val"]["accuracy"])
    assert f"validation error {error:.2f} %" in said
    record["last"]["test"]["accuracy"] = record["best"]["test"]["accuracy"] = 0.123456
    assert summary(record) == said
    record["last"]["val"] = None
    assert summary(record).startswith(f"{run.name}: done, ")
