"""Trains two runs at a time on one GPU (`runs_per_gpu: 2`), with NVIDIA's MPS if it is running."""

import shutil
import subprocess

from kdpipe.gpu_check.check import Check, Outcome
from kdpipe.gpu_check.fixtures import CheckFixture, diff_files, load_run_record

CONTROL = "nvidia-cuda-mps-control"


def run_check(fixture: CheckFixture) -> Outcome:
    """Run the check."""
    run = fixture.get_runs().teacher
    stores = [fixture.make_store(name) for name in ("one", "left", "right")]
    keep_epochs = [run.epochs]
    fixture.run_forked(lambda: fixture.train(run, stores[0], keep_epochs))
    fixture.run_forked(
        *(lambda store=other: fixture.train(run, store, keep_epochs, 2) for other in stores[1:])
    )
    records = [load_run_record(run, store) for store in stores]
    differences = sorted({name for other in records[1:] for name in diff_files(records[0], other)})
    mps_note = "with MPS" if has_mps() else "without MPS, which is not running here"
    message = (
        "other bytes in " + ", ".join(differences)
        if differences
        else "the same bytes as a run alone"
    )
    return Outcome(not differences, f"{message} ({mps_note})", {"mps": has_mps()})


def has_mps() -> bool:
    """Return whether the MPS daemon is running."""
    if shutil.which(CONTROL) is None:
        return False
    try:
        process = subprocess.run(
            [CONTROL],
            input="get_server_list\n",
            capture_output=True,
            text=True,
            encoding="utf-8",
            errors="replace",
            timeout=10,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return False
    return process.returncode == 0


CHECK = Check(
    order=40,
    title="Two runs on one GPU",
    function=run_check,
    meanwhile="runs_per_gpu: 1",
)
