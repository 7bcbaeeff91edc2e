"""Whether the price of a study comes true: what was told before its first run, and what it took.

Measures this machine anew, takes the price that `kdpipe plan --measure` tells, runs the study with
`kdpipe run` in an empty folder, and compares seconds from start to end, core-hours, and the most
bytes on the disk. On a machine that has nothing else to do:

    python benchmarks/estimate.py [STUDY.yaml] [ROUNDS]
"""

import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from kdpipe.config import load
from kdpipe.plan import estimate, planner, status
from kdpipe.runs.store import Store
from kdpipe.workflow import machine_benchmark

ROOT = Path(__file__).parent.parent


def main() -> None:
    study = (
        Path(sys.argv[1]).absolute() if len(sys.argv) > 1 else ROOT / "studies/digits_first.yaml"
    )
    for number in range(int(sys.argv[2]) if len(sys.argv) > 2 else 1):
        with tempfile.TemporaryDirectory() as folder:
            os.environ[estimate.CACHE_ENV] = str(Path(folder) / "cache")
            print(f"round {number + 1}: {one(study, Path(folder))}", flush=True)


def one(study: Path, folder: Path) -> str:
    """One round, in an empty folder."""
    plan = planner.build_plan(load.load_study(study))
    states = status.get_plan_status(plan, Store(folder / "results"))
    began = time.monotonic()
    machine_benchmark.measure_speeds(
        plan, machine_benchmark.find_unmeasured(plan, plan.runs, "cpu"), "cpu"
    )
    measured = time.monotonic() - began
    cost_model = estimate.build_cost_model(plan, "cpu", {})
    total = cost_model.estimate_total(list(states), estimate.count_cores())
    assert total.seconds is not None
    most, watching = [0], threading.Event()
    watcher = threading.Thread(target=_watch, args=(folder / "results", most, watching))
    watcher.start()
    began = time.monotonic()
    command = [sys.executable, "-m", "kdpipe", "run", str(study)]
    process = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    took = time.monotonic() - began
    watching.set()
    watcher.join()
    if process.returncode:
        sys.exit(process.stderr)
    report = estimate.format_range(total.seconds, total.width)
    last_line = process.stderr.strip().splitlines()[-1]
    return (
        f"told {report} ({total.seconds:.0f} s), took {took:.0f} s: "
        f"{took / total.seconds - 1:+.0%}; "
        f"core-hours told {total.schedule.core_seconds / 3600:.2f}, at the end: {last_line}; "
        f"disk told {estimate.estimate_peak_disk(plan, total, states) / 1e6:.1f} MB, most seen "
        f"{most[0] / 1e6:.1f} MB; measuring took {measured:.0f} s"
    )


def _watch(folder: Path, most: list[int], until: threading.Event) -> None:
    """The most bytes below a folder, looked at twice a second; prepared images left out."""
    while not until.wait(0.5):
        size = 0
        for path in folder.rglob("*"):
            try:
                size += path.stat().st_size if "data" not in path.parts else 0
            except OSError:
                continue
        most[0] = max(most[0], size)


if __name__ == "__main__":
    main()
