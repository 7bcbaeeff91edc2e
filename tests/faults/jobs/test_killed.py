"""Killed at any moment, a run is started again and ends in the same bytes."""

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time

import pytest
import torch
from helpers import tiny_study
from helpers.trained_runs import LONG, do, runs, stripped

from kdpipe.devices import determinism, host
from kdpipe.errors import InterruptedRun
from kdpipe.jobs import train
from kdpipe.runs import run_folder
from kdpipe.runs import store as run_store
from kdpipe.runs.files import read_arrays, write_arrays
from kdpipe.runs.integrity.verify import verify_store
from kdpipe.training.checkpoint import SAVE_ENV, SAVE_SECONDS

KILLS = int(os.environ.get("KDPIPE_KILLS", "20"))
RECIPES = {
    "one-cycle": {
        "recipe": {
            "optimiser": "adamw", "lr": 0.003, "annealing": "one-cycle", "warmup": 0.2,
            "weight_decay_on": "weights", "clip_norm": 1.0, "label_smoothing": 0.1, "ema": 0.9,
        }
    },
    "mixed": {
        "recipe": {"nesterov": True, "annealing": "cosine", "mixup": 0.2, "cutmix": 1.0, "ema": 0.9}
    },
    "trivial": {"data": {"augment": {"policy": "trivial"}, "erase": {"probability": 0.5}}},
    "rand": {
        "data": {"flip": True, "augment": {"policy": "rand", "operations": 2, "magnitude": 9}},
        "recipe": {"ema": 0.9, "annealing": "cosine"},
    },
}  # fmt: skip


def test_killed_at_any_moment_it_ends_in_the_same_bytes(store, tmp_path, warm, unkilled):
    run, chance = runs(LONG)[1], random.Random(0)
    command = tiny_study.train(run, [0, 25])
    kills = 0
    while kills < KILLS:
        child = warm.start(*command, cwd=tmp_path)
        time.sleep(chance.uniform(0.02, 0.5))
        child.kill()
        if child.wait() == 0:  # too late: it was done
            assert tiny_study.exact(store.run(run.name)) == tiny_study.exact(unkilled.run(run.name))
            shutil.rmtree(store.run(run.name))
            continue
        kills += 1
    assert warm.run(*command, cwd=tmp_path).code == 0
    assert tiny_study.exact(store.run(run.name)) == tiny_study.exact(unkilled.run(run.name))
    assert not list(verify_store(store))  # nor is anything left behind


def test_killed_seconds_after_its_last_save_it_ends_in_the_same_bytes(
    store, tmp_path, warm, unkilled
):
    """By default the state is saved after the first epoch, and at the kept checkpoint."""
    run = runs(LONG)[1]
    command = tiny_study.train(run, [0, 25])
    state = store.run(run.name) / run_folder.STATE_FILE
    for epoch in (1, 25):
        child = warm.start(*command, cwd=tmp_path, **{SAVE_ENV: str(SAVE_SECONDS)})
        while (saved_epoch(state) or 0) < epoch:
            assert not child.ends_within(0.005), child.output
        time.sleep(0.1)  # epochs that are in no state
        child.kill()
        child.wait()
        assert epoch > 1 or saved_epoch(state) == 1
    assert warm.run(*command, cwd=tmp_path).code == 0
    assert tiny_study.exact(store.run(run.name)) == tiny_study.exact(unkilled.run(run.name))
    assert not list(verify_store(store))


@pytest.mark.parametrize("name", RECIPES)
def test_killed_in_a_recipe_of_today_a_student_ends_in_the_same_bytes(name, store, tmp_path, warm):
    """Taught live, with an average of the weights or without."""
    changes = RECIPES[name]
    drops = [] if "annealing" in changes.get("recipe", {}) else [8]
    recipe = changes.get("recipe", {}) | {"epochs": 24, "drop_epochs": drops}
    plan = tiny_study.planned(**changes | {"recipe": recipe})
    _, teacher, student = runs(plan)
    do(teacher, store)
    command = tiny_study.train(student, [0, 9])
    assert warm.run(*command, cwd=tmp_path).code == 0
    unkilled = tiny_study.exact(store.run(student.name))
    assert unkilled
    shutil.rmtree(store.run(student.name))
    state = store.run(student.name) / ".state.safetensors"
    for moment in range(KILLS // 10):  # a little behind an epoch that is in the state
        epoch, child = saved_epoch(state), warm.start(*command, cwd=tmp_path)
        while saved_epoch(state) == epoch:
            assert not child.ends_within(0.005), child.output
        time.sleep(0.005 * moment)
        child.kill()
        child.wait()
    assert state.exists(), "it was done before it was killed"
    assert warm.run(*command, cwd=tmp_path).code == 0
    assert tiny_study.exact(store.run(student.name)) == unkilled


def test_killed_while_a_file_is_written(store, tmp_path, unkilled):
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
                if target == run_folder.progress_path(store.run(run.name)):  # as often as it likes
                    return rename(source, target)
                written.append(target)
                if len(written) > moment and when == "before":
                    shutil.copy(source, str(source) + "x.tmp")  # what a dead process leaves
                    raise Killed
                rename(source, target)
                if len(written) > moment:
                    raise Killed

            with pytest.MonkeyPatch.context() as patch, contextlib.suppress(Killed):
                patch.setattr(os, "replace", replace)
                do(run, store, [0, 25])
    do(run, store, [0, 25])
    assert tiny_study.exact(store.run(run.name)) == tiny_study.exact(unkilled.run(run.name))
    assert stripped(tiny_study.record(store, run)) == stripped(tiny_study.record(unkilled, run))


def saved_epoch(state):
    return read_arrays(state)[1]["epoch"] if state.exists() else None


def test_sigterm_saves_within_seconds_and_leaves_with_75(store, tmp_path, warm, unkilled):
    run = runs(LONG)[1]
    command = tiny_study.train(run, [0, 25])
    state = store.run(run.name) / ".state.safetensors"
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
    assert tiny_study.exact(store.run(run.name)) == tiny_study.exact(unkilled.run(run.name))


def interrupted(run, store, after=3):
    """A run that was told to end behind an epoch."""
    from kdpipe.training import loop

    keep = loop._save_checkpoint

    def interrupt(folder, digest, model, epoch, remaining):
        keep(folder, digest, model, epoch, remaining)
        if epoch == after:
            signal.raise_signal(signal.SIGTERM)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "_save_checkpoint", interrupt)
        with pytest.raises(InterruptedRun):
            do(run, store)


def test_a_record_names_every_machine_that_its_run_had(store):
    run = runs(LONG)[1]
    had = [("Xeon", "2.13.0"), ("Xeon", "2.14.1"), ("EPYC", "2.14.1"), ("EPYC", "2.14.1")]
    for number, (name, version) in enumerate(had, 1):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(host, "read_cpu_model", lambda name=name: name)
            patch.setattr(torch, "__version__", version)
            if number < len(had):
                interrupted(run, store, after=number)
            else:
                do(run, store)
    record = tiny_study.record(store, run)
    assert record["device"]["name"] == "Xeon, then EPYC"
    assert record["versions"]["torch"] == "2.13.0, then 2.14.1"


def test_of_a_gpu_its_driver_is_named_too(store):
    run = runs(LONG)[1]
    about = {"name": "A100", "capability": "8.0", "cuda": "13.0", "cudnn": "92400"}
    for number, driver in enumerate(("580.65", "590.10"), 1):
        facts = about | {"driver": driver}
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(
                determinism, "get_machine_info", lambda _, f=facts: {"torch": "2.14.1", **f}
            )
            fixed = {"type": "cuda", "tf32": False, **facts}
            patch.setattr(train, "describe_device", lambda *_, f=fixed: dict(f))
            interrupted(run, store, after=number) if number == 1 else do(run, store)
    device = tiny_study.record(store, run)["device"]
    assert device == {"type": "cuda", "tf32": False, **about, "driver": "580.65, then 590.10"}


def test_a_state_of_an_older_version_says_where_it_was_trained(store):
    """It has pairs of a name and torch's version."""
    run = runs(LONG)[1]
    interrupted(run, store)
    state = store.run(run.name) / ".state.safetensors"
    arrays, about = read_arrays(state)
    write_arrays(state, arrays, about | {"machines": [["Xeon", "2.13.0"]]})
    do(run, store)
    record = tiny_study.record(store, run)
    assert record["device"]["name"] == f"Xeon, then {host.read_cpu_model()}"
    assert record["versions"]["torch"] == f"2.13.0, then {torch.__version__}"


def test_the_seconds_of_a_resumed_run_are_those_of_all_its_sessions(store):
    run = runs(LONG)[1]
    interrupted(run, store)
    state = store.run(run.name) / ".state.safetensors"
    arrays, about = read_arrays(state)
    assert about["epoch"] == 3 and about["seconds"] > 0
    write_arrays(state, arrays, about | {"seconds": 1000.0})  # as if it had been a long one
    began = time.monotonic()
    do(run, store)
    session = time.monotonic() - began
    seconds = tiny_study.record(store, run)["seconds"]
    assert 1000 < seconds["training"] < seconds["total"] < 1000 + session
    assert seconds["training"] + seconds["evaluation"] <= seconds["total"] + 0.002  # rounded


def test_sigterm_ends_the_real_command_with_75(store, tmp_path):
    """And where torch has not been imported yet, or a twin is waited for."""
    run = runs(LONG)[1]
    command = [sys.executable, "-m", "kdpipe", *tiny_study.train(run)]
    with run_store.lock_run_folder(store.run(run.name)):
        child = subprocess.Popen(
            command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert "another process works on it" in child.stdout.readline()
        child.terminate()
        _, message = child.communicate(timeout=10)
    assert child.returncode == 75
    assert message.startswith("interrupted: SIGTERM")
    assert "Traceback" not in message


def test_twins_on_one_run(store, tmp_path, warm, unkilled):
    run = runs(LONG)[1]
    twins = [warm.start(*tiny_study.train(run, [0, 25]), cwd=tmp_path) for _ in range(3)]
    assert [twin.wait() for twin in twins] == [0, 0, 0]
    message = sorted("finished before" in twin.output for twin in twins)
    assert message == [False, True, True]
    assert tiny_study.exact(store.run(run.name)) == tiny_study.exact(unkilled.run(run.name))


def test_the_lock_dies_with_its_process(store, tmp_path, warm, unkilled):
    run = runs(LONG)[1]
    first = warm.start(*tiny_study.train(run, [0, 25]), cwd=tmp_path)
    time.sleep(0.4)
    second = warm.start(*tiny_study.train(run, [0, 25]), cwd=tmp_path)
    time.sleep(0.2)
    first.kill()
    assert second.wait() == 0
    assert tiny_study.exact(store.run(run.name)) == tiny_study.exact(unkilled.run(run.name))
