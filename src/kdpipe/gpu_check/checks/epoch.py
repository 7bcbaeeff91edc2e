"""Compares an epoch of CIFAR's size in the training loop with forward and backward alone."""

import time
from dataclasses import replace

from kdpipe.devices import determinism, leases
from kdpipe.gpu_check.check import Check, Outcome
from kdpipe.gpu_check.fixtures import CheckFixture
from kdpipe.runs.execution_options import ExecutionOptions

IMAGES, SHAPE = 50_000, (3, 32, 32)
MAX_RATIO = 1.5  # ratio of the loop to forward and backward alone


def run_check(fixture: CheckFixture) -> Outcome:
    """Run the check."""
    import torch

    from kdpipe.gpu_check import compare
    from kdpipe.training import benchmark

    run = fixture.get_runs("timed").plan.scratch[fixture.get_runs("timed").student.network, 0, 0]
    spec = replace(run.spec, network=replace(run.spec.network, channels=SHAPE[0]))
    size, seconds = run.spec.recipe.batch_size, 1.0 if fixture.quick else 15.0
    with leases.acquire_gpus("cuda", 1):
        device = determinism.prepare_torch_device("cuda")
        measured = benchmark.benchmark_training(
            spec, SHAPE, run.cost.multiply_adds, seconds, ExecutionOptions("cuda")
        )
        model = compare.build_network(run.network, SHAPE).to(device)
        images, labels = (tensor.to(device) for tensor in compare.make_batch(SHAPE, size))
        images = images.contiguous(memory_format=torch.channels_last)

        def run_bare() -> None:
            """Run forward and backward alone."""
            model.zero_grad()
            torch.nn.functional.cross_entropy(model(images), labels).backward()

        for _ in range(3):
            run_bare()
        _synchronize(device)
        # Without the time in which this thread waited for a core.
        start, waited_before, steps = time.monotonic(), benchmark.read_cpu_wait(), 0
        while steps < 3 or time.monotonic() - start < seconds / 3:
            run_bare()
            steps += 1
            if steps % 20 == 0:
                _synchronize(device)
        _synchronize(device)
        bare_seconds = (
            time.monotonic() - start - (benchmark.read_cpu_wait() - waited_before)
        ) / steps
    epoch_seconds, ratio = IMAGES / size * measured["step"], measured["step"] / bare_seconds
    message = f"{run.network}: {epoch_seconds:.2f} s, {ratio:.2f} times forward and backward alone"
    numbers = {
        "seconds": epoch_seconds,
        "bare_seconds": IMAGES / size * bare_seconds,
        "times": ratio,
    }
    return Outcome(ratio <= MAX_RATIO, f"{message} ({MAX_RATIO:g} is allowed)", numbers)


def _synchronize(device) -> None:
    """Wait until a GPU has finished."""
    import torch

    if device.type == "cuda":
        torch.cuda.synchronize()


CHECK = Check(
    order=120,
    title="An epoch of 50,000 images of 32 x 32",
    function=run_check,
    meanwhile="nothing: results are correct, but runs are slow; a larger batch_size helps",
)
