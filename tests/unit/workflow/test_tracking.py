"""Curves and records mirrored into a tracker, read back by that tracker's own reader."""

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import search_study, tiny_study
from helpers.snakemake_sandbox import ROOT
from helpers.synthetic_study import write

from kdpipe import registry
from kdpipe.analysis.search import rounds
from kdpipe.cli.main import main
from kdpipe.errors import KdpipeError
from kdpipe.runs import run_folder
from kdpipe.runs.files import write_json
from kdpipe.runs.store import Store, lock_run_folder
from kdpipe.workflow import tracking

CONTENT = tiny_study.study(seeds=[0, 1], recipe={"epochs": 3})


def events(folder: Path, run: str) -> tuple[dict[str, list[tuple[int, float]]], str | None]:
    """The scalars of a run in TensorBoard, and the text of its record."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    there = EventAccumulator(str(folder / "tiny" / run), {"scalars": 0, "tensors": 0}).Reload()
    tags = there.Tags()
    scalars = {tag: [(e.step, e.value) for e in there.Scalars(tag)] for tag in tags["scalars"]}
    texts = there.Tensors("record") if "record" in tags["tensors"] else []
    assert len(texts) <= 1
    return scalars, texts[0].tensor_proto.string_val[0].decode() if texts else None


def experiment(folder: Path, run: str) -> tuple[dict[str, list[tuple[int, float]]], str | None]:
    """The same of MLflow."""
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=folder.absolute().as_uri())
    actual = client.get_experiment_by_name("tiny")
    assert actual is not None
    query = f"tags.`kdpipe.run` = '{run}'"
    (one,) = client.search_runs([actual.experiment_id], query)
    metrics = {
        tag: [(m.step, m.value) for m in client.get_metric_history(one.info.run_id, tag)]
        for tag in one.data.metrics
    }
    return metrics, json.dumps(one.data.params) if one.info.status == "FINISHED" else None


READERS = {"tensorboard": events, "mlflow": experiment}


@pytest.fixture(params=sorted(READERS))
def name(request):
    return request.param


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with a study of which all is done but one run, which has two epochs behind it."""
    monkeypatch.chdir(tmp_path)
    tiny_study.write(tmp_path / "study.yaml", CONTENT)
    plan = tiny_study.planned(seeds=[0, 1], recipe={"epochs": 3})
    write(plan, Store())
    run = list(plan.runs.values())[-1]
    curve = [json.loads(line) for line in run_folder.curve_path(Store().run(run.name)).open()]
    for path in Store().run(run.name).iterdir():
        path.unlink()
    state(run, curve[:2])
    return plan, run, curve


def state(run, curve: list[dict]) -> None:
    progress = {"epoch": len(curve), "curve": curve}
    write_json(run_folder.progress_path(Store().run(run.name)), progress)


def test_every_listed_tracker_is_read_back_here():
    assert set(registry.list_names(tracking.TRACKERS_PACKAGE)) == set(READERS)


def test_curves_and_records_are_as_they_were_left(name, here):
    plan, unfinished, _ = here
    assert main(["track", "study.yaml", "--to", name]) == 0
    first = next(iter(plan.runs.values()))
    metrics, text = READERS[name](Path(name), first.name)
    left = [json.loads(line) for line in run_folder.curve_path(Store().run(first.name)).open()]
    assert len(left) == 3
    for tag in ("train/loss", "val/accuracy", "lr"):
        part, _, key = tag.partition("/")
        expected = [line[part][key] if key else line[part] for line in left]
        assert [step for step, _ in metrics[tag]] == [1, 2, 3]
        assert [value for _, value in metrics[tag]] == pytest.approx(expected, rel=1e-6)
    record = tiny_study.record(Store(), first)
    message = record["last"]["val"]["accuracy"]
    assert metrics["last/val/accuracy"] == [(3, pytest.approx(message, rel=1e-6))]
    assert text is not None and json.loads(text)["network"] == first.network
    assert not any("test" in tag for tag in metrics)
    metrics, text = READERS[name](Path(name), unfinished.name)
    assert [step for step, _ in metrics["train/loss"]] == [1, 2] and text is None


class Killed(BaseException):
    """As if the process had been."""


WRITES = {
    "tensorboard": "tensorboard.summary.writer.event_file_writer.EventFileWriter.add_event",
    "mlflow": "mlflow.store.tracking.file_store.FileStore._log_run_metric",
}


@pytest.mark.parametrize("number", [0, 1, 3, 7, 16])
def test_one_that_was_killed_loses_nothing(name, here, monkeypatch, number):
    """Before any of its writes; what is there already may be there once more."""
    plan, *_ = here
    main(["track", "study.yaml", "--to", name, "--folder", "whole"])
    holder, _, call = WRITES[name].rpartition(".")
    module, _, cls = holder.rpartition(".")
    kind = getattr(importlib.import_module(module), cls)
    real, left = getattr(kind, call), iter(range(number))

    def write_unless_killed(*arguments, **keys):
        if next(left, None) is None:
            raise Killed
        return real(*arguments, **keys)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(kind, call, write_unless_killed)
        main(["track", "study.yaml", "--to", name, "--folder", "again"])
    assert main(["track", "study.yaml", "--to", name, "--folder", "again"]) == 0
    for run in plan.runs:
        (before, message), (after, again) = (
            READERS[name](Path(f), run) for f in ("whole", "again")
        )
        assert message == again
        assert {k: set(v) for k, v in before.items()} == {k: set(v) for k, v in after.items()}


def test_a_second_call_adds_nothing_twice_and_what_is_new_once(name, here, capsys):
    plan, run, curve = here
    main(["track", "study.yaml", "--to", name])
    before = {one: READERS[name](Path(name), one) for one in plan.runs}
    main(["track", "study.yaml", "--to", name])
    assert f"{name}: 0 epochs and 0 records added" in capsys.readouterr().out
    assert {one: READERS[name](Path(name), one) for one in plan.runs} == before
    state(run, curve)
    main(["track", "study.yaml", "--to", name])
    assert f"{name}: 1 epochs and 0 records added" in capsys.readouterr().out
    metrics, _ = READERS[name](Path(name), run.name)
    assert [step for step, _ in metrics["train/loss"]] == [1, 2, 3]


def test_a_second_call_at_the_same_time_is_refused(name, here, capsys):
    """Of the same study; another one may be logged to the same folder."""
    with tracking.lock_tracker(Path(name), "other"):
        assert main(["track", "study.yaml", "--to", name]) == 0
    with tracking.lock_tracker(Path(name), "tiny"):
        assert main(["track", "study.yaml", "--to", name]) == 2
    message = f"another kdpipe track is writing tiny to {name}: wait until it has ended, or stop it"
    assert message in capsys.readouterr().err
    assert main(["track", "study.yaml", "--to", name]) == 0


def test_a_call_that_was_killed_is_gone_on_with(name, here, monkeypatch):
    plan, *_ = here
    _, mirror = tracking.open_tracker(name, Path(name), "tiny")
    add, count = mirror.add_epoch, [0]

    def some(*values):
        count[0] += 1
        if count[0] > 4:
            raise KeyboardInterrupt
        add(*values)

    monkeypatch.setattr(mirror, "add_epoch", some)
    with pytest.raises(KeyboardInterrupt):
        tracking.sync_study(plan, Store(), mirror)
    main(["track", "study.yaml", "--to", name])
    for one in plan.runs:
        metrics, _ = READERS[name](Path(name), one)
        steps = [step for step, _ in metrics["train/loss"]]
        assert steps == list(range(1, len(steps) + 1)) and len(steps) >= 2


class Here:
    """A mirror of this test."""

    def __init__(self):
        self.steps: dict[str, list[int]] = {}
        self.ended: set[str] = set()

    def count_epochs(self, run):
        return len(self.steps.get(run, []))

    def is_finished(self, run):
        return run in self.ended

    def add_epoch(self, run, epoch, values):
        self.steps.setdefault(run, []).append(epoch)

    def add_record(self, run, facts, values):
        self.ended.add(run)

    def close(self):
        pass


def test_a_study_is_followed_to_its_end(here, monkeypatch):
    """What is finished between two looks is there after the next."""
    plan, *_ = here
    looks, to = [], Here()
    monkeypatch.setattr(tracking.time, "sleep", lambda _: write(plan, Store()))
    report = tracking.sync_until_done(lambda: plan, Store(), to, lambda *added: looks.append(added))
    assert report == (0, len(plan.runs))
    assert looks == [(17, 5), (1, 1)]
    assert to.ended == set(plan.runs) and set(map(tuple, to.steps.values())) == {(1, 2, 3)}


def test_a_search_is_followed_through_its_rounds(tmp_path, monkeypatch):
    study, store, to = search_study.study_of(), Store(tmp_path / "results"), Here()
    monkeypatch.setattr(
        tracking.time, "sleep", lambda _: write(rounds.plan_due_runs(study, store), store)
    )
    left, runs = tracking.sync_until_done(
        lambda: rounds.plan_due_runs(study, store), store, to, lambda *_: None
    )
    actual = rounds.get_search_state(study, store)
    assert actual is not None and actual.current_round is None  # it has come to its end
    assert (
        left == 0
        and to.ended == set(rounds.plan_due_runs(study, store).runs)
        and runs == len(to.ended)
    )


def test_a_study_that_was_stopped_is_not_followed_for_ever(here, monkeypatch):
    """One run is to do. While it works, or a Snakemake holds the folder, there may be more."""
    plan, run, _ = here
    lock, slept = Path(".snakemake/locks/0.input.lock"), []
    lock.parent.mkdir(parents=True)
    lock.touch()

    def sleep(_):
        slept.append(1)
        if len(slept) == 50:
            lock.unlink()

    monkeypatch.setattr(tracking.time, "sleep", sleep)
    assert tracking.sync_until_done(lambda: plan, Store(), Here(), lambda *_: None) == (
        1,
        len(plan.runs),
    )
    assert len(slept) == 49 + tracking.IDLE_POLLS
    with lock_run_folder(Store().run(run.name)):
        assert tracking.run_state.is_active(plan, Store())
    assert not tracking.run_state.is_active(plan, Store())


def test_a_tracker_that_is_not_installed_is_one_message(tmp_path, monkeypatch):
    def missing(*_):
        raise ModuleNotFoundError("No module named 'mlflow'", name="mlflow")

    tracker = tracking.Tracker("MLflow", "mlflow-skinny", "", missing)
    monkeypatch.setattr(tracking.registry, "load_object", lambda *_: tracker)
    with pytest.raises(KdpipeError, match=r"pip install 'kdpipe\[mlflow\]'"):
        tracking.open_tracker("mlflow", tmp_path, "tiny")


def test_mlflow_sends_nothing(tmp_path):
    """It would send usage data, from threads and by an identifier that it keeps."""
    home = tmp_path / "home"
    home.mkdir()
    code = "import sys, pathlib, threading; from kdpipe.workflow import tracking; "
    code += "tracking.open_tracker('mlflow', pathlib.Path(sys.argv[1]), 'tiny'); "
    code += "print([thread.name for thread in threading.enumerate()])"
    process = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "log")],
        env={"HOME": str(home), "PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert process.stdout == "['MainThread']\n"
    assert list(home.rglob("mlflow")) == []


def test_a_run_that_has_left_nothing_yet_has_no_curve(tmp_path):
    assert tracking.run_state.read_curve(tmp_path) == []
    assert tracking._curve_values({"lr": 1, "train": {"loss": 2}, "val": None}) == {
        "lr": 1.0,
        "train/loss": 2.0,
    }
