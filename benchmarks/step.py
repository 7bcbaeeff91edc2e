"""What a student's epoch costs beside the bare mathematics, and beside its teacher.

CIFAR-shaped random images, WRN40-2 teaches WRN16-1, batches of 64 on two threads. The real
`kdpipe.training.train` runs on a split that is handed to it; each alternative takes its turn in
every round, and the ratios are of epochs of the same round. Run it on an idle machine:

    python benchmarks/step.py [--images 1024] [--rounds 5]
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from kdpipe import checking, data, jobs, models, plan, store, teacher_tables, training

EPOCHS = 2
PAD = 1  # 18 views: a table of 162 takes minutes to build and is gathered from in the same way
BATCH = 64
CARD = {"shape": (3, 32, 32), "classes": 10}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--teacher", default="wrn40-2")
    parser.add_argument("--student", default="wrn16-1")
    options = parser.parse_args()
    torch.set_num_threads(2)
    with tempfile.TemporaryDirectory() as folder:
        measure(options, store.Store(Path(folder)))


def measure(options, place: store.Store) -> None:
    split = _split(options.images)
    data.load = lambda spec, place: split
    runs = {way: _runs(options, way) for way in ("table", "live")}
    teacher = runs["live"][0]
    print(jobs.train(teacher.spec, [], place))
    started = time.perf_counter()
    (table,) = runs["table"][1].tables
    teacher_tables.build(table.spec, place)
    views = plan.view_count(table.spec["data"]["views"])
    print(f"table of {options.images} images x {views} views: {_since(started):.1f} s")

    times: dict[str, list[float]] = {}
    for round_ in range(options.rounds + 1):  # the first warms up and is not counted
        ways = {
            "bare student": lambda: _bare(split, options, teacher=False),
            "kdpipe, table": lambda: _kdpipe(runs["table"][1], place),
            "bare teacher + student": lambda: _bare(split, options, teacher=True),
            "kdpipe, live": lambda: _kdpipe(runs["live"][1], place),
        }
        for name, epoch in ways.items():
            seconds = epoch()
            if round_:
                times.setdefault(name, []).append(seconds)
    for name, found in times.items():
        rate = options.images / statistics.median(found)
        print(f"{name:24} {statistics.median(found):6.2f} s an epoch, {rate:7.1f} images/s")
    for ours, bare in [
        ("kdpipe, table", "bare student"),
        ("kdpipe, live", "bare teacher + student"),
    ]:
        ratios = [a / b for a, b in zip(times[ours], times[bare], strict=True)]
        print(
            f"{ours} / {bare}: {statistics.median(ratios):.3f} "
            f"(min {min(ratios):.3f}, max {max(ratios):.3f}, n {len(ratios)})"
        )
    _share_of_the_machine(options, times["kdpipe, table"])


def _kdpipe(run: plan.Run, place: store.Store) -> float:
    """Seconds an epoch of the real training: state saved, curve noted, test read at the end."""
    folder = place.run(run.name)
    for path in [*folder.glob("*"), *folder.glob(".*")]:
        if path.is_file():
            path.unlink()
    folder.mkdir(parents=True, exist_ok=True)
    result = training.train(run.spec, run.digest, [], EPOCHS, place)
    return result.training_seconds / EPOCHS


def _bare(split: data.Split, options, teacher: bool) -> float:
    """Forward and backward of the student on a batch that lies there; no data, no optimiser."""
    layout = torch.channels_last
    student = models.build(options.student, num_classes=10, in_channels=3).to(memory_format=layout)
    big = models.build(options.teacher, num_classes=10, in_channels=3).to(memory_format=layout)
    big.eval()
    x = torch.randn(BATCH, 3, 32, 32).contiguous(memory_format=layout)
    y = torch.randint(10, (BATCH,))
    started = time.perf_counter()
    for _ in range(EPOCHS * options.images // BATCH):
        if teacher:
            with torch.no_grad():
                big(x)
        student.zero_grad()
        F.cross_entropy(student(x), y).backward()
    return _since(started) / EPOCHS


def _share_of_the_machine(options, seconds: list[float]) -> None:
    """How far the step is from what the machine multiplies in a large matrix product."""
    a = torch.randn(2048, 2048)
    started = time.perf_counter()
    for _ in range(5):
        a @ a
    peak = 5 * 2048**3 / _since(started)
    from kdpipe import networks

    cost = networks.cost(options.student, CARD["shape"], CARD["classes"]).multiply_adds
    rate = 3 * cost * options.images / statistics.median(seconds)
    print(
        f"the student's step does {rate:.2e} multiply-adds a second, {100 * rate / peak:.0f} % of "
        f"a 2048 x 2048 matrix product's {peak:.2e}"
    )


def _runs(options, way: str) -> list[plan.Run]:
    """(teacher, student) of a study on the images at hand."""
    study = checking.validate(
        {
            "study": "bench",
            "seeds": [0],
            "data": {"name": "cifar10", "train_size": options.images, "pad": PAD, "flip": True},
            "recipe": {"epochs": EPOCHS, "batch_size": BATCH, "lr": 0.1, "threads": 2},
            "network_recipes": {options.teacher: {"epochs": 1}},
            "teacher_outputs": way,
            "methods": {"kd": {}},
            "experiments": [
                {
                    "name": "a",
                    "teachers": [options.teacher],
                    "students": [options.student],
                    "methods": ["kd"],
                }
            ],
        },
        "the benchmark",
    )
    made = plan.make(study)
    return [made.cells[0].teacher.members[0][0], made.cells[0].run]


def _split(images: int) -> data.Split:
    rng = np.random.default_rng(0)

    def part(count: int) -> data.Part:
        pixels = rng.integers(0, 256, (count, 3, 32, 32), dtype=np.uint8)
        return data.Part(pixels, rng.integers(0, 10, count))

    mean = np.full(3, 0.5)
    return data.Split(part(images), part(0), part(64), mean, mean / 2, 10)


def _since(started: float) -> float:
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
