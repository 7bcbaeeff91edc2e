"""What each term on logits adds to a student's epoch from the table, beside plain KD.

CIFAR-100-shaped random images, WRN16-1 in batches of 64 on two threads: the smallest usual student,
beside which a term weighs most. Every term takes its turn in every round, and the ratios are of
epochs of the same round. At most 1.15 is wanted. Run it on an idle machine:

    python benchmarks/methods.py [--images 1024] [--rounds 7] [--terms dkd,dist]
"""

import argparse
import statistics
import tempfile
from pathlib import Path

import cifar_runs
import torch

from kdpipe.data import splits
from kdpipe.jobs.train import train_run
from kdpipe.losses import method
from kdpipe.plan.nodes import Run
from kdpipe.runs import store
from kdpipe.training.teachers import cached

CLASSES = 100
EPOCHS = 2
WANTED = 1.15


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--teacher", default="wrn16-2")
    parser.add_argument("--student", default="wrn16-1")
    parser.add_argument("--terms", default=",".join(_on_logits()), help="by the names of files")
    options = parser.parse_args()
    torch.set_num_threads(2)
    with tempfile.TemporaryDirectory() as folder:
        measure(options, store.Store(Path(folder)))


def measure(options, results_store: store.Store) -> None:
    split = cifar_runs.split(options.images, classes=CLASSES)
    splits.load_split = lambda spec, results_store: split
    pairs = {name: _runs(options, keys) for name, keys in _methods(options).items()}
    teacher = pairs["kd"][0]
    print(train_run(teacher.spec, [], results_store))
    for table in {
        table.name: table for _, run in pairs.values() for table in run.logit_caches
    }.values():
        cached.build_logit_cache(table.spec, results_store)
    times: dict[str, list[float]] = {name: [] for name in pairs}
    for round_ in range(options.rounds + 1):  # the first warms up and is not counted
        for name, (_, run) in pairs.items():
            seconds = cifar_runs.train(run, results_store)
            if round_:
                times[name].append(seconds)
    for name, seconds in times.items():
        middle = statistics.median(seconds)
        rate = options.images / middle
        ratio = (
            "" if name == "kd" else f"; {cifar_runs.ratio(f'{name} / kd', seconds, times['kd'])}"
        )
        print(f"{name:18} {middle:6.2f} s an epoch, {rate:7.1f} images/s{ratio}")
    print(f"wanted: at most {WANTED} of an epoch with plain KD")


def _on_logits() -> list[str]:
    """The terms that a table is enough for."""
    names = {name for name, term in method.load_terms().items() if term.needs == "logits"}
    return sorted(names - {method.KD_TERM})


def _methods(options) -> dict[str, dict]:
    """Plain KD, standardised KD, and each term alone with its own settings, at work at once."""
    actual: dict[str, dict] = {"kd": {}, "standardised kd": {"standardise": True}}
    for name in options.terms.split(","):
        warmup = method.load_terms()[name].warmup
        actual[name] = {"kd_weight": 0.0, "ce_weight": 1.0, f"{name}_weight": 1.0}
        actual[name] |= {warmup: 0} if warmup else {}
    return actual


def _runs(options, keys: dict) -> tuple[Run, Run]:
    return cifar_runs.runs(
        options.teacher,
        options.student,
        options.images,
        outputs="table",
        epochs=EPOCHS,
        batch=64,
        data="cifar100",
        method=keys,
        pad=1,
        flip=True,
    )


if __name__ == "__main__":
    main()
