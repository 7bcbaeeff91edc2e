"""Images without labels read from their files: however many read them, whatever kills the run."""

import shutil

import pytest
from helpers import synthetic_data, tiny_study
from helpers.killing import AT, TO

from kdpipe.config import load
from kdpipe.data.imagefolder import unlabelled_builder
from kdpipe.data.imagefolder.custom_card import make_card
from kdpipe.jobs.prepare import prepare_dataset
from kdpipe.jobs.train import train_run
from kdpipe.plan import planner
from kdpipe.runs.store import Store
from kdpipe.training.checkpoint import SAVE_ENV

METHOD = {"unlabelled": 12, "stop_epoch": 2, "ce_weight_after_stop": 0.5}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Photographs that stream and more without labels; teacher and student, and the student."""
    folder = tmp_path_factory.mktemp("streamed")
    synthetic_data.photographs(folder / "mine", ["ant", "bee", "cat"], 60, 12)
    synthetic_data.photographs(folder / "others", ["dog"], 18, 0)
    shutil.move(folder / "others/train/dog", folder / "more")
    make_card(folder / "mine", "mine", None, stream=16)
    data = {"name": "mine", "path": "mine", "unlabelled": "more", "train_size": 48}
    data |= {"validation": 12, "mean": [0.5] * 3, "std": [0.25] * 3, "pad": 0, "crop": {}}
    content = tiny_study.study(
        data=data, methods={"kd": METHOD}, recipe={"epochs": 3, "batch_size": 12}
    )
    study = load.validate_study(content, "tiny", folder, require_cards=False)
    store = Store(folder / "results")
    unlabelled_builder.make_unlabelled_card(study.data, study.splits, "tiny.yaml", store)
    data = study.data
    prepare_dataset(data.name, store, data.path, data.card, data.unlabelled)
    run = list(planner.build_plan(load.validate_study(content, "tiny", folder)).runs.values())[-1]
    assert run.spec.method["unlabelled"] == 12
    for each in (*run.parents, run):
        train_run(each.spec, [], store)
    return store, run


def without_the_student(world, folder) -> tuple[Store, list[str]]:
    """A copy, and the command that trains the student there."""
    store, run = world
    shutil.copytree(store.root, folder / "results")
    copy = Store(folder / "results")
    shutil.rmtree(copy.run(run.name))
    return copy, tiny_study.train(run)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_however_many_processes_read_the_bytes_are_the_same(world, workers, tmp_path, warm):
    store, run = world
    copy, command = without_the_student(world, tmp_path)
    process = warm.run(*command, "--workers", str(workers), cwd=tmp_path)
    assert process.code == 0, process.output
    assert tiny_study.exact(copy.run(run.name)) == tiny_study.exact(store.run(run.name))


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
def test_killed_between_epochs_it_ends_in_the_same_bytes(world, workers, tmp_path, warm):
    store, run = world
    (tmp_path / "counted").mkdir()
    _, command = without_the_student(world, tmp_path / "counted")
    command += ["--workers", str(workers)]
    always = {SAVE_ENV: "0"}
    warm.run(*command, cwd=tmp_path / "counted", **always, **{TO: str(tmp_path / "calls")})
    calls = (tmp_path / "calls").read_text().splitlines()
    states = [n for n, call in enumerate(calls) if call.startswith("replace ") and ".state" in call]
    assert len(states) == 3  # one an epoch
    copy, _ = without_the_student(world, tmp_path)
    moments = [f"{states[0]} after", f"{states[0]} before", f"{states[0] + 1} before"]
    for moment in moments[: 1 if workers else None]:  # each start of a worker imports torch
        killed = warm.run(*command, cwd=tmp_path, **always, **{AT: moment})
        assert killed.code is None, killed.output
    process = warm.run(*command, cwd=tmp_path)
    assert process.code == 0, process.output
    assert tiny_study.exact(copy.run(run.name)) == tiny_study.exact(store.run(run.name))
