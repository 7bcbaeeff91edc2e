"""What the benchmarks of training share: random CIFAR-shaped images, and runs on them."""

import time

import numpy as np

from kdpipe.config import load
from kdpipe.data import splits
from kdpipe.plan import planner
from kdpipe.plan.nodes import Run
from kdpipe.runs import store
from kdpipe.training import loop

SHAPE, CLASSES = (3, 32, 32), 10


def split(
    images: int, test: int = 64, shape: tuple[int, int, int] = SHAPE, classes: int = CLASSES
) -> splits.Split:
    """Random pixels and labels: `images` to train on, no validation."""
    rng = np.random.default_rng(0)

    def part(count: int) -> splits.Subset:
        pixels = rng.integers(0, 256, (count, *shape), dtype=np.uint8)
        return splits.Subset(pixels, rng.integers(0, classes, count))

    mean = np.full(shape[0], 0.5)
    return splits.Split(part(images), part(0), part(test), mean, mean / 2, classes)


def runs(
    teacher: str,
    student: str,
    images: int,
    *,
    outputs: str,
    epochs: int,
    batch: int,
    data: str = "cifar10",
    method: dict | None = None,
    half: bool = False,
    **views,
) -> tuple[Run, Run]:
    """(teacher, student) of a study on such images; the teacher trains for one epoch, in float32.

    With `half` the student is trained in bfloat16, and its teacher answers in it.
    """
    study = load.validate_study(
        {
            "study": "bench",
            "seeds": [0],
            "data": {"name": data, "train_size": images} | views,
            "recipe": {"epochs": epochs, "batch_size": batch, "lr": 0.1, "threads": 2}
            | ({"autocast": "bfloat16"} if half else {}),
            "network_recipes": {teacher: {"epochs": 1, "autocast": None}},
            "teacher_precision": "bfloat16" if half else "float32",
            "teacher_outputs": outputs,
            "methods": {"kd": method or {}},
            "experiments": [
                {
                    "name": "a",
                    "teachers": [teacher],
                    "students": [student],
                    "methods": ["kd"],
                }
            ],
        },
        "the benchmark",
    )
    plan = planner.build_plan(study)
    return plan.cells[0].teacher.members[0][0], plan.cells[0].run


def train(run: Run, results_store: store.Store) -> float:
    """Seconds an epoch of the real training: state saved, curve noted, test read at the end."""
    folder = results_store.run(run.name)
    for path in [*folder.glob("*"), *folder.glob(".*")]:
        if path.is_file():
            path.unlink()
    folder.mkdir(parents=True, exist_ok=True)
    result = loop.train(run.spec, run.digest, folder, [], run.epochs, results_store)
    return result.training_seconds / run.epochs


def since(started: float) -> float:
    return time.perf_counter() - started


def ratio(name: str, above: list[float], below: list[float]) -> str:
    """The median of the ratios of each round, with the smallest and the largest."""
    ratios = sorted(a / b for a, b in zip(above, below, strict=True))
    middle = (ratios[(len(ratios) - 1) // 2] + ratios[len(ratios) // 2]) / 2
    return f"{name}: {middle:.3f} (min {ratios[0]:.3f}, max {ratios[-1]:.3f}, n {len(ratios)})"
