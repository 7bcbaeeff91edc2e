"""status, and what plan and report say of a study while it runs."""

import json
import re
import shutil
import subprocess
import sys
import time

import pandas as pd
import pytest
from helpers import tiny_study
from helpers.finished_study import PLAN, STUDENT, STUDY, TEACHER
from helpers.synthetic_study import write

from kdpipe.errors import DataError
from kdpipe.jobs.prepare import prepare_dataset
from kdpipe.plan import estimate, status
from kdpipe.plan.estimate import format_range
from kdpipe.runs import records, run_folder
from kdpipe.runs import store as run_store
from kdpipe.runs.files import write_bytes, write_json
from kdpipe.workflow import run_state, status_text

LABEL = "wrn10-0.5 from wrn10-1, kd, seed 0"  # of STUDENT


def test_status_of_a_finished_study(store, say):
    message = say("status", "study.yaml")
    assert "4 runs: 4 done" in message and "1 ensemble: 1 evaluated" in message
    assert "time left" not in message


def test_status_of_nothing(tmp_path, say, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tiny_study.write(tmp_path / "study.yaml", STUDY)
    message = say("status", "study.yaml")
    assert "4 runs: 4 to do" in message and "unknown until a run has finished" in message


def test_status_says_what_runs_what_failed_and_how_long(store, say, tmp_path, warm, monkeypatch):
    monkeypatch.setattr(estimate, "count_cores", lambda: 2)  # though one job is at work
    more = tiny_study.study(seeds=[0, 1], main={"stops": ["full", "checkpoint 1"]})
    tiny_study.write(tmp_path / "more.yaml", more)
    new = [run for run in tiny_study.planned(seeds=[0, 1]).runs.values() if run.seed == 1]
    scratch, teacher = new[:2]
    store.run(teacher.name).mkdir()
    (store.run(teacher.name) / "failure.json").write_text('{"reason": "no space left"}')
    record = tiny_study.record(store, STUDENT)
    record.pop("sha256")
    records.publish_record(
        store.run(STUDENT.name), record | {"status": "diverged", "reason": "nan"}
    )
    with run_store.lock_run_folder(store.run(scratch.name)):
        message = say("status", "more.yaml")
    assert "8 runs: 3 done, 1 diverged, 1 running, 1 failed, 2 to do" in message
    assert "running  wrn10-0.5 on labels, seed 1: epoch 0 of 2 done" in message
    assert "failed  wrn10-1 on labels, seed 1: no space left" in message
    assert f"diverged  {LABEL}: nan" in message
    assert re.search(r"time left: .*\d (seconds|minutes), 2 jobs at a time", message)


def test_status_reads_the_epoch_of_a_running_run(tmp_path, shared, warm, say, monkeypatch):
    store = tiny_study.results(tmp_path, shared)
    long = {"recipe": {"epochs": 300}}
    tiny_study.write(tmp_path / "long.yaml", tiny_study.study(**long))
    run = next(iter(tiny_study.planned(**long).runs.values()))
    monkeypatch.chdir(tmp_path)
    child = warm.start(*tiny_study.train(run), cwd=tmp_path)
    while not run_folder.progress_path(store.run(run.name)).exists():
        time.sleep(0.02)
    message = say("status", "long.yaml")
    child.kill()
    child.wait()
    later = say("status", "long.yaml")
    assert "3 runs: 1 interrupted, 2 to do" in later
    assert re.search(r"interrupted  wrn10-.*, seed 0: resumes after epoch \d+ of 300$", later, re.M)
    assert "1 running, 2 to do" in message
    seconds = json.loads(run_folder.progress_path(store.run(run.name)).read_bytes())["seconds"]
    assert 0 < seconds < 60 and "time left: unknown" not in message  # by its own finished epochs
    epoch = int(message.split("epoch ")[1].split()[0])
    assert re.search(r"done, top-1 validation error \d+\.\d %$", message, re.MULTILINE)
    assert 0 < epoch <= 300


@pytest.mark.parametrize(
    "data",
    [
        b"", b"\x01", b"\xff" * 400, b"{", b"[]", b"null", b"7", b"[" * 100_000, b"{}",
        b'{"curve": [], "epoch": Infinity}', b'{"curve": [7], "epoch": 1}',
        b'{"curve": [], "epoch": "x"}',
    ],
)  # fmt: skip
def test_a_progress_file_that_is_torn_counts_no_epoch(tmp_path, data):
    run_folder.progress_path(tmp_path).write_bytes(data)
    assert run_state.read_progress(tmp_path) == (0, None, 0.0)
    assert run_state.read_curve(tmp_path) in ([], [7])


@pytest.mark.parametrize(
    "data", [b"", b"{", b"[]", b"null", b'{"reason"', b"\xff\xfe", b"[" * 100_000, b"7"]
)
def test_a_failure_that_is_torn_is_one_line(tmp_path, data):
    store = run_store.Store(tmp_path)
    store.run("a").mkdir(parents=True)
    run_folder.failure_path(store.run("a")).write_bytes(data)
    assert store.failure_reason("runs", "a").endswith("failure.json is damaged")
    assert store.failure_reason("runs", "b") is None


def test_a_table_or_data_set_that_failed_says_why_in_status_and_report(tmp_path, say, monkeypatch):
    store, content = (
        run_store.Store(tmp_path / "results"),
        tiny_study.study(teacher_outputs="table"),
    )
    monkeypatch.chdir(tmp_path)
    tiny_study.write(tmp_path / "study.yaml", content)
    plan = tiny_study.planned(teacher_outputs="table")
    (table,), (data,) = plan.logit_caches, plan.datasets
    write_json(
        run_folder.failure_path(store.logit_cache(f".{table}")), {"reason": "do not fit in half"}
    )
    log = tmp_path / f"logs/tables/{table}.log"
    write_bytes(log, b"")
    message = say("status", "study.yaml")
    assert "3 runs: 3 to do" in message
    assert (
        "  failed  logits of wrn10-1 on labels, seed 0: do not fit in half "
        f"({log.relative_to(tmp_path)})\n" in message
    )
    student = plan.cells[0].run
    assert status.find_missing_reason(student, plan, store, {}) == (
        "failed",
        f"table {table} failed: do not fit in half",
    )
    assert say("report", "study.yaml").endswith("kdpipe status study.yaml\n")
    reasons = pd.read_csv("reports/tiny/results.csv").set_index("run").reason.dropna()
    assert list(reasons) == [f"table {table} failed: do not fit in half"]
    write_json(run_folder.failure_path(store.data(data)), {"reason": "another file"})
    message = say("status", "study.yaml")
    assert "  failed  data digits: another file\n" in message
    write_bytes(store.data(data) / "card.json", b"{}")  # made since
    assert "data" not in say("status", "study.yaml")


def test_a_data_set_that_cannot_be_prepared_says_why_in_its_folder(tmp_path):
    store = run_store.Store(tmp_path / "results")
    with pytest.raises(DataError, match="there is no"):
        prepare_dataset("mnist", store, str(tmp_path / "nowhere"))
    (folder,) = store.root.glob("data/*")
    assert "there is no" in store.failure_reason("data", folder.name)


def test_a_damaged_record_is_named_and_the_rest_is_told(store, say):
    for name in ("record.json", ".record.json"):
        (store.run(STUDENT.name) / name).write_bytes(b"")
    message = say("status", "study.yaml")
    assert "4 runs: 3 done, 1 damaged" in message
    assert f"  damaged  {LABEL}: " in message and "record.json is not a record" in message
    assert "without 1 of 4 runs, of which 1 failed" in say("report", "study.yaml")
    row = pd.read_csv("reports/tiny/results.csv").set_index("run").loc[STUDENT.name]
    assert row.status == "damaged" and "record.json is not a record" in row.reason


def test_the_starts_of_short_runs_are_in_the_time(store, say, monkeypatch):
    """Of runs of a second it is the start that takes the time; status and plan say the same."""
    monkeypatch.setattr(estimate, "count_cores", lambda: 2)
    shutil.rmtree(store.run(TEACHER.name))
    shutil.rmtree(store.run(STUDENT.name))
    for folder in (store.root / "runs").iterdir():  # on a busy machine they took seconds
        records.publish_record(
            folder, records.read_record(folder, None) | {"seconds": {"total": 1e-6}}
        )
    # one after the other, since the second learns from the first; and the report
    left = format_range(
        2 * estimate.FORK_START_SECONDS + estimate.estimate_report(PLAN), estimate.WIDTH_UNSEEN
    )
    assert f"time left: {left}, one job at a time" in say("status", "study.yaml")
    assert f"time: {left}, one job at a time" in say("plan", "study.yaml")


def test_status_counts_teacher_tables_and_their_time(tmp_path, say, monkeypatch):
    monkeypatch.chdir(tmp_path)
    content = tiny_study.study(teacher_outputs="table")
    tiny_study.write(tmp_path / "tables.yaml", content)
    (table,) = tiny_study.planned(teacher_outputs="table").logit_caches.values()
    assert "1 logit cache for pending runs: 0 done" in say("status", "tables.yaml")
    with run_store.lock_run_folder(run_store.Store().logit_cache(f".{table.name}")):
        now = say("status", "tables.yaml")
    assert (
        "0 done, 1 in progress" in now and "  running  logits of wrn10-1 on labels, seed 0" in now
    )


def test_a_table_that_stands_and_the_epochs_of_a_run_are_no_time_to_come(tmp_path, monkeypatch):
    """In status and in the plan alike: half a run and its table are behind."""
    monkeypatch.chdir(tmp_path)
    plan = tiny_study.planned(teacher_outputs="table")
    (table,) = plan.logit_caches.values()
    whole = run_state.price_plan(plan, "cpu", run_store.Store())
    assert whole.total.schedule.core_seconds > 0
    run_store.Store().logit_cache(table.name).mkdir(parents=True)
    without = run_state.price_plan(plan, "cpu", run_store.Store())
    result = whole.cost_model.estimate_seconds(table)
    before = whole.total.schedule.core_seconds
    assert without.total.schedule.core_seconds == pytest.approx(before - result)
    run = plan.scratch["wrn10-0.5", 0, 0]
    path = run_folder.progress_path(run_store.Store().run(run.name))
    write_json(path, {"epoch": 1, "curve": []})
    half = run_state.price_plan(plan, "cpu", run_store.Store())
    expected = before - result - whole.cost_model.estimate_seconds(run) / run.epochs
    assert half.total.schedule.core_seconds == pytest.approx(expected)


def test_a_plan_tells_no_time_where_nothing_has_run(store, say):
    assert "\ntime" not in say("plan", "study.yaml")  # all is done
    assert "time: unknown until a run has finished" in say("plan", "study.yaml", "--results", "no")


def test_status_says_that_there_is_no_results_folder(store, say):
    nowhere = store.root.parent / "nowhere"
    message = say("status", "study.yaml", "--results", "nowhere")
    assert f"no results yet at {nowhere}" in message
    assert "no results" not in say("status", "study.yaml")


def test_no_validation_is_noted(store, say):
    without = {**STUDY, "data": STUDY["data"] | {"validation": 0}}
    tiny_study.write(store.root.parent / "without.yaml", without)
    for verb in ("check", "plan"):
        assert "note: no validation images: the report will not select a best teacher" in say(
            verb, "without.yaml"
        )
        assert "note" not in say(verb, "study.yaml")
    assert json.loads(say("plan", "without.yaml", "--json"))


def test_a_report_with_holes_says_how_many_and_where_the_reasons_are(store, say):
    assert say("report", "study.yaml").endswith(": rendered\n")
    shutil.rmtree(store.run(STUDENT.name))
    assert say("report", "study.yaml").endswith(": rendered without 1 of 4 runs\n")
    for name in (records.RECORD_FILE, records.RECORD_COPY_FILE):
        (store.run(TEACHER.name) / name).unlink()
    run_folder.failure_path(store.run(TEACHER.name)).write_text('{"reason": "no space"}')
    message = say("report", "study.yaml")
    assert message.endswith(
        "without 2 of 4 runs, of which 1 failed: see kdpipe status study.yaml\n"
    )
    assert "failed  wrn10-1 on labels, seed 0: no space" in say("status", "study.yaml")


def test_a_run_of_which_a_file_was_altered_is_counted_as_missing(store, say):
    (path,) = store.root.glob("runs/wrn10-0.5-labels-*/curve.jsonl")
    path.write_text(path.read_text().replace("loss", "lost", 1))
    message = say("report", "study.yaml")
    assert message.endswith(
        ": rendered without 1 of 4 runs, of which 1 failed: see kdpipe status study.yaml\n"
    ), message


def test_these_verbs_need_no_torch(store):
    script = (
        "import sys; from kdpipe.cli.main import main; "
        "codes = [main(a.split()) for a in sys.argv[1:]]; "
        "print(codes, 'torch' in sys.modules)"
    )
    verbs = ["verify", "prune study.yaml", "status study.yaml", "plan study.yaml"]
    process = subprocess.run([sys.executable, "-c", script, *verbs], capture_output=True, text=True)
    assert process.stdout.splitlines()[-1] == "[0, 0, 0, 0] False", process.stderr


def test_status_counts_what_is_archived(store, say, archive):
    for kind in records.RECORD_KINDS:
        shutil.rmtree(store.root / kind, ignore_errors=True)
    message = say("status", "study.yaml")
    assert "4 runs: 4 done" in message and "1 ensemble: 1 evaluated" in message


def test_the_report_of_a_renamed_study_is_said(store, say):
    say("report", "study.yaml")
    assert "under another name" not in say("status", "study.yaml")
    renamed = STUDY | {"study": "renamed"}
    tiny_study.write(store.root.parent / "renamed.yaml", renamed)
    message = say("status", "renamed.yaml")
    assert f"reports/{STUDY['study']} is a report of the same runs under another name" in message
    fewer = tiny_study.study(study="fewer", seeds=[0, 7])
    tiny_study.write(store.root.parent / "fewer.yaml", fewer)
    assert "under another name" not in say("status", "fewer.yaml")


def test_a_report_says_how_many_networks_measured_as_files_it_lacks(tmp_path):
    plan, store = tiny_study.planned(export=True), run_store.Store(tmp_path / "results")
    write(plan, store)
    assert status_text.format_incomplete(plan, store, "s.yaml") == ""
    shutil.rmtree(store.root / "gauges" / next(iter(plan.gauges)))
    n = len(plan.gauges)
    message = status_text.format_incomplete(plan, store, "s.yaml")
    assert message == f" without 1 of {n} networks measured as files"
    shutil.rmtree(store.run(next(iter(plan.runs))))
    message = status_text.format_incomplete(plan, store, "s.yaml")
    assert message.startswith(f" without 1 of {len(plan.runs)} runs and ")
