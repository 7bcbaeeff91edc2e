"""A study on machines without a common folder ends in the bytes of one machine."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from helpers import every_file, tiny_study
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


@pytest.mark.slow
def test_three_machines_of_which_one_is_killed_and_one_has_a_damaged_file(tmp_path, shared):
    plan = tiny_study.planned(**CONTENT)
    single = tiny_study.results(tmp_path / "single", shared)
    for run in plan.runs.values():
        train_run(run.spec, sorted(plan.checkpoints_to_keep.get(run.name, ())), single)
    mine, machines = tmp_path / "mine", tmp_path / "machines"
    for folder in (mine, machines / "two" / "study", tmp_path / "bin"):
        folder.mkdir(parents=True)
        tiny_study.write(folder / "mine.yaml", tiny_study.study(**CONTENT))
    (tmp_path / "bin" / "ssh").write_text(SSH)
    (tmp_path / "bin" / "ssh").chmod(0o755)
    env = os.environ | {
        "PATH": f"{tmp_path / 'bin'}:{Path(sys.executable).parent}:{os.environ['PATH']}",
        "MACHINES": str(machines),
        estimate.CACHE_ENV: str(tmp_path / "cache"),
    }

    every_file.speeds_of(plan, tmp_path / "cache")  # nothing is benchmarked

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
