"""A teacher table built on the GPU beside the one that the CPU builds from the same weights."""

from kdpipe.selfcheck.bench import Bench
from kdpipe.selfcheck.check import Check, Outcome
from kdpipe.specs.equipment import Means


def look(bench: Bench) -> Outcome:
    import numpy as np

    from kdpipe.devices import leases
    from kdpipe.training.teachers import tables

    runs, place = bench.runs(), bench.place("tables")
    spec = runs.student.tables[0].spec
    bench.apart(lambda: bench.train(runs.teacher, place, [spec["epoch"]]))
    found = []
    for device in ("cpu", "cuda"):
        with leases.held(device, 1):
            folder = tables.build(spec, place, Means(device))
        found.append(np.load(folder / "table.npy").astype(np.float64))
    ours, theirs = found
    off = float(np.abs(ours - theirs).max())
    bound = tables.TOLERANCE * (1 + float(np.abs(ours).max()))
    said = f"logits are off by {off:.1e} at most, {bound:.1e} are allowed"
    return Outcome(off <= bound, said, {"off": off, "allowed": bound, "logits": ours.size})


CHECK = Check(
    order=70,
    title="A teacher table beside the CPU's",
    look=look,
    meanwhile="teacher_outputs: live",
)
