"""What it saves to fork the jobs of a study from a preloaded parent: seconds and core-seconds.

The study goes through `snakemake` (every job imports torch) and through `kdpipe run` (forked), by
turns, each in an empty folder; core-seconds are of all processes, as the kernel counts them; the
share of training is what the records say of the time that all cores were there for. On a machine
that has nothing else to do:

    python benchmarks/forkserver.py [STUDY.yaml] [ROUNDS]
"""

import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from kdpipe.plan import estimate

ROOT = Path(__file__).parent.parent


def main() -> None:
    study = (
        Path(sys.argv[1]).absolute() if len(sys.argv) > 1 else ROOT / "studies/digits_first.yaml"
    )
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 3
    rows: dict[str, list[tuple[float, float, float]]] = {"plain": [], "forked": []}
    for number in range(rounds):
        for kind in ("plain", "forked") if number % 2 else ("forked", "plain"):
            wall, cores, training = one(study, kind == "forked")
            rows[kind].append((wall, cores, training))
            print(
                f"{kind}: {wall:.0f} s, {cores:.0f} core-seconds of work, {training:.0f} s of "
                f"training ({training / (wall * estimate.count_cores()):.0%} of the cores' time)",
                flush=True,
            )
    for column, what in ((0, "seconds"), (1, "core-seconds")):
        ratios = [p[column] / f[column] for p, f in zip(rows["plain"], rows["forked"], strict=True)]
        print(
            f"{what}, plain / forked: {statistics.median(ratios):.2f} "
            f"({min(ratios):.2f} to {max(ratios):.2f}), n {rounds}"
        )


def one(study: Path, forked: bool) -> tuple[float, float, float]:
    """Seconds, core-seconds, and seconds of training of one start in an empty folder.

    The parent of the jobs is told of by the kernel when it has ended, a moment after the head.
    """
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m"]
        if forked:
            command += ["kdpipe", "run", str(study)]
        else:
            command += ["snakemake", "--snakefile", str(ROOT / "Snakefile"), "--cores", "all"]
            command += ["--configfile", str(study)]
        before = _used()
        began = time.monotonic()
        process = subprocess.run(
            [sys.executable, "-c", REAPER, *command], cwd=folder, capture_output=True, text=True
        )
        wall = time.monotonic() - began
        if process.returncode:
            sys.exit(process.stderr)
        records = Path(folder).glob("results/runs/*/record.json")
        training = sum(json.loads(p.read_text())["seconds"]["training"] for p in records)
        return wall, _used() - before, training


# Becomes the parent of whoever loses its own (PR_SET_CHILD_SUBREAPER), so that their time counts.
REAPER = """
import ctypes, os, subprocess, sys
ctypes.CDLL(None).prctl(36, 1)
code = subprocess.call(sys.argv[1:])
try:
    while True:
        os.wait()
except ChildProcessError:
    sys.exit(code)
"""


def _used() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
