"""An epoch of 50,000 images of CIFAR's shape in the real loop, beside its bare forward-backward."""

import time

from kdpipe.devices import exact, leases
from kdpipe.selfcheck.bench import Bench
from kdpipe.selfcheck.check import Check, Outcome
from kdpipe.specs.equipment import Means

IMAGES, SHAPE = 50_000, (3, 32, 32)
MOST = 1.5  # times what forward and backward alone take


def look(bench: Bench) -> Outcome:
    import torch

    from kdpipe.selfcheck import compared
    from kdpipe.training import speed

    run = bench.runs("timed").plan.scratch[bench.runs("timed").student.network, 0, 0]
    network = run.spec["network"] | {"channels": SHAPE[0]}
    spec = {**run.spec, "network": network}
    size, seconds = run.spec["recipe"]["batch_size"], 1.0 if bench.quick else 15.0
    with leases.held("cuda", 1):
        where = exact.torch_device("cuda")
        measured = speed.measure(spec, SHAPE, run.cost.multiply_adds, seconds, Means("cuda"))
        model = compared.network(run.network, SHAPE).to(where)
        images, labels = (one.to(where) for one in compared.batch(SHAPE, size))
        images = images.contiguous(memory_format=torch.channels_last)

        def bare() -> None:
            model.zero_grad()
            torch.nn.functional.cross_entropy(model(images), labels).backward()

        for _ in range(3):
            bare()
        _waited(where)
        # As `measured` has it: seconds in which this thread had a core.
        began, before, steps = time.monotonic(), speed.waited(), 0
        while steps < 3 or time.monotonic() - began < seconds / 3:
            bare()
            steps += 1
            if steps % 20 == 0:
                _waited(where)
        _waited(where)
        alone = (time.monotonic() - began - (speed.waited() - before)) / steps
    whole, times = IMAGES / size * measured["step"], measured["step"] / alone
    said = f"{run.network}: {whole:.2f} s, {times:.2f} times forward and backward alone"
    numbers = {"seconds": whole, "bare_seconds": IMAGES / size * alone, "times": times}
    return Outcome(times <= MOST, f"{said} ({MOST:g} are allowed)", numbers)


def _waited(where) -> None:
    import torch

    if where.type == "cuda":
        torch.cuda.synchronize()


CHECK = Check(
    order=120,
    title="An epoch of 50,000 images of 32 x 32",
    look=look,
    meanwhile="nothing: runs are right, and slower than they could be; a larger batch_size helps",
)
