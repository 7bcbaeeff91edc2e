"""Compares a logit cache from the GPU with one from the CPU for the same weights."""

from kdpipe.gpu_check.check import Check, Outcome
from kdpipe.gpu_check.fixtures import CheckFixture
from kdpipe.runs.execution_options import ExecutionOptions


def run_check(fixture: CheckFixture) -> Outcome:
    """Run the check."""
    import numpy as np

    from kdpipe.devices import leases
    from kdpipe.training.teachers import cached

    runs, store = fixture.get_runs(), fixture.make_store("tables")
    spec = runs.student.logit_caches[0].spec
    fixture.run_forked(lambda: fixture.train(runs.teacher, store, [spec.epoch]))
    logits = []
    for device in ("cpu", "cuda"):
        with leases.acquire_gpus(device, 1):
            folder = cached.build_logit_cache(spec, store, ExecutionOptions(device))
        logits.append(np.load(folder / "table.npy").astype(np.float64))
    cpu_logits, gpu_logits = logits
    difference = float(np.abs(cpu_logits - gpu_logits).max())
    bound = cached.TOLERANCE * (1 + float(np.abs(cpu_logits).max()))
    message = f"logits differ by at most {difference:.1e}, {bound:.1e} is allowed"
    return Outcome(
        difference <= bound,
        message,
        {"off": difference, "allowed": bound, "logits": cpu_logits.size},
    )


CHECK = Check(
    order=70,
    title="A logit cache against the CPU",
    function=run_check,
    meanwhile="teacher_outputs: live",
)
