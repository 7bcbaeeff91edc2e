"""Compares a run's memory on the host and on the GPU with the estimate for its job."""

import resource

from kdpipe.gpu_check.check import Check, Outcome
from kdpipe.gpu_check.fixtures import CheckFixture
from kdpipe.plan import resources


def run_check(fixture: CheckFixture) -> Outcome:
    """Run the check."""
    import torch

    runs = fixture.get_runs("timed")
    fixture.train_student(runs, fixture.make_store("memory"))
    host = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1000
    gpu = torch.cuda.max_memory_allocated() // 10**6
    estimated = resources.estimate_resources(runs.student, runs.plan.card, "cuda").megabytes
    message = f"{host:,} MB of the host, {estimated:,} MB were estimated; {gpu:,} MB of the GPU"
    numbers = {"host_megabytes": host, "priced_megabytes": estimated, "gpu_megabytes": gpu}
    return Outcome(host <= estimated, message, numbers)


CHECK = Check(
    order=130,
    title="Memory compared to the estimate",
    function=run_check,
    meanwhile="on a cluster, --default-resources mem_mb=... in the site's profile",
)
