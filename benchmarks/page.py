"""What a page of 1,000 runs takes to render: `kdpipe report` on made records, in CPU seconds.

The study is 3 students x 6 teachers x 4 stops x 3 methods x 5 seeds: 1,155 runs with curves and
their wrong test images, in an archive. Nothing is trained; larger networks are better, a teacher
helps, and the rest is noise. The command is a process of its own, so the start of Python is in its
time:

    python benchmarks/page.py [--rounds 3] [--keep FOLDER]

With --keep the study, its records and its page stay in a folder, to be looked at or profiled.
"""

import argparse
import resource
import statistics
import subprocess
import sys
import tempfile
import zlib
from pathlib import Path

import numpy as np
import yaml

from kdpipe.analysis.eval_point import MisclassifiedImages, pack_error_mask
from kdpipe.config import load
from kdpipe.plan import planner
from kdpipe.plan.nodes import Run
from kdpipe.runs import records

EPOCHS, TEST, CLASSES = 40, 700, 10
STUDENTS = ["wrn10-0.5", "wrn10-1", "wrn16-1"]
TEACHERS = ["wrn10-2", "wrn16-2", "wrn22-2", "wrn10-4", "wrn16-4", "wrn22-4"]
TABLES = ("teacher_size", "mimicry", "eskd", "checkpoints", "early_stopped", "methods", "losses")
STUDY = {
    "study": "thousand",
    "seeds": [0, 1, 2, 3, 4],
    "data": {"name": "digits", "validation": 400, "pad": 1},
    "recipe": {"epochs": EPOCHS, "batch_size": 64, "lr": 0.1, "drop_epochs": [12, 24, 36]},
    "methods": {
        "kd": {},
        "eskd": {"stop_epoch": 0.3},
        "dkd": {"kd_weight": 0.0, "dkd_weight": 1.0},
    },
    "experiments": [
        {
            "name": "all",
            "teachers": TEACHERS,
            "stops": ["full", "checkpoint 10", "checkpoint 20", "schedule 4/14"],
            "students": STUDENTS,
            "methods": ["kd", "eskd", "dkd"],
        }
    ],
    "tables": {name: ["all"] for name in TABLES},
}
LABELS = np.random.default_rng(0).integers(0, CLASSES, TEST)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--keep", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        study = folder / "thousand.yaml"
        study.write_text(yaml.safe_dump(STUDY, sort_keys=False))
        plan = planner.build_plan(load.load_study(study))
        results_store = folder / "results"
        results_store.mkdir(exist_ok=True)
        records.write_archive(
            results_store / records.ARCHIVE_FILE,
            (_entry(run, plan.checkpoints_to_keep) for run in plan.runs.values()),
        )
        actual = [_seconds(study, folder) for _ in range(options.rounds)]
        page = folder / "reports" / "thousand" / "index.html"
        print(
            f"{len(plan.runs):,} runs: {statistics.median(actual):.1f} s of CPU (min "
            f"{min(actual):.1f}, max {max(actual):.1f}, n {len(actual)}); the page has "
            f"{page.stat().st_size / 1e6:.1f} MB"
        )


def _seconds(study: Path, folder: Path) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-m", "kdpipe", "report", str(study)]
    command += ["--results", str(folder / "results"), "--reports", str(folder / "reports")]
    subprocess.run(command, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _entry(run: Run, keep: dict) -> records.ArchiveEntry:
    random = np.random.default_rng(zlib.crc32(run.name.encode()))
    size = np.log10(run.cost.multiply_adds)
    error = 14 - 2 * size + 3 * bool(not run.spec.teacher) + random.normal(0, 0.5)
    errors = random.random(TEST) < max(0.5, error + 5) / 100
    images = np.flatnonzero(errors)
    predicted = (LABELS[images] + random.integers(1, CLASSES, len(images))) % CLASSES
    missed = MisclassifiedImages(
        np.bincount(LABELS, minlength=CLASSES), images, LABELS[images], predicted
    )
    known = {"train": 997, "val": 400, "test": TEST}
    taught = bool(run.spec.teacher)
    part = {
        split: _metrics(n, 1 - errors.mean() if split == "test" else 1 - error / 100, taught)
        for split, n in known.items()
    }
    curve = [
        {
            "epoch": epoch,
            "lr": 0.1,
            "train": {"loss": 1 / epoch, "ce": 1 / epoch, "accuracy": 1 - 0.3 / epoch},
            "val": {"accuracy": 1 - error / 100 - 0.3 / epoch, "ce": 1 / epoch},
        }
        for epoch in range(1, run.epochs + 1)
    ]
    record = {
        "format": 1, "kind": "run", "name": run.name, "digest": run.digest, "status": "done",
        "reason": None, "spec": run.spec.to_dict(), "versions": {"kdpipe": "0", "torch": "2"},
        "device": {"type": "cpu", "name": "made", "threads": 1}, "seconds": {"total": 10.0},
        "last": part | {"epoch": run.epochs}, "best": part | {"epoch": run.epochs}, "files": {},
        "checkpoints": {str(e): part | {"lr": 0.1, "train": None} for e in keep.get(run.name, ())},
        "started": "2026-01-01T00:00:00+00:00",
    }  # fmt: skip
    return records.ArchiveEntry(
        "runs",
        run.name,
        run.digest,
        record,
        curve,
        pack_error_mask(errors),
        missed=missed.to_json(),
    )


def _metrics(n: int, accuracy: float, taught: bool) -> dict:
    error = 1 - accuracy
    part = {"n": n, "accuracy": float(accuracy), "nll": 3 * error, "ece": 0.02}
    part |= {"entropy": 0.1 + 2 * error, "confidence": 0.97 - error / 2}
    return part | (
        {"agreement": 1 - error, "kl": 2 * error, "cross_entropy": 20.0} if taught else {}
    )


if __name__ == "__main__":
    main()
