"""Measuring this machine for a study: each of its networks for a few steps, a minute at most.

As many processes measure side by side as jobs will run side by side: cores share caches and memory,
and one alone would be told to be faster than two are.
"""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection
from pathlib import Path

from kdpipe.errors import KdpipeError
from kdpipe.plan.cost import schedule, speeds
from kdpipe.plan.cost.speeds import Speed
from kdpipe.plan.items import Plan, Run
from kdpipe.specs.equipment import Means

MINUTE = 45.0  # seconds of measuring, so that with its start it stays below one
EACH = 6.0  # and no network needs more


def unmeasured(plan: Plan, names: Collection[str], device: str) -> list[Run]:
    """One run for each speed that is not known, of these runs; the cheapest first.

    A network that is trained for no epoch has a speed of its own: it may teach.
    """
    known, found = speeds.known(), {}
    for run in sorted(plan.runs.values(), key=lambda run: run.cost.multiply_adds):
        if run.name in names and (key := speeds.key(plan, run, device)) not in known:
            found.setdefault(key, run)
    return list(found.values())


def announced(runs: list[Run]) -> str:
    """What to say before it begins."""
    names = ", ".join(dict.fromkeys(run.network for run in runs))
    return f"timing {names} on this machine, for a price: {_seconds(runs):.0f} seconds, once"


def complete(plan: Plan, names: Collection[str], device: str) -> None:
    """Measure what is not known of these runs, and say so. Raises KdpipeError if that fails."""
    if runs := unmeasured(plan, names, device):
        print(announced(runs), file=sys.stderr, flush=True)
        measure(plan, runs, device)


def measure(plan: Plan, runs: list[Run], device: str) -> None:
    """Measure the speeds of these runs and keep them. Raises KdpipeError if that fails."""
    threads = max(run.spec["recipe"]["threads"] for run in runs)
    abreast = 1 if device == "cuda" else max(1, schedule.cores() // threads)
    asked = [
        {"spec": run.spec, "shape": plan.card.shape, "operations": run.cost.multiply_adds}
        for run in runs
    ]
    own = any("build" in run.spec["network"] for run in runs)
    means = Means(device, code=Path(str(plan.study.code)) if own else None)
    seconds = _seconds(runs)
    answers = _answers(json.dumps(asked), abreast, seconds, means)
    speeds.keep(
        {
            speeds.key(plan, run, device): Speed(
                **{name: sum(each[name] for each in one) / abreast for name in one[0]}
            )
            for run, one in zip(runs, zip(*answers, strict=True), strict=True)
        }
    )


def _seconds(runs: list[Run]) -> float:
    return min(MINUTE, EACH * len(runs))


def _answers(asked: str, abreast: int, seconds: float, means: Means) -> list[list[dict]]:
    """What each of so many processes found, side by side."""
    command = [sys.executable, "-P", "-m", "kdpipe", "measure", f"--seconds={seconds}"]
    command += [f"--since={time.time()}", *means.options()]
    with tempfile.TemporaryFile("w+") as said:
        said.write(asked)
        said.flush()
        processes = []
        for _ in range(abreast):
            # Each reads from the beginning: a description of its own, not a shared place in it.
            with open(f"/proc/self/fd/{said.fileno()}") as own:
                processes.append(
                    subprocess.Popen(
                        command,
                        stdin=own,
                        stdout=subprocess.PIPE,
                        stderr=subprocess.PIPE,
                        text=True,
                    )
                )
        try:
            ended = [(*process.communicate(), process.returncode) for process in processes]
        finally:
            for process in processes:
                process.kill()
    for _, errors, code in ended:
        if code:
            last = errors.strip().splitlines()[-1:] or [f"exit code {code}"]
            raise KdpipeError(f"measuring this machine failed: {last[0]}")
    return [json.loads(said) for said, _, _ in ended]
