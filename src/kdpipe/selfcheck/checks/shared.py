"""Two runs on one GPU at a time, `runs_per_gpu: 2`; with NVIDIA's MPS where it is at work."""

import shutil
import subprocess

from kdpipe.selfcheck.bench import Bench, differing, record
from kdpipe.selfcheck.check import Check, Outcome

CONTROL = "nvidia-cuda-mps-control"


def look(bench: Bench) -> Outcome:
    run, places = bench.runs().teacher, [bench.place(name) for name in ("one", "left", "right")]
    keep = [run.epochs]
    bench.apart(lambda: bench.train(run, places[0], keep))
    bench.apart(*(lambda place=one: bench.train(run, place, keep, 2) for one in places[1:]))
    found = [record(run, place) for place in places]
    wrong = sorted({name for one in found[1:] for name in differing(found[0], one)})
    beside = "beside MPS" if has_mps() else "without MPS, which is not at work here"
    said = "other bytes in " + ", ".join(wrong) if wrong else "the bytes of a run that is alone"
    return Outcome(not wrong, f"{said} ({beside})", {"mps": has_mps()})


def has_mps() -> bool:
    """Whether the daemon of MPS answers here."""
    if shutil.which(CONTROL) is None:
        return False
    try:
        done = subprocess.run(
            [CONTROL],
            input="get_server_list\n",
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return False
    return done.returncode == 0


CHECK = Check(
    order=40,
    title="Two runs on one GPU",
    look=look,
    meanwhile="runs_per_gpu: 1",
)
