"""Jobs forked from a preloaded parent: the same bytes, whoever of them is killed, and no orphan."""

import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from helpers import tiny_study
from helpers.snakemake_sandbox import Lab
from helpers.terminal import Terminal

from kdpipe.jobs import forkserver
from kdpipe.plan import estimate
from kdpipe.plan.estimate import Speed
from kdpipe.plan.labels import label_nodes

KEYS = {"recipe": {"epochs": 80}, "teacher_outputs": "table"}
CONTENT = tiny_study.study(**KEYS, study="forked")
SPEED = Speed(step=0.01, epoch=0.01, image=0.0001, setup=0.1, start=2.0, megabytes=600)


@pytest.fixture(scope="module", autouse=True)
def measured():
    """Or each start would measure the machine first."""
    plan = tiny_study.planned(**KEYS)
    estimate.save_speeds(
        {estimate.make_speed_key(plan, run, "cpu"): SPEED for run in plan.runs.values()}
    )


@pytest.fixture(scope="module")
def plain(tmp_path_factory, warm):
    """The study by Snakemake alone, to be compared with."""
    lab = Lab(tmp_path_factory.mktemp("plain"), warm)
    lab.run(CONTENT)
    return lab.exact()


class Started(Lab):
    """A folder in which `kdpipe run` is typed, with the real `kdpipe`."""

    def __init__(self, folder: Path, warm):
        super().__init__(folder, warm)
        self.env["PATH"] = self.env["PATH"].removeprefix(f"{warm.bin}:")
        self.study = tiny_study.write(folder / "study.yaml", CONTENT)

    def build_command(self, *options: str, python: Path | str = sys.executable) -> list[str]:
        return [str(python), "-m", "kdpipe", "run", str(self.study), "--cores", "2", *options]

    def start(self, *options: str, python: Path | str = sys.executable) -> subprocess.Popen:
        command = self.build_command(*options, python=python)
        with open(self.folder / "said", "ab") as message:
            return subprocess.Popen(
                command, env=self.env, cwd=self.folder, stdout=message, stderr=message
            )

    def ended(self, *options: str) -> int:
        return self.start(*options).wait(timeout=300)

    def processes(self) -> list[psutil.Process]:
        """Those that work in this folder."""
        actual = []
        for process in psutil.process_iter():
            try:
                if process.cwd() == str(self.folder) and process.status() != "zombie":
                    actual.append(process)
            except (psutil.NoSuchProcess, psutil.AccessDenied):
                continue
        return actual

    def parent(self, head: subprocess.Popen) -> psutil.Process:
        while True:
            assert head.poll() is None, (self.folder / "said").read_text()
            for child in psutil.Process(head.pid).children():
                if "preload" in child.cmdline():
                    return child
            time.sleep(0.02)

    def in_the_middle(self, head: subprocess.Popen) -> psutil.Process:
        """A forked job, as soon as a run has epochs behind it."""
        parent = self.parent(head)
        while True:
            assert head.poll() is None, (self.folder / "said").read_text()
            forked = parent.children()
            if forked and list(self.store.root.glob("runs/*/.state.safetensors")):
                return forked[0]
            time.sleep(0.01)


@pytest.fixture
def lab(tmp_path, warm):
    return Started(tmp_path, warm)


def gone(lab: Started) -> bool:
    until = time.monotonic() + 60
    while lab.processes() and time.monotonic() < until:
        time.sleep(0.1)
    return not lab.processes()


def test_forked_jobs_leave_the_same_bytes_and_nothing_else(lab, plain, tmp_path_factory):
    """From an environment whose path has spaces."""
    there = tmp_path_factory.mktemp("a folder") / "it's an environment"
    there.symlink_to(sys.prefix)
    head = lab.start(python=there / "bin" / "python")
    parent = lab.parent(head)
    assert parent.cmdline()[0].startswith(str(there))
    folder = Path(parent.cmdline()[-2])
    assert head.wait(timeout=300) == 0, (lab.folder / "said").read_text()
    assert lab.exact() == plain
    assert gone(lab) and not folder.exists()


def test_the_head_killed_while_a_job_is_stopped(lab, plain):
    """The job keeps the lock of its run until it goes on: the next start sees to that."""
    head = lab.start()
    job = lab.in_the_middle(head)
    job.suspend()
    head.kill()
    head.wait()
    time.sleep(1)
    assert job.status() == psutil.STATUS_STOPPED
    assert lab.ended() == 0, (lab.folder / "said").read_text()
    message = f"its stopped jobs (process {job.pid}) continue, and end"
    assert message in (lab.folder / "said").read_text()
    assert lab.exact() == plain and gone(lab)


def test_a_full_disk_under_its_log_does_not_fail_a_job(monkeypatch):
    """What it printed is lost; it used to count as killed by the system."""
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)
    added = forkserver.start_forkserver()
    for name, value in added.items():
        monkeypatch.setenv(name, value)
    deadline = time.monotonic() + 60
    while not (heartbeat := forkserver.read_heartbeat()) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert heartbeat
    command = [Path(added["PATH"].partition(":")[0]) / "kdpipe", "--version"]
    try:
        with open("/dev/full", "w") as full:
            job = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)
    finally:
        psutil.Process(heartbeat[0]).kill()
    assert (job.returncode, job.stderr) == (0, "")


def test_the_parent_killed_in_the_middle(lab, plain):
    """Jobs go on as plain ones, from where their state was saved; the study does not notice."""
    head = lab.start()
    lab.in_the_middle(head).parent().kill()
    assert head.wait(timeout=300) == 0, (lab.folder / "said").read_text()
    assert lab.exact() == plain and gone(lab)
    assert "failed" not in (lab.folder / "said").read_text()


def test_the_head_killed_in_the_middle(lab, plain):
    """Which is `kdpipe run` and Snakemake in one process: nothing works on without it."""
    head = lab.start()
    folder = Path(lab.parent(head).cmdline()[-2])
    lab.in_the_middle(head)
    assert len(lab.processes()) > 2
    head.send_signal(signal.SIGKILL)
    head.wait()
    time.sleep(0.5)
    assert (folder / "shim.py").exists()  # a job that was just started may not have read it yet
    assert gone(lab), [process.cmdline() for process in lab.processes()]
    assert not folder.exists()
    assert list(lab.folder.glob(".snakemake/locks/*.lock"))  # which nobody takes away by hand
    assert lab.ended() == 0, (lab.folder / "said").read_text()
    assert lab.exact() == plain
    assert "the previous invocation was killed" in (lab.folder / "said").read_text()


def test_a_living_start_keeps_its_folder(lab):
    """And a second one says what to do, as often as it is tried."""
    head = lab.start()
    lab.in_the_middle(head)
    locks = list(lab.folder.glob(".snakemake/locks/*.lock"))
    for _ in range(2):
        assert lab.ended() == 1
        message = (lab.folder / "said").read_text()
        assert (
            f"{lab.folder} is locked, since another invocation of this study is running in it"
            in message
        )
        assert f"`kdpipe run {lab.study} --cores 2 --unlock`" in message
        assert locks and locks == list(lab.folder.glob(".snakemake/locks/*.lock"))
    assert head.poll() is None
    head.kill()
    head.wait()
    assert gone(lab)


def test_ctrl_c_on_a_terminal(lab, plain):
    """All processes of a terminal get it; nothing of the study has failed by that."""
    terminal = Terminal(lab.build_command(), lab.folder, lab.env)
    states = lab.store.root.glob
    terminal.until(lambda: list(states("runs/*/.state.safetensors")))
    terminal.type(b"\x03")
    assert terminal.ended() == 130, terminal.said
    *_, stopping, stopped, took = terminal.said.strip().splitlines()
    assert stopping.endswith("stopping: its jobs end now, their progress is kept")
    again = f"`kdpipe run {lab.study} --cores 2` resumes each run from its saved state"
    assert stopped.endswith(f"runs are done; it was stopped, {again}")
    assert took.startswith("took ")
    assert not re.search("failed|Traceback|KeyboardInterrupt|render", terminal.said)
    assert not (lab.folder / "reports").exists() and gone(lab)
    assert lab.ended() == 0, (lab.folder / "said").read_text()
    assert lab.exact() == plain


def test_a_forked_job_that_is_killed_fails_and_its_siblings_go_on(lab, plain):
    head = lab.start()
    lab.in_the_middle(head).kill()
    assert head.wait(timeout=300) == 1
    message = (lab.folder / "said").read_text()
    assert re.search(
        r"failed  wrn.*, seed \d: killed by the system, usually out of memory", message
    )
    assert lab.ended() == 0 and lab.exact() == plain


def test_a_plain_job_that_is_killed_is_one_line(lab):
    """As for want of memory; bash would say its whole command, and it has no word of its own."""
    keys = {"recipe": {"epochs": 5000}, "device": "cpu"}
    plan = tiny_study.planned(**keys)
    name = next(iter(plan.runs))
    target = f"results/runs/{name}/record.json"
    command = lab.command("--", target, content=tiny_study.study(**keys))
    with open(lab.folder / "said", "wb") as message:
        head = subprocess.Popen(command, env=lab.env, stdout=message, stderr=message)
    while not list(lab.store.root.glob("runs/*/.state.safetensors")):
        assert head.poll() is None, (lab.folder / "said").read_text()
        time.sleep(0.05)
    for job in psutil.Process(head.pid).children(recursive=True):
        job.kill()
    assert head.wait(timeout=300) == 1
    message = (lab.folder / "said").read_text()
    assert (
        f"failed  {label_nodes(plan)[name]}: it ended without a message, as a job does that the "
        "system kills" in message
    )
    assert "--spec" not in message
