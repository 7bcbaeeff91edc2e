"""What the comparisons with other frameworks share: kdpipe's part, the rounds, and the table.

CIFAR-100-shaped random images, WRN40-2 (in eval mode) teaches WRN16-1, batches of 64, two threads.
In each round every part takes its turn: an epoch of the other framework for each number of workers,
then of kdpipe, in float32 and in bfloat16, a view of the logit cache, an epoch of a student from
it, and one with a live teacher. Grids of one and of six students are then computed as in a study:

    the other     students x epochs
    kdpipe        162 views of the cache + students x epochs

Both without validation and start-up. The other framework computes in float32, as it comes, and
also inside torch.autocast, which it does not offer. Of its numbers of workers, and of these two,
the fastest counts where kdpipe is in bfloat16; in float32 it is the fastest in float32.
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable

import cifar_runs
import torch

from kdpipe.data.data_spec import count_views
from kdpipe.devices import host
from kdpipe.jobs.train import train_run
from kdpipe.plan.nodes import LogitCache, Run
from kdpipe.runs import store
from kdpipe.training.teachers import cached

TEACHER, STUDENT, BATCH, CLASSES = "wrn40-2", "wrn16-1", 64, 100
VIEWS = 162
STUDENTS = (6, 1)
WORKERS = (0, 1, 2)
PRECISIONS = ("float32", "bfloat16")
# Trains for an epoch, and returns its seconds.
Epoch = Callable[[], float]


def parse_options(description: str, *paths: str) -> argparse.Namespace:
    """Read the options of a comparison; `paths` are required ones of its own."""
    parser = argparse.ArgumentParser(description=description.partition("\n")[0])
    for path in paths:
        parser.add_argument(path, required=True)
    parser.add_argument("--images", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=4)
    return parser.parse_args()


def plan_runs(images: int, outputs: str, precision: str = "float32") -> tuple[Run, Run]:
    """(teacher, student); the teacher is the same run in both precisions."""
    half = precision == "bfloat16"
    keys = {"outputs": outputs, "epochs": 2, "batch": BATCH, "data": "cifar100", "half": half}
    return cifar_runs.runs(TEACHER, STUDENT, images, pad=1, flip=False, **keys)


def compare(
    name: str,
    theirs: dict[tuple[str, int], Epoch],
    options: argparse.Namespace,
    epochs: int,
    results_store: store.Store,
) -> None:
    """Time both in interleaved rounds, and print medians, spreads and ratios.

    `theirs` are epochs of the other framework, by precision and number of workers; the teacher has
    been trained into the store.
    """
    ways: dict[str, Epoch] = {
        f"{name}, {precision}, {workers} workers": epoch
        for (precision, workers), epoch in theirs.items()
    }
    for precision in PRECISIONS:
        ways |= _list_own(options.images, precision, results_store)
    times: dict[str, list[float]] = {way: [] for way in ways}
    print(f"processor: {host.read_cpu_model()}, bfloat16 arithmetic: {host.has_bfloat16()}")
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {options.images} images")
    for round_ in range(options.rounds + 1):  # the first warms up and is not counted
        for way, part in ways.items():
            seconds = part()
            if round_:
                times[way].append(seconds)
        print(f"round {round_}: load {os.getloadavg()[0]:.1f}", flush=True)
    for way, seconds in times.items():
        spread = f"{min(seconds):.2f} to {max(seconds):.2f}"
        print(f"{way:36} {statistics.median(seconds):6.2f} s ({spread}, n {len(seconds)})")
    for precision in PRECISIONS:
        allowed = PRECISIONS[: 1 + PRECISIONS.index(precision)]
        rows = [way for way in times if way.startswith(tuple(f"{name}, {p}" for p in allowed))]
        reference = min((times[way] for way in rows), key=statistics.median)
        view, table, live = (times[f"kdpipe, {precision}, {part}"] for part in PARTS)
        label = f"{name} / kdpipe in {precision}, {epochs} epochs"
        for students in STUDENTS:
            own = [
                VIEWS * v + students * epochs * epoch for v, epoch in zip(view, table, strict=True)
            ]
            grid = [students * epochs * epoch for epoch in reference]
            print(cifar_runs.ratio(f"{label}, a table, {students} student(s)", grid, own))
        print(cifar_runs.ratio(f"{label}, a live teacher", reference, live))


PARTS = ("a view of the table", "table", "live")


def _list_own(images: int, precision: str, results_store: store.Store) -> dict[str, Epoch]:
    """The parts of kdpipe in one precision."""
    student, live = (plan_runs(images, way, precision)[1] for way in ("table", "live"))
    (table,) = student.logit_caches
    parts: tuple[Epoch, ...] = (
        lambda: _build(table, results_store),
        lambda: cifar_runs.train(student, results_store),
        lambda: cifar_runs.train(live, results_store),
    )
    return {f"kdpipe, {precision}, {part}": epoch for part, epoch in zip(PARTS, parts, strict=True)}


def train_teacher(images: int, results_store: store.Store) -> Run:
    """Train the teacher, and return its student with a live teacher."""
    teacher, student = plan_runs(images, "live")
    print(train_run(teacher.spec, [], results_store))
    return student


def _build(table: LogitCache, results_store: store.Store) -> float:
    """Seconds a view of building the teacher's table, its checksum and file included."""
    started = time.perf_counter()
    cached.build_logit_cache(table.spec, results_store)
    return cifar_runs.since(started) / count_views(table.spec.data)
