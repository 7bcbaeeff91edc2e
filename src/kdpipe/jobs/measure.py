"""The job that measures how fast this machine trains some networks."""

import time
from collections.abc import Iterator

from kdpipe.devices import leases
from kdpipe.runs.execution_options import ExecutionOptions
from kdpipe.runs.spec import RunSpec


def measure_speeds(
    requests: list[dict], seconds: float, process_start: float, options: ExecutionOptions
) -> Iterator[dict]:
    """Measure the training speed of some runs, and yield each result as soon as it is known.

    The caller may stop early, so the order of the requests is kept.

    Parameters
    ----------
    requests : list of dict
        {"spec", "shape", "operations", "bfloat16"}: the spec of a run, the shape (C, H, W) of its
        images, the multiply-adds of a forward pass of one image, and whether the network is also
        measured as a teacher that answers in bfloat16.
    seconds : float
        Approximate total duration of the measurements.
    process_start : float
        Start time of this process, in seconds since the epoch.
    options : ExecutionOptions
        Device and files of the job.

    Yields
    ------
    dict
        The seconds `start` that a process needs to start, and the values of `benchmark_training`.
    """
    with leases.acquire_gpus(options.device, options.runs_per_gpu):
        from kdpipe.training import benchmark

        startup_seconds = max(0.0, time.time() - process_start - benchmark.read_cpu_wait())
        seconds_each = seconds / max(1, len(requests))
        for request in requests:
            speeds = benchmark.benchmark_training(
                RunSpec.from_dict(request["spec"]),
                tuple(request["shape"]),
                request["operations"],
                seconds_each,
                options,
                request["bfloat16"],
            )
            yield {"start": startup_seconds} | speeds
