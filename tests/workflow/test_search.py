"""A search by a real Snakemake: all its rounds, killed between them and in them, same bytes."""

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from helpers import tiny_study

from kdpipe.analysis.search import rounds
from kdpipe.config import load
from kdpipe.plan import estimate, planner
from kdpipe.runs.store import Store

KEYS = {
    "study": "sought",
    "device": "cpu",
    "seeds": [0, 1, 2, 3, 4],
    "main": {
        "teachers": ["wrn10-1", "wrn10-0.5"],
        "methods": ["kd", "eskd"],
    },
    "methods": {"kd": {}, "eskd": {"stop_epoch": 1}},
    "search": {"blocks": ["main"], "fresh_seeds": 3},
}


# `run_rounds` with a Snakemake that says how it was started, and a search that ends after three.
ROUNDS = """
import os, signal, sys
from types import SimpleNamespace
from kdpipe.workflow import run_snakemake

looked = []

def look():
    looked.append(len(looked))
    if sys.argv[1] == "late":  # as if it came just before the wait: it interrupts no system call
        signal.siginterrupt(int(sys.argv[2]), False)
    if sys.argv[1] == "between" and len(looked) == 2:
        os.kill(os.getpid(), int(sys.argv[2]))
    due = SimpleNamespace(number=len(looked)) if len(looked) < 4 else None
    return SimpleNamespace(current_round=due)

head = "import signal, sys, time; print(signal.getsignal(signal.SIGHUP).name, flush=True)"
if sys.argv[1] in ("within", "late"):  # short sleeps, for the same reason
    head += "\\nfor _ in range(600): time.sleep(0.1)"
if sys.argv[1] == "held":
    head = (
        "import os, time; from kdpipe.jobs import parent_watchdog as watchdog; "
        "watchdog.watch_parents(watchdog.open_parent_fd(os.environ[watchdog.HEAD_VARIABLE])); "
        "print(os.getpid(), flush=True); time.sleep(60)"
    )
sys.exit(run_snakemake.run_rounds([sys.executable, "-c", head], look))
"""


def start(folder: Path) -> list[str]:
    path = tiny_study.write(folder / "study.yaml", tiny_study.study(**KEYS))
    return [sys.executable, "-m", "kdpipe", "run", str(path), "--cores", "2"]


def env(folder: Path) -> dict:
    return os.environ | {estimate.CACHE_ENV: str(folder / "cache")}


def bytes_of(store: Store) -> dict[str, str]:
    """Checksums of all weights, by run."""
    paths = sorted(store.root.glob("runs/*/weights.safetensors"))
    return {path.parent.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


@pytest.fixture(scope="module")
def ended(tmp_path_factory):
    folder = tmp_path_factory.mktemp("searching")
    process = subprocess.run(
        start(folder), cwd=folder, env=env(folder), capture_output=True, text=True
    )
    return folder, process


def test_it_goes_through_all_rounds_by_itself(ended):
    folder, process = ended
    assert process.returncode == 0, process.stderr
    study = load.validate_study(tiny_study.study(**KEYS), "study")
    store = Store(folder / "results")
    actual = rounds.get_search_state(study, store)
    assert actual.current_round is None and len(actual.winners) == 1
    starts = len(re.findall("^took ", process.stderr, re.MULTILINE))
    assert starts == len(actual.rounds)
    assert "round 2 of the search is decided (students, seed 1)" in process.stderr
    plan = rounds.plan_due_runs(study, store)
    assert bytes_of(store).keys() == plan.runs.keys() < planner.build_plan(study).runs.keys()
    (results_store,) = (folder / "results/searches").iterdir()
    assert len(list(results_store.iterdir())) == len(actual.rounds)
    assert (folder / "reports/sought/tables/search.csv").exists()


def test_again_it_does_nothing(ended):
    folder, _ = ended
    before = bytes_of(Store(folder / "results"))
    process = subprocess.run(
        start(folder), cwd=folder, env=env(folder), capture_output=True, text=True
    )
    assert process.returncode == 0 and "nothing to do" in process.stderr
    assert bytes_of(Store(folder / "results")) == before


def test_killed_in_a_round_it_goes_on_and_ends_the_same(ended, tmp_path):
    """Who is killed is `kdpipe run` itself: its Snakemake ends with it, then it is typed again."""
    folder, _ = ended
    with open(tmp_path / "said", "wb") as message:
        head = subprocess.Popen(start(tmp_path), cwd=tmp_path, env=env(tmp_path), stderr=message)
    students = tmp_path / "results/runs"
    until = time.monotonic() + 240
    while not list(students.glob("*-from-*")):
        assert head.poll() is None and time.monotonic() < until
        time.sleep(0.05)
    below = psutil.Process(head.pid).children(recursive=True)
    head.send_signal(signal.SIGKILL)
    head.wait()
    _, left = psutil.wait_procs(below, timeout=60)
    # One that has ended stays until the machine's first process reaps it.
    assert below and all(process.status() == psutil.STATUS_ZOMBIE for process in left)
    assert "runs the rest" in (tmp_path / "said").read_text()  # what was at work has ended
    process = subprocess.run(start(tmp_path), cwd=tmp_path, env=env(tmp_path), capture_output=True)
    assert process.returncode == 0, process.stderr.decode()
    assert bytes_of(Store(tmp_path / "results")) == bytes_of(Store(folder / "results"))
    one, other = (
        sorted((json.loads(p.read_bytes()) for p in d.glob("results/searches/*/*")), key=str)
        for d in (folder, tmp_path)
    )
    assert one == other


def in_rounds(*arguments: str, **more) -> subprocess.Popen:
    command = [sys.executable, "-c", ROUNDS, *arguments]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, text=True, **pipes, **more)


def test_each_round_is_a_start_and_the_last_ends_it():
    head = in_rounds("plainly")
    assert head.communicate(timeout=60) == ("SIG_DFL\n" * 3, "") and head.returncode == 0


def test_what_nohup_ignores_stays_ignored_in_every_round():
    head = in_rounds("plainly", preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
    assert head.communicate(timeout=60) == ("SIG_IGN\n" * 3, "")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_between_two_rounds_begins_none(number):
    head = in_rounds("between", str(int(number)))
    assert head.communicate(timeout=60) == ("SIG_DFL\n", "")
    assert head.returncode == 128 + number


@pytest.mark.parametrize("moment", ["within", "late"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_within_a_round_reaches_its_snakemake(number, moment):
    head = in_rounds(moment, str(int(number)))
    assert head.stdout is not None and head.stdout.readline() == "SIG_DFL\n"
    head.send_signal(number)
    head.communicate(timeout=30)
    # Python ends with 130 by an interrupt that nobody catches, and by the others as by any.
    assert head.returncode == 128 + number


def test_a_snakemake_ends_with_who_starts_it_for_each_round():
    head = in_rounds("held")
    assert head.stdout is not None
    below = psutil.Process(int(head.stdout.readline()))
    head.kill()
    head.wait()
    assert not psutil.wait_procs([below], timeout=30)[1]
