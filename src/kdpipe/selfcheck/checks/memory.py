"""What a run takes of the host's memory and the GPU's, beside the plan's price for a job."""

import resource

from kdpipe.plan import resources
from kdpipe.selfcheck.bench import Bench
from kdpipe.selfcheck.check import Check, Outcome


def look(bench: Bench) -> Outcome:
    import torch

    runs = bench.runs("timed")
    bench.taught(runs, bench.place("memory"))
    host = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1000
    gpu = torch.cuda.max_memory_allocated() // 10**6
    priced = resources.of(runs.student, runs.plan.card, "cuda").megabytes
    said = f"{host:,} MB of the host, {priced:,} were reckoned; {gpu:,} MB of the GPU"
    numbers = {"host_megabytes": host, "priced_megabytes": priced, "gpu_megabytes": gpu}
    return Outcome(host <= priced, said, numbers)


CHECK = Check(
    order=130,
    title="Memory beside the plan's price",
    look=look,
    meanwhile="on a cluster, --default-resources mem_mb=... in the site's profile",
)
