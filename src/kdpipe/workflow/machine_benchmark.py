"""Benchmarking this machine for a study: a few steps of each network, in at most a minute.

As many processes are timed in parallel as jobs will run: cores share caches and memory, so that one
process alone would be faster than the jobs.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection, Iterable
from dataclasses import replace
from pathlib import Path

import psutil

from kdpipe.errors import KdpipeError
from kdpipe.plan import estimate
from kdpipe.plan.estimate import Speed
from kdpipe.plan.nodes import Plan, Run
from kdpipe.runs.execution_options import ExecutionOptions

TOTAL_SECONDS = 45.0  # of timing, so that the total with process startup is below a minute
SECONDS_PER_MODEL = 6.0  # enough for one network
TIMEOUT_SECONDS = 58.0  # from the start of the processes to when they are stopped
SAMPLE_SECONDS = 0.5  # for which it is looked whether the machine is still loaded


def find_unmeasured(
    plan: Plan, names: Collection[str], device: str, with_bfloat16: bool = False
) -> list[Run]:
    """Return one run for each speed that is not measured yet, the cheapest first.

    A network that is not trained is measured too, since it may be a teacher. A speed that was
    measured while other processes took cores counts as not measured once they do not.

    Parameters
    ----------
    plan : Plan
        The plan.
    names : collection of str
        Names of the relevant runs.
    device : {"cpu", "cuda"}
        Device of the runs.
    with_bfloat16 : bool
        Whether each network must be measured as a teacher that answers in bfloat16 too.
    """
    measured, runs_by_key = estimate.load_speeds(), dict[str, Run]()
    has_idle_cores: bool | None = None
    for run in sorted(plan.runs.values(), key=lambda run: run.cost.multiply_adds):
        if run.name not in names:
            continue
        key = estimate.make_speed_key(plan, run, device)
        speed = measured.get(key)
        if speed is None or (with_bfloat16 and not speed.bfloat16_image):
            runs_by_key.setdefault(key, run)
        elif speed.is_loaded and key not in runs_by_key:
            if has_idle_cores is None:
                has_idle_cores = _has_idle_cores()
            if has_idle_cores:
                runs_by_key[key] = run
    return list(runs_by_key.values())


def format_announcement(runs: list[Run]) -> str:
    """Return the message that is printed before the benchmark."""
    names = ", ".join(dict.fromkeys(run.network for run in runs))
    seconds = f"{_budget_seconds(runs):.0f} seconds, once"
    return f"benchmarking {names} on this machine, to estimate how long the study takes: {seconds}"


def measure_missing(
    plan: Plan, names: Collection[str], device: str, variants: Iterable[Plan] | None = None
) -> None:
    """Measure the speeds that are not known yet, and print a message.

    Parameters
    ----------
    plan : Plan
        The plan.
    names : collection of str
        Names of the relevant runs.
    device : {"cpu", "cuda"}
        Device of the runs.
    variants : iterable of Plan, optional
        Plans of the same study in bfloat16, which are measured with it; networks are then also
        measured as teachers that answer in bfloat16.

    Raises
    ------
    KdpipeError
        If a benchmark fails.
    """
    with_bfloat16 = variants is not None
    runs = {
        estimate.make_speed_key(plan, run, device): run
        for each in (plan, *(variants or ()))
        for run in find_unmeasured(
            each, names if each is plan else each.runs, device, with_bfloat16
        )
    }
    if runs:
        by_cost = sorted(runs.values(), key=lambda run: run.cost.multiply_adds)
        print(format_announcement(by_cost), file=sys.stderr, flush=True)
        measure_speeds(plan, by_cost, device, with_bfloat16)


def measure_speeds(plan: Plan, runs: list[Run], device: str, with_bfloat16: bool = False) -> None:
    """Measure the speeds of these runs and store them in the benchmark cache.

    Speeds for which there was no time are extrapolated from the most expensive network that was
    measured, with a message.

    Parameters
    ----------
    plan : Plan
        The plan.
    runs : list of Run
        Runs to measure, the cheapest first; of the plan, or of the same study in bfloat16.
    device : {"cpu", "cuda"}
        Device of the runs.
    with_bfloat16 : bool
        Whether each network is also measured as a teacher that answers in bfloat16.

    Raises
    ------
    KdpipeError
        If a benchmark fails.
    """
    threads = max(run.spec.recipe.threads for run in runs)
    max_parallel = estimate.simulate_schedule(
        plan, list(plan.runs), lambda _: 1.0, estimate.count_cores()
    ).max_jobs
    n_parallel = (
        1 if device == "cuda" else max(1, min(max_parallel, estimate.count_cores() // threads))
    )
    requests = [
        {
            "spec": run.spec.to_dict(),
            "shape": plan.card.shape,
            "operations": run.cost.multiply_adds,
            "bfloat16": with_bfloat16,
        }
        for run in runs
    ]
    uses_user_code = any(run.spec.network.build for run in runs)
    options = ExecutionOptions(device, code=Path(str(plan.study.code)) if uses_user_code else None)
    load_meter = LoadMeter()
    results = _run_benchmarks(json.dumps(requests), n_parallel, _budget_seconds(runs), options)
    load = load_meter.measure(n_parallel * threads)
    speed_by_run = {
        run: Speed(
            **{
                name: sum(each[name] for each in measurements) / n_parallel
                for name in measurements[0]
            },
            load=load,
        )
        for run, measurements in zip(runs, zip(*results, strict=False), strict=False)
    }
    if not speed_by_run:
        raise KdpipeError(
            "the benchmark of this machine took more than a minute: there is no time estimate yet"
        )
    if load > estimate.MAX_LOAD:
        print(
            f"other processes took {load:.1f} cores from the benchmark: its estimates are too "
            "long, and it is repeated when the machine is idle",
            file=sys.stderr,
            flush=True,
        )
    if untimed := runs[len(speed_by_run) :]:
        last = runs[len(speed_by_run) - 1]
        names = ", ".join(dict.fromkeys(run.network for run in untimed))
        print(
            f"there was no time for {names}: extrapolated from {last.network} by multiply-adds",
            file=sys.stderr,
            flush=True,
        )
        speed_by_run |= {run: _scale_speed(speed_by_run[last], last, run) for run in untimed}
    estimate.save_speeds(
        {estimate.make_speed_key(plan, run, device): speed for run, speed in speed_by_run.items()}
    )


class LoadMeter:
    """Meter of the cores that other processes take from this one and its children."""

    def __init__(self) -> None:
        self.start = self._read()

    def measure(self, own_cores: int) -> float:
        """Return how many of the cores that it wanted other processes have taken since the start.

        Parameters
        ----------
        own_cores : int
            Cores that the children wanted.
        """
        wall, busy, own = (
            now - before for now, before in zip(self._read(), self.start, strict=True)
        )
        spare_cores = max(0, (psutil.cpu_count() or 1) - own_cores)
        return round(max(0.0, (busy - own) / max(wall, 1e-9) - spare_cores), 2)

    def _read(self) -> tuple[float, float, float]:
        """Return the time, the busy core-seconds of the machine, and those of the children."""
        machine, children = psutil.cpu_times(), os.times()
        busy = machine.user + machine.system  # nice and guest are not counted twice
        return time.monotonic(), busy, children.children_user + children.children_system


def _has_idle_cores() -> bool:
    """Return whether this machine does hardly anything at the moment."""
    busy_cores = psutil.cpu_percent(SAMPLE_SECONDS) / 100 * (psutil.cpu_count() or 1)
    return busy_cores <= estimate.MAX_LOAD


def _scale_speed(speed: Speed, reference: Run, run: Run) -> Speed:
    """Return the speed of a run extrapolated from another, in proportion to their multiply-adds."""
    cost_ratio = run.cost.multiply_adds / reference.cost.multiply_adds
    batch_ratio = run.spec.recipe.batch_size / reference.spec.recipe.batch_size
    return replace(
        speed,
        step=speed.step * cost_ratio * batch_ratio,
        image=speed.image * cost_ratio,
        bfloat16_image=speed.bfloat16_image * cost_ratio,
    )


def _budget_seconds(runs: list[Run]) -> float:
    """Return how long these runs may be timed."""
    return min(TOTAL_SECONDS, SECONDS_PER_MODEL * len(runs))


def _run_benchmarks(
    requests: str, n_parallel: int, seconds: float, options: ExecutionOptions
) -> list[list[dict]]:
    """Return the measurements that each of the parallel processes finished before the timeout."""
    command = [sys.executable, "-P", "-m", "kdpipe", "measure", f"--seconds={seconds}"]
    command += [f"--since={time.time()}", *options.to_arguments()]
    with tempfile.TemporaryFile("w+", encoding="utf-8") as request_file:
        request_file.write(requests)
        request_file.flush()
        processes = []
        for _ in range(n_parallel):
            # Opened for each process, since a shared file description has a shared position.
            with open(f"/proc/self/fd/{request_file.fileno()}", "rb") as stdin_file:
                processes.append(
                    subprocess.Popen(
                        command,
                        stdin=stdin_file,
                        stdout=subprocess.PIPE,
                        stderr=subprocess.PIPE,
                        text=True,
                        encoding="utf-8",
                        errors="replace",
                    )
                )
        try:
            deadline = time.monotonic() + TIMEOUT_SECONDS
            outputs = [_collect_output(process, deadline) for process in processes]
        finally:
            for process in processes:
                process.kill()
    for _, errors, code in outputs:
        if code:
            last_lines = errors.strip().splitlines()[-1:] or [f"exit code {code}"]
            raise KdpipeError(f"the benchmark of this machine failed: {last_lines[0]}")
    # A line for each network; the last line of a stopped process may be incomplete.
    complete_lines = [output.splitlines()[: output.count("\n")] for output, _, _ in outputs]
    return [[json.loads(line) for line in lines] for lines in complete_lines]


def _collect_output(process: subprocess.Popen, deadline: float) -> tuple[str, str, int]:
    """Return the outputs of a process and its exit code, 0 if it had to be stopped."""
    try:
        outputs = process.communicate(timeout=max(0.0, deadline - time.monotonic()))
        return *outputs, process.returncode
    except subprocess.TimeoutExpired:
        process.kill()
        return *process.communicate(), 0
