r"""kdpipe beside RepDistiller: a grid of six students from one teacher, and one student.

RepDistiller trains with its own loop, loss, networks, transforms and data loader (batches of 64,
T = 4, -r 0.1 -a 0.9, 240 epochs). What is timed, and how, is in side_by_side.py. The images are
random, in files of CIFAR-100's own format. It needs a clone of RepDistiller (BSD-2), which is not
part of kdpipe:

    git clone https://github.com/HobbitLong/RepDistiller
    python benchmarks/against_repdistiller.py --repdistiller RepDistiller \
        [--images 512] [--rounds 4]
"""

import argparse
import contextlib
import io
import os
import pickle
import sys
import tempfile
import time
from pathlib import Path

import cifar_runs
import numpy as np
import side_by_side
import torch
import torchvision
from side_by_side import BATCH, CLASSES, PRECISIONS, WORKERS
from torch import nn
from torch.utils.data import DataLoader

from kdpipe.data import splits
from kdpipe.runs import store

EPOCHS = 240


def main() -> None:
    options = side_by_side.parse_options(__doc__ or "", "--repdistiller")
    torch.set_num_threads(2)
    sys.path.insert(0, str(Path(options.repdistiller).absolute()))
    split = cifar_runs.split(options.images, classes=CLASSES)
    splits.load_split = lambda spec, results_store: split
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        write_cifar100(Path(folder) / "data", split)
        results_store = store.Store(Path(folder) / "results")
        side_by_side.train_teacher(options.images, results_store)
        theirs = {
            (precision, workers): _repdistiller(workers, precision)
            for precision in PRECISIONS
            for workers in WORKERS
        }
        side_by_side.compare("RepDistiller", theirs, options, EPOCHS, results_store)


def write_cifar100(folder: Path, split: splits.Split) -> None:
    """Write images in the files of CIFAR-100, and let torchvision accept their checksums."""
    files = folder / "cifar-100-python"
    files.mkdir(parents=True)
    for name, part in (("train", split.train), ("test", split.test)):
        assert isinstance(part.images, np.ndarray)
        content = {
            "data": part.images.reshape(len(part), -1),
            "fine_labels": [int(label) for label in part.labels],
        }
        (files / name).write_bytes(pickle.dumps(content))
    names = {"fine_label_names": [str(number) for number in range(CLASSES)]}
    (files / "meta").write_bytes(pickle.dumps(names))
    torchvision.datasets.cifar.check_integrity = lambda path, md5=None: os.path.exists(path)
    # Versions of RepDistiller before 2020 read the names of an older torchvision.
    for old, new in (("train_data", "data"), ("train_labels", "targets")):
        setattr(torchvision.datasets.CIFAR100, old, property(lambda self, n=new: getattr(self, n)))


def _repdistiller(workers: int, precision: str) -> side_by_side.Epoch:
    """A function that trains for one epoch and returns its seconds."""
    from dataset.cifar100 import get_cifar100_dataloaders  # type: ignore
    from distiller_zoo.KD import DistillKL  # type: ignore
    from helper.loops import train_distill  # type: ignore
    from models.wrn import wrn_16_1, wrn_40_2  # type: ignore

    loader = get_cifar100_dataloaders(batch_size=BATCH, num_workers=0, is_instance=True)[0]
    # Its own would start the workers again for each epoch of this small set.
    loader = DataLoader(
        loader.dataset, BATCH, shuffle=True, num_workers=workers, persistent_workers=workers > 0
    )
    student, teacher = wrn_16_1(num_classes=CLASSES), wrn_40_2(num_classes=CLASSES)
    optimizer = torch.optim.SGD(student.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4)
    losses = nn.ModuleList([nn.CrossEntropyLoss(), DistillKL(4), DistillKL(4)])
    networks = nn.ModuleList([student, teacher])
    keys = argparse.Namespace(distill="kd", gamma=0.1, alpha=0.9, beta=0, print_freq=100)

    def epoch() -> float:
        started = time.perf_counter()
        half = torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16")
        with contextlib.redirect_stdout(io.StringIO()), half:
            train_distill(1, loader, networks, losses, optimizer, keys)
        return cifar_runs.since(started)

    return epoch


if __name__ == "__main__":
    main()
