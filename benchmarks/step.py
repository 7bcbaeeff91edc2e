"""What a student's epoch costs beside the bare mathematics, and beside its teacher.

CIFAR-shaped random images, WRN40-2 teaches WRN16-1, batches of 64 on two threads. The real
`kdpipe.training.loop.train` runs on a split that is handed to it; each alternative takes its turn
in every round, and the ratios are of epochs of the same round. Run it on an idle machine:

    python benchmarks/step.py [--images 1024] [--rounds 5]
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import cifar_runs
import torch
import torch.nn.functional as F

from kdpipe.data import splits
from kdpipe.data.data_spec import count_views
from kdpipe.jobs.train import train_run
from kdpipe.models import factory, registry
from kdpipe.plan.nodes import Run
from kdpipe.runs import store
from kdpipe.training.teachers import cached as teacher_tables

EPOCHS = 2
PAD = 1  # 18 views: a table of 162 takes minutes to build and is gathered from in the same way
BATCH = 64


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


def measure(options, results_store: store.Store) -> None:
    split = cifar_runs.split(options.images)
    splits.load_split = lambda spec, results_store: split
    runs = {way: _runs(options, way) for way in ("table", "live")}
    teacher = runs["live"][0]
    print(train_run(teacher.spec, [], results_store))
    started = time.perf_counter()
    (table,) = runs["table"][1].logit_caches
    teacher_tables.build_logit_cache(table.spec, results_store)
    views = count_views(table.spec.data)
    print(f"table of {options.images} images x {views} views: {cifar_runs.since(started):.1f} s")

    times: dict[str, list[float]] = {}
    for round_ in range(options.rounds + 1):  # the first warms up and is not counted
        ways = {
            "bare student": lambda: _bare(options, teacher=False),
            "kdpipe, table": lambda: cifar_runs.train(runs["table"][1], results_store),
            "bare teacher + student": lambda: _bare(options, teacher=True),
            "kdpipe, live": lambda: cifar_runs.train(runs["live"][1], results_store),
        }
        for name, epoch in ways.items():
            seconds = epoch()
            if round_:
                times.setdefault(name, []).append(seconds)
    for name, actual in times.items():
        rate = options.images / statistics.median(actual)
        print(f"{name:24} {statistics.median(actual):6.2f} s an epoch, {rate:7.1f} images/s")
    for own_value, bare in [
        ("kdpipe, table", "bare student"),
        ("kdpipe, live", "bare teacher + student"),
    ]:
        print(cifar_runs.ratio(f"{own_value} / {bare}", times[own_value], times[bare]))
    _share_of_the_machine(options, times["kdpipe, table"])


def _bare(options, teacher: bool) -> float:
    """Forward and backward of the student on a batch that lies there; no data, no optimiser."""
    layout = torch.channels_last
    student = factory.build_named_model(options.student, num_classes=10, in_channels=3).to(
        memory_format=layout
    )
    big = factory.build_named_model(options.teacher, num_classes=10, in_channels=3).to(
        memory_format=layout
    )
    big.eval()
    x = torch.randn(BATCH, *cifar_runs.SHAPE).contiguous(memory_format=layout)
    y = torch.randint(10, (BATCH,))
    started = time.perf_counter()
    for _ in range(EPOCHS * options.images // BATCH):
        if teacher:
            with torch.no_grad():
                big(x)
        student.zero_grad()
        F.cross_entropy(student(x), y).backward()
    return cifar_runs.since(started) / EPOCHS


def _share_of_the_machine(options, seconds: list[float]) -> None:
    """How far the step is from what the machine multiplies in a large matrix product."""
    a = torch.randn(2048, 2048)
    started = time.perf_counter()
    for _ in range(5):
        torch.matmul(a, a)
    peak = 5 * 2048**3 / cifar_runs.since(started)
    cost = registry.compute_cost(
        options.student, cifar_runs.SHAPE, cifar_runs.CLASSES
    ).multiply_adds
    rate = 3 * cost * options.images / statistics.median(seconds)
    print(
        f"the student's step does {rate:.2e} multiply-adds a second, {100 * rate / peak:.0f} % of "
        f"a 2048 x 2048 matrix product's {peak:.2e}"
    )


def _runs(options, way: str) -> tuple[Run, Run]:
    return cifar_runs.runs(
        options.teacher,
        options.student,
        options.images,
        outputs=way,
        epochs=EPOCHS,
        batch=BATCH,
        pad=PAD,
        flip=True,
    )


if __name__ == "__main__":
    main()
