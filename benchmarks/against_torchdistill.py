"""kdpipe beside torchdistill: a grid of 6 students from one teacher, and one student.

CIFAR-shaped random images, WRN40-2 (in eval mode) teaches WRN16-1, batches of 64, T = 4, weights
0.1 / 0.9, SGD with momentum. torchdistill trains as its CIFAR example does: PIL images, random
crop and flip by torchvision, a DataLoader; of 0, 1 and 2 workers the fastest counts. In each round
every part takes its turn: an epoch of torchdistill for each number of workers, the building of
kdpipe's table, an epoch of a kdpipe student from it, one with a live teacher. A grid is then
computed as in the paper's study, 200 epochs and 162 views:

    torchdistill  students x 200 epochs
    kdpipe        162 views of the table + students x 200 epochs

Both without validation and start-up. It needs torchdistill, which nothing else of kdpipe does:

    pip install --no-deps torchdistill==1.1.5
    python benchmarks/against_torchdistill.py [--images 1024] [--rounds 5]
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import cifar_runs
import numpy as np
import torch
from PIL import Image
from torch.utils.data import RandomSampler
from torchdistill.core.distillation import DistillationBox  # type: ignore
from torchvision import transforms

from kdpipe.data import splits
from kdpipe.data.data_spec import count_views
from kdpipe.jobs.train import train_run
from kdpipe.models import factory
from kdpipe.plan.nodes import LogitCache, Run
from kdpipe.runs import store
from kdpipe.runs.spec import RunSpec
from kdpipe.training.teachers import cached as teacher_tables
from kdpipe.training.teachers import online

TEACHER, STUDENT, BATCH = "wrn40-2", "wrn16-1", 64
EPOCHS, VIEWS = 200, 162
WORKERS = (0, 1, 2)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(2)
    with tempfile.TemporaryDirectory() as folder:
        measure(options, store.Store(Path(folder)))


def measure(options, results_store: store.Store) -> None:
    split = cifar_runs.split(options.images)
    splits.load_split = lambda spec, results_store: split
    teacher, student = _runs(options.images, "table")
    run = _runs(options.images, "live")[1]
    print(train_run(teacher.spec, [], results_store))
    (table,) = student.logit_caches
    ways = {
        f"torchdistill, {workers} workers": _torchdistill(run.spec, split, results_store, workers)
        for workers in WORKERS
    }
    ways |= {
        "kdpipe, a view of the table": lambda: _build(table, results_store),
        "kdpipe, table": lambda: cifar_runs.train(student, results_store),
        "kdpipe, live": lambda: cifar_runs.train(run, results_store),
    }
    times: dict[str, list[float]] = {name: [] for name in ways}
    for round_ in range(options.rounds + 1):  # the first warms up and is not counted
        for name, part in ways.items():
            seconds = part()
            if round_:
                times[name].append(seconds)
    for name, seconds in times.items():
        print(f"{name:28} {statistics.median(seconds):6.2f} s (min {min(seconds):.2f})")
    reference = min(
        (times[name] for name in times if name.startswith("torchdistill")), key=statistics.median
    )
    for students in (6, 1):
        own_value = [
            VIEWS * view + students * EPOCHS * epoch
            for view, epoch in zip(
                times["kdpipe, a view of the table"], times["kdpipe, table"], strict=True
            )
        ]
        grid = [students * EPOCHS * epoch for epoch in reference]
        print(
            cifar_runs.ratio(
                f"torchdistill / kdpipe from a table, {students} student(s)", grid, own_value
            )
        )
    print(cifar_runs.ratio("torchdistill / kdpipe, live teacher", reference, times["kdpipe, live"]))


def _build(table: LogitCache, results_store: store.Store) -> float:
    """Seconds a view of building the teacher's table, its checksum and file included."""
    started = time.perf_counter()
    teacher_tables.build_logit_cache(table.spec, results_store)
    return cifar_runs.since(started) / count_views(table.spec.data)


class _Pictures(torch.utils.data.Dataset):
    """The same pixels as torchvision's CIFAR10 holds and gives them: an array, PIL images."""

    def __init__(self, part: splits.Subset, transform):
        assert isinstance(part.images, np.ndarray)
        self.pixels = np.ascontiguousarray(part.images.transpose(0, 2, 3, 1))
        self.labels, self.transform = part.labels.tolist(), transform

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int):
        return self.transform(Image.fromarray(self.pixels[index])), self.labels[index]


def _torchdistill(spec: RunSpec, split: splits.Split, results_store: store.Store, workers: int):
    """A function that trains for one epoch and returns its seconds."""
    seen = transforms.Compose(
        [
            transforms.RandomCrop(32, padding=4),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize(split.mean, split.std),
        ]
    )
    ((_, teacher),) = online.load_online_teacher(spec, results_store).members
    student = factory.build_named_model(STUDENT, num_classes=cifar_runs.CLASSES, in_channels=3)
    loss = {
        "key": "KDLoss",
        "kwargs": {
            "student_module_path": ".",
            "student_module_io": "output",
            "teacher_module_path": ".",
            "teacher_module_io": "output",
            "temperature": 4.0,
            "alpha": 0.1,
            "reduction": "batchmean",
        },
    }
    box = DistillationBox(
        teacher.to(memory_format=torch.contiguous_format),
        student,
        {"pictures": _Pictures(split.train, seen)},
        {
            "num_epochs": EPOCHS,
            "train_data_loader": {
                "dataset_id": "pictures",
                "sampler": {"class_or_func": RandomSampler},
                "kwargs": {
                    "batch_size": BATCH,
                    "num_workers": workers,
                    # Else each epoch of this small set would pay for the start of its workers.
                    "persistent_workers": workers > 0,
                },
            },
            "teacher": {"forward_proc": "forward_batch_only", "requires_grad": False},
            "student": {"forward_proc": "forward_batch_only", "requires_grad": True},
            "optimizer": {
                "key": "SGD",
                "kwargs": {"lr": 0.1, "momentum": 0.9, "weight_decay": 5e-4},
            },
            "criterion": {
                "key": "WeightedSumLoss",
                "kwargs": {"sub_terms": {"kd": {"criterion": loss, "weight": 1.0}}},
            },
        },
        torch.device("cpu"),
        None,
        False,
        1.0,
    )

    def epoch() -> float:
        started = time.perf_counter()
        box.pre_epoch_process(epoch=0)
        box.teacher_model.eval()
        for images, labels, extra in box.train_data_loader:
            box.pre_forward_process()
            box.post_forward_process(loss=box.forward_process(images, labels, extra))
        seconds = cifar_runs.since(started)
        box.post_epoch_process()
        return seconds

    return epoch


def _runs(images: int, way: str) -> tuple[Run, Run]:
    return cifar_runs.runs(
        TEACHER, STUDENT, images, outputs=way, epochs=2, batch=BATCH, pad=1, flip=False
    )


if __name__ == "__main__":
    main()
