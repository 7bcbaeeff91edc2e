"""The job that measures this machine: how fast it trains each of some networks."""

import time
from collections.abc import Iterator

from kdpipe.devices import leases
from kdpipe.specs.equipment import Means


def measure(asked: list[dict], seconds: float, since: float, means: Means) -> Iterator[dict]:
    """The speed of each run that is asked for, in about `seconds` together, in their order.

    Each is given as soon as it is known: there may be no time for the last ones.

    asked: each has the `spec` of a run, the `shape` of its images and the `operations` of one
    forward. since: when the process was started, by the clock of the machine.
    """
    with leases.held(means.device, means.runs_per_gpu):
        from kdpipe.training import speed

        start = max(0.0, time.time() - since - speed.waited())
        each = seconds / max(1, len(asked))
        for one in asked:
            found = speed.measure(one["spec"], tuple(one["shape"]), one["operations"], each, means)
            yield {"start": start} | found
