"""The largest memory of a student's run on as many images as CIFAR has: 50,000 and 10,000.

WRN16-1 learns for one epoch from the table of a small teacher, through the real training; the
teacher and its table are made by processes of their own. The images have one view here, so the
table, which is mapped from its file, is 1 MB and counts for nothing:

    python benchmarks/memory.py
"""

import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import cifar_runs
import numpy as np

from kdpipe.data import splits
from kdpipe.jobs.train import train_run
from kdpipe.runs import store
from kdpipe.training.teachers import cached as teacher_tables

TRAIN, TEST = 50_000, 10_000


def main() -> None:
    if len(sys.argv) > 1:
        _part(sys.argv[1], store.Store(Path(sys.argv[2])))
        return
    with tempfile.TemporaryDirectory() as folder:
        for part in ("teacher", "table", "student", "nothing"):
            subprocess.run([sys.executable, __file__, part, folder], check=True)


def _part(part: str, results_store: store.Store) -> None:
    split = cifar_runs.split(TRAIN, TEST)
    splits.load_split = lambda spec, results_store: split
    teacher, student = cifar_runs.runs(
        "wrn10-0.5", "wrn16-1", TRAIN, outputs="table", epochs=1, batch=64, pad=0, flip=False
    )
    if part == "table":
        teacher_tables.build_logit_cache(student.logit_caches[0].spec, results_store)
    elif part != "nothing":
        print(train_run({"teacher": teacher, "student": student}[part].spec, [], results_store))
    train_images, test_images = split.train.images, split.test.images
    assert isinstance(train_images, np.ndarray) and isinstance(test_images, np.ndarray)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(
        f"{part}: {peak / 1e9:.2f} GB, of which the images themselves are "
        f"{(train_images.nbytes + test_images.nbytes) / 1e9:.2f} GB"
    )


if __name__ == "__main__":
    main()
