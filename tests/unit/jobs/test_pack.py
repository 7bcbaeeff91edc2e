"""A job that makes several runs: each fails alone, and an interrupted one goes on where it was."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from helpers import tiny_study

from kdpipe.runs import files, run_folder
from kdpipe.workflow import run_state

PACK = [sys.executable, "-m", "kdpipe", "pack"]
# Instead of `kdpipe train`: NAME OUTCOME writes the record of a run, fails, or waits for SIGTERM.
FAKE = """#!/bin/sh
echo "$1" >> started
case "$2" in
    fail) echo "no luck"; exit 2;;
    wait) trap "exit 75" TERM; touch waiting; while [ ! -e go ]; do sleep 0.05; done;;
esac
mkdir -p "results/runs/$1" && echo {} > "results/runs/$1/record.json"
"""


@pytest.fixture
def folder(tmp_path) -> Path:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "kdpipe").write_text(FAKE)
    (tmp_path / "bin" / "kdpipe").chmod(0o755)
    return tmp_path


def start(folder: Path, attempt: int = 1, attempts: int = 1, **outcomes: str) -> subprocess.Popen:
    """Start the pack of a teacher, its student and another run."""
    jobs = [
        {
            "kind": "runs",
            "name": name,
            "arguments": [name, outcomes.get(name, "")],
            "parents": parents,
        }
        for name, parents in (("teacher", []), ("student", ["teacher"]), ("other", []))
    ]
    sizes = {"threads": 1, "minutes": 10, "megabytes": 1200, "attempts": attempts}
    (folder / "pack.json").write_text(json.dumps({"jobs": jobs, **sizes}))
    return subprocess.Popen(
        [*PACK, "pack.json", "--attempt", str(attempt), "--finished", "done"],
        cwd=folder,
        env=os.environ | {"PATH": f"{folder}/bin:{os.environ['PATH']}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def started(folder: Path) -> list[str]:
    return (folder / "started").read_text().split()


def test_a_failed_run_leaves_out_its_students_and_nothing_else(folder):
    first = start(folder, attempts=2, teacher="fail")
    message, _ = first.communicate()
    assert first.returncode == 2 and "1 of 3 jobs done; the first that failed: teacher" in message
    assert started(folder) == ["teacher", "other"] and not (folder / "done").exists()
    assert (folder / "logs/runs/teacher.log").read_text() == "no luck\n"
    last = start(folder, attempt=2, attempts=2, teacher="fail")
    assert last.wait() == 0  # of the last attempt the runs that failed are the outcome
    assert (folder / "done").read_text() == "other\n"
    assert started(folder) == ["teacher", "other", "teacher"]  # what is done is not made again


def test_an_interrupted_pack_goes_on_at_its_unfinished_run(folder):
    first = start(folder, student="wait")
    deadline = time.monotonic() + 120
    while not (folder / "waiting").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    first.send_signal(signal.SIGTERM)
    message, _ = first.communicate()
    assert first.returncode == 75
    assert message.splitlines()[-1].startswith("interrupted: SIGTERM; student goes on")
    assert not (folder / "done").exists() and started(folder) == ["teacher", "student"]
    assert start(folder).wait() == 0
    assert started(folder) == ["teacher", "student", "student", "other"]
    assert (folder / "done").read_text().split() == ["teacher", "student", "other"]


def test_a_list_that_is_gone_is_an_error_in_one_line(folder):
    start(folder).wait()
    command = [*PACK, "gone.json", "--finished", "done"]
    process = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert process.returncode == 2 and process.stderr.count("\n") == 1
    assert "gone.json is missing: the study was started again" in process.stderr


def test_a_real_run_of_an_interrupted_pack_resumes_at_its_epoch_to_the_same_bytes(tmp_path, shared):
    """Of two runs the first is done and the second in its epochs when SIGTERM comes."""
    store = tiny_study.results(tmp_path, shared)
    plan = tiny_study.planned(seeds=[0, 1], recipe={"epochs": 60, "drop_epochs": [40]})
    students = [run for run in plan.runs.values() if run.network == "wrn10-0.5"]
    first, second = (run for run in students if not run.parents)
    jobs = [
        {"kind": "runs", "name": run.name, "arguments": tiny_study.train(run)[:-2], "parents": []}
        for run in (first, second)
    ]
    sizes = {"threads": 1, "minutes": 10, "megabytes": 1200, "attempts": 1}
    (tmp_path / "pack.json").write_text(json.dumps({"jobs": jobs, **sizes}))
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"

    def pack() -> subprocess.Popen:
        return subprocess.Popen(
            [*PACK, "pack.json", "--finished", "done"],
            cwd=tmp_path,
            env=os.environ | {"PATH": path},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    interrupted = pack()
    deadline = time.monotonic() + 120
    while not run_state.read_progress(store.run(second.name)).epoch:
        assert time.monotonic() < deadline and interrupted.poll() is None
        time.sleep(0.02)
    interrupted.send_signal(signal.SIGTERM)
    message, _ = interrupted.communicate()
    assert interrupted.returncode == 75, message
    assert f"interrupted: SIGTERM; {second.name} goes on" in message
    assert store.has_record("runs", first.name) and not store.has_record("runs", second.name)
    epoch = run_state.read_progress(store.run(second.name)).epoch
    before = tiny_study.exact(store.run(first.name))
    assert 0 < epoch < 60
    # Seconds of the state are in the record of a run that resumes from it, and in no other.
    state = run_folder.state_path(store.run(second.name))
    arrays, about = files.read_arrays(state)
    files.write_arrays(state, arrays, about | {"seconds": 1_000.0})
    assert pack().wait() == 0
    assert tiny_study.record(store, second)["seconds"]["total"] > 1_000
    # The same in one go.
    (tmp_path / "alone").mkdir()
    alone = tiny_study.results(tmp_path / "alone", shared)
    command = [sys.executable, "-m", "kdpipe", *tiny_study.train(second)]
    subprocess.run(command, cwd=tmp_path / "alone", check=True, capture_output=True)
    assert tiny_study.exact(store.run(second.name)) == tiny_study.exact(alone.run(second.name))
    assert tiny_study.exact(store.run(first.name)) == before and before
