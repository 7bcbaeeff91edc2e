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
from dataclasses import replace
from pathlib import Path

from kdpipe.errors import KdpipeError
from kdpipe.plan.cost import schedule, speeds
from kdpipe.plan.cost.speeds import Speed
from kdpipe.plan.items import Plan, Run
from kdpipe.specs.equipment import Means

MINUTE = 45.0  # seconds of measuring, so that with its start it stays below one
EACH = 6.0  # and no network needs more
LIMIT = 58.0  # seconds with their start, after which the processes are stopped


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
    seconds = f"{_seconds(runs):.0f} seconds, once"
    return f"timing {names} on this machine, to say how long the study takes: {seconds}"


def complete(plan: Plan, names: Collection[str], device: str) -> None:
    """Measure what is not known of these runs, and say so. Raises KdpipeError if that fails."""
    if runs := unmeasured(plan, names, device):
        print(announced(runs), file=sys.stderr, flush=True)
        measure(plan, runs, device)


def measure(plan: Plan, runs: list[Run], device: str) -> None:
    """Measure the speeds of these runs, the cheapest first, and keep them.

    Those that there was no time for are reckoned from the dearest that there was, and it is said
    which. Raises KdpipeError if that fails.
    """
    threads = max(run.spec["recipe"]["threads"] for run in runs)
    most = schedule.simulate(plan, list(plan.runs), lambda _: 1.0, schedule.cores()).abreast
    abreast = 1 if device == "cuda" else max(1, min(most, schedule.cores() // threads))
    asked = [
        {"spec": run.spec, "shape": plan.card.shape, "operations": run.cost.multiply_adds}
        for run in runs
    ]
    own = any("build" in run.spec["network"] for run in runs)
    means = Means(device, code=Path(str(plan.study.code)) if own else None)
    answers = _answers(json.dumps(asked), abreast, _seconds(runs), means)
    found = {
        run.name: Speed(**{name: sum(each[name] for each in one) / abreast for name in one[0]})
        for run, one in zip(runs, zip(*answers, strict=False), strict=False)
    }
    if not found:
        raise KdpipeError("measuring this machine took more than a minute: there is no price yet")
    if later := runs[len(found) :]:
        last = runs[len(found) - 1]
        names = ", ".join(dict.fromkeys(run.network for run in later))
        print(
            f"there was no time for {names}: reckoned from {last.network} by operations",
            file=sys.stderr,
            flush=True,
        )
        found |= {run.name: _reckoned(found[last.name], last, run) for run in later}
    speeds.keep({speeds.key(plan, plan.runs[name], device): found[name] for name in found})


def _reckoned(speed: Speed, of: Run, run: Run) -> Speed:
    """The speed of a run by that of another: its steps and images have more multiply-adds."""
    times = run.cost.multiply_adds / of.cost.multiply_adds
    batches = run.spec["recipe"]["batch_size"] / of.spec["recipe"]["batch_size"]
    return replace(speed, step=speed.step * times * batches, image=speed.image * times)


def _seconds(runs: list[Run]) -> float:
    return min(MINUTE, EACH * len(runs))


def _answers(asked: str, abreast: int, seconds: float, means: Means) -> list[list[dict]]:
    """What each of so many processes found side by side, as far as each came in `LIMIT` seconds."""
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
            until = time.monotonic() + LIMIT
            ended = [_ended(process, until) for process in processes]
        finally:
            for process in processes:
                process.kill()
    for _, errors, code in ended:
        if code:
            last = errors.strip().splitlines()[-1:] or [f"exit code {code}"]
            raise KdpipeError(f"measuring this machine failed: {last[0]}")
    # A line for each network; the last of one that was stopped may be torn.
    whole = [said.splitlines()[: said.count("\n")] for said, _, _ in ended]
    return [[json.loads(line) for line in lines] for lines in whole]


def _ended(process: subprocess.Popen, until: float) -> tuple[str, str, int]:
    """What a process said and its exit code; 0 of one that had to be stopped."""
    try:
        said = process.communicate(timeout=max(0.0, until - time.monotonic()))
        return *said, process.returncode
    except subprocess.TimeoutExpired:
        process.kill()
        return *process.communicate(), 0
