"""kdpipe beside torchdistill: a grid of six students from one teacher, and one student.

torchdistill trains as its CIFAR example does: PIL images, random crop and flip by torchvision, a
DataLoader; T = 4, weights 0.1 / 0.9, SGD with momentum, 200 epochs. What is timed, and how, is in
side_by_side.py. It needs torchdistill, which nothing else of kdpipe does:

    pip install --no-deps torchdistill==1.1.5
    python benchmarks/against_torchdistill.py [--images 512] [--rounds 4]
"""

import tempfile
import time
from pathlib import Path

import cifar_runs
import numpy as np
import side_by_side
import torch
from PIL import Image
from side_by_side import BATCH, CLASSES, PRECISIONS, STUDENT, WORKERS
from torch.utils.data import RandomSampler
from torchdistill.core.distillation import DistillationBox  # type: ignore
from torchvision import transforms

from kdpipe.data import splits
from kdpipe.models import factory
from kdpipe.runs import store
from kdpipe.runs.spec import RunSpec
from kdpipe.training.teachers import online

EPOCHS = 200


def main() -> None:
    options = side_by_side.parse_options(__doc__ or "")
    torch.set_num_threads(2)
    split = cifar_runs.split(options.images, classes=CLASSES)
    splits.load_split = lambda spec, results_store: split
    with tempfile.TemporaryDirectory() as folder:
        results_store = store.Store(Path(folder))
        student = side_by_side.train_teacher(options.images, results_store)
        theirs = {
            (precision, workers): _torchdistill(
                student.spec, split, results_store, workers, precision
            )
            for precision in PRECISIONS
            for workers in WORKERS
        }
        side_by_side.compare("torchdistill", theirs, options, EPOCHS, results_store)


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


def _torchdistill(
    spec: RunSpec, split: splits.Split, results_store: store.Store, workers: int, precision: str
) -> side_by_side.Epoch:
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
    student = factory.build_named_model(STUDENT, num_classes=CLASSES, in_channels=3)
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
            with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
                loss = box.forward_process(images, labels, extra)
            box.post_forward_process(loss=loss)
        seconds = cifar_runs.since(started)
        box.post_epoch_process()
        return seconds

    return epoch


if __name__ == "__main__":
    main()
