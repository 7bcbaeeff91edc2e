"""What a measurement counts as its own time, beside work that takes the same core."""

import os
import subprocess
import sys
import time

import pytest

from kdpipe.training import benchmark

BUSY = "while True: pass"


@pytest.mark.skipif(not os.path.exists("/proc/thread-self/schedstat"), reason="no schedstat here")
def test_what_others_take_of_a_core_is_not_its_own():
    """The processor's clock of the thread is the oracle: it stands while another one works."""
    cores = os.sched_getaffinity(0)
    core = min(cores)
    others = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(2)]
    try:
        os.sched_setaffinity(0, {core})
        for other in others:
            os.sched_setaffinity(other.pid, {core})
        wall, used, before = time.monotonic(), time.thread_time(), benchmark.read_cpu_wait()
        while time.monotonic() - wall < 1.0:
            sum(range(1000))
        wall, used = time.monotonic() - wall, time.thread_time() - used
        waited = benchmark.read_cpu_wait() - before
    finally:
        os.sched_setaffinity(0, cores)
        for other in others:
            other.kill()
            other.wait()
    assert used < 0.7 * wall  # or there was nothing to tell apart
    assert wall - waited == pytest.approx(used, abs=0.1 * wall)
