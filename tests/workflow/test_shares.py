"""A study on machines without a common folder ends in the bytes of one machine."""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from helpers import every_file, ssh_hosts, tiny_study
from helpers.snakemake_sandbox import ROOT

from kdpipe.jobs.train import train_run
from kdpipe.plan import estimate
from kdpipe.runs import run_folder
from kdpipe.runs.integrity.verify import verify_store
from kdpipe.runs.store import Store

CONTENT = {"seeds": [0, 1, 2], "device": "cpu"}
HOSTS = ("one", "two", "three")
SSH = """#!/bin/sh
# A machine of its own: another home, another folder, no terminal.
mkdir -p "$MACHINES/$1" && cd "$MACHINES/$1" && shift && HOME=$PWD exec sh -c "$*"
"""


def read_block(word: str) -> str:
    page = (ROOT / "docs/how-to/machines.md").read_text()
    (block,) = [each for each in re.findall(r"```bash\n(.*?)```", page, re.DOTALL) if word in each]
    return block


@contextlib.contextmanager
def reach_hosts(tmp_path: Path, machines: Path):
    """The environment in which `ssh` reaches the hosts, by an sshd of our own where one runs."""
    env = os.environ | {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        estimate.CACHE_ENV: str(tmp_path / "cache"),
    }
    every_file.speeds_of(tiny_study.planned(**CONTENT), tmp_path / "cache")  # none is benchmarked
    machines.mkdir(parents=True, exist_ok=True)
    if ssh_hosts.missing() is None:
        there = {name: env[name] for name in ("PATH", estimate.CACHE_ENV)}
        with ssh_hosts.serve(tmp_path / "ssh", machines, HOSTS, there) as folder:
            yield env | {"PATH": f"{folder}:{env['PATH']}"}
        return
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "ssh").write_text(SSH)
    (tmp_path / "bin" / "ssh").chmod(0o755)
    yield env | {"PATH": f"{tmp_path / 'bin'}:{env['PATH']}", "MACHINES": str(machines)}


def train_here(tmp_path: Path, shared: Path) -> Store:
    """The results of the study on one machine."""
    plan = tiny_study.planned(**CONTENT)
    single = tiny_study.results(tmp_path / "single", shared)
    for run in plan.runs.values():
        train_run(run.spec, sorted(plan.checkpoints_to_keep.get(run.name, ())), single)
    return single


@pytest.mark.slow
@pytest.mark.skipif(
    ssh_hosts.missing() is not None or shutil.which("parallel") is None,
    reason=f"NO SSH HOSTS: {ssh_hosts.missing() or 'no parallel (Debian: apt-get install it)'}",
)
def test_gnu_parallel_runs_the_shares_on_hosts_of_which_one_fails_at_first(tmp_path, shared):
    """Two hosts, three shares; the share that fails on one is tried again."""
    single, machines, mine = train_here(tmp_path, shared), tmp_path / "machines", tmp_path / "mine"
    mine.mkdir()
    tiny_study.write(mine / "mine.yaml", tiny_study.study(**CONTENT))
    (machines / "two" / "study" / "results").mkdir(parents=True)
    lost = machines / "two" / "study" / "results" / "runs"
    lost.write_text("")  # a file in the place of the folder of runs

    with reach_hosts(tmp_path, machines) as env:
        script = ROOT / "examples/shares/hosts.sh"
        command = ["bash", str(script), "mine.yaml", "3", "one", "two"]
        process = subprocess.run(command, cwd=mine, env=env, capture_output=True, text=True)
        assert process.returncode == 0, process.stdout + process.stderr
    assert (machines / "one/study/results/runs").is_dir()
    line = re.search(r"#     (kdpipe merge .*) && kdpipe run", script.read_text())[1]
    shutil.rmtree(mine / "from/two")
    process = subprocess.run(
        ["bash", "-c", line], cwd=mine, env=env, capture_output=True, text=True
    )
    assert process.returncode == 0, process.stdout + process.stderr
    merged = Store(mine / "results")
    for name in tiny_study.planned(**CONTENT).runs:
        assert tiny_study.exact(merged.run(name)) == tiny_study.exact(single.run(name))


@pytest.mark.slow
def test_three_machines_of_which_one_is_killed_and_one_has_a_damaged_file(tmp_path, shared):
    single = train_here(tmp_path, shared)
    mine, machines = tmp_path / "mine", tmp_path / "machines"
    with reach_hosts(tmp_path, machines) as env:
        run_on_three_machines(tmp_path, mine, machines, env, single)


def run_on_three_machines(
    tmp_path: Path, mine: Path, machines: Path, env: dict[str, str], single: Store
) -> None:
    plan = tiny_study.planned(**CONTENT)
    for folder in (mine, machines / "two" / "study"):
        folder.mkdir(parents=True)
        tiny_study.write(folder / "mine.yaml", tiny_study.study(**CONTENT))

    with open(tmp_path / "killed", "wb") as log:
        command = ["kdpipe", "run", "mine.yaml", "--share", "2/3", "--cores", "1"]
        head = subprocess.Popen(
            command, cwd=machines / "two" / "study", env=env, stdout=log, stderr=log
        )
    while not list(machines.glob("two/study/results/runs/*/record.json")):
        assert head.poll() is None, (tmp_path / "killed").read_text()
        time.sleep(0.05)
    head.send_signal(signal.SIGKILL)
    head.wait()

    def bash(script: str, code: int = 0) -> str:
        process = subprocess.run(["bash", "-c", script], cwd=mine, env=env, capture_output=True)
        message = process.stdout.decode() + process.stderr.decode()
        assert process.returncode == code, message
        return message

    message = bash(read_block("ssh"))
    for number in (1, 2, 3):
        assert f"study tiny, share {number}/3: all 3 runs are done\nnext: bring " in message
    assert not list(machines.glob("*/study/reports/*"))
    (student,) = (mine / "from/three/results/runs").glob("*-from-*")
    weights = run_folder.weights_path(student)
    weights.write_bytes(weights.read_bytes()[:-1])

    merge, run = read_block("kdpipe merge from").splitlines()
    message = bash(merge, code=2)
    reason = "damaged, not what the record of its run says"
    left_out = f"  left out  {weights.relative_to(mine)}: {reason}"
    assert left_out in message and "from/one/results: 3 runs merged\n" in message
    assert "study tiny: all 9 runs are done" in bash(run)
    merged = Store(mine / "results")
    for name in plan.runs:
        assert tiny_study.exact(merged.run(name)) == tiny_study.exact(single.run(name))
    assert (mine / "reports/tiny/index.html").exists() and not list(verify_store(merged))
