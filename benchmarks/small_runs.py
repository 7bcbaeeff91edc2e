"""What saving the state costs a run of short epochs.

Two runs of WRN10-0.5 on 320 digits, on labels, one after the other in this process: one
saves its state after every epoch, the other as by default. Processor seconds of the training, of
which validation after each epoch is a part; every alternative once in each round:

    python benchmarks/small_runs.py [--rounds 4] [--epochs 60]
"""

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path

from kdpipe.config import load
from kdpipe.jobs.prepare import prepare_dataset
from kdpipe.jobs.train import train_run
from kdpipe.plan import planner
from kdpipe.runs.store import Store
from kdpipe.training.checkpoint import SAVE_ENV, SAVE_SECONDS

STUDY = {
    "study": "small",
    "seeds": [0],
    "data": {"name": "digits", "train_size": 320, "validation": 100, "pad": 1},
    "recipe": {"batch_size": 64, "lr": 0.05},
    "experiments": [{"name": "a", "teachers": ["wrn10-0.5"], "students": ["wrn10-0.5"]}],
}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--epochs", type=int, default=60)
    options = parser.parse_args()
    content = STUDY | {"recipe": STUDY["recipe"] | {"epochs": options.epochs}}
    print(f"load average {os.getloadavg()[0]:.1f}, {len(os.sched_getaffinity(0))} cores")
    with tempfile.TemporaryDirectory() as name:
        plan = planner.build_plan(load.validate_study(content, "small.yaml", Path(name)))
        run = next(run for run in plan.runs.values() if not run.parents)
        data = Store(Path(name) / "data")
        prepare_dataset("digits", data)
        ratios, epochs = [], []
        for number in range(options.rounds):
            seconds = {}
            for save_seconds in (0.0, SAVE_SECONDS):
                os.environ[SAVE_ENV] = str(save_seconds)
                store = Store(Path(name) / f"{number}-{save_seconds}")
                store.root.mkdir()
                (store.root / "data").symlink_to(data.root / "data")
                start = time.process_time()
                train_run(run.spec, [], store)
                seconds[save_seconds] = time.process_time() - start
            ratios.append(seconds[SAVE_SECONDS] / seconds[0.0])
            epochs.append(seconds[SAVE_SECONDS] / options.epochs)
    print(
        f"an epoch takes {statistics.median(epochs):.3f} s; with the default interval a run takes "
        f"{statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f}, n "
        f"{len(ratios)}) of what it takes with a state after every epoch"
    )


if __name__ == "__main__":
    main()
