"""How to use two cores: two runs of one thread side by side, or one run of two threads.

WRN16-1 and WRN16-4 on random images of 8, 28 and 32 pixels, batches of 64, the real training. Both
ways take their turn in every round; the figure is images a second of both cores together:

    python benchmarks/threads.py [--rounds 5]
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import cifar_runs

from kdpipe.config import load
from kdpipe.data import splits
from kdpipe.plan import planner
from kdpipe.runs import store

SETS = {"digits": (1, 8, 8), "fashion-mnist": (1, 28, 28), "cifar10": (3, 32, 32)}
IMAGES = {8: 1024, 28: 512, 32: 512}  # and fewer for the wider network
NETWORKS = ("wrn16-1", "wrn16-4")
BATCH = 64


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--job", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.job:
        _job(**json.loads(options.job))
        return
    for name, shape in SETS.items():
        for network in NETWORKS:
            images = IMAGES[shape[1]] // (1 if network == "wrn16-1" else 4) // BATCH * BATCH
            times: dict[str, list[float]] = {"one": [], "two": []}
            for _ in range(options.rounds):
                times["one"].append(_rate(2, name, network, images, threads=1))
                times["two"].append(_rate(1, name, network, images, threads=2))
            print(
                f"{network} at {shape[1]} x {shape[2]}: two runs of one thread "
                f"{statistics.median(times['one']):.0f} images/s, one run of two "
                f"{statistics.median(times['two']):.0f}; "
                + cifar_runs.ratio("the first is faster by", times["one"], times["two"]),
                flush=True,
            )


def _rate(runs: int, name: str, network: str, images: int, threads: int) -> float:
    """Images a second of `runs` processes that train at the same time."""
    job = {"name": name, "network": network, "images": images, "threads": threads}
    command = [sys.executable, __file__, "--job", json.dumps(job)]
    started = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(runs)
    ]
    for each in started:  # imports and the warm-up are over in all of them
        assert each.stdout and each.stdout.readline() == "ready\n"
    for each in started:
        assert each.stdin
        each.stdin.write("go\n")
        each.stdin.flush()
    return sum(float(each.communicate()[0]) for each in started)


def _job(name: str, network: str, images: int, threads: int) -> None:
    split = cifar_runs.split(images, shape=SETS[name])
    splits.load_split = lambda spec, results_store: split
    study = {
        "study": "bench",
        "seeds": [0],
        "data": {"name": name, "train_size": images, "pad": 1},
        "recipe": {
            "epochs": 1024 // SETS[name][1] ** 2 + 2,
            "batch_size": BATCH,
            "lr": 0.1,
            "threads": threads,
        },
        "teacher_outputs": "live",
        "methods": {"kd": {}},
        "experiments": [
            {"name": "a", "teachers": ["self"], "students": [network], "methods": ["kd"]}
        ],
    }
    run = next(iter(planner.build_plan(load.validate_study(study, "the benchmark")).runs.values()))
    with tempfile.TemporaryDirectory() as folder:
        results_store = store.Store(Path(folder))
        cifar_runs.train(run, results_store)
        print("ready", flush=True)
        sys.stdin.readline()
        print(images / cifar_runs.train(run, results_store))


if __name__ == "__main__":
    main()
