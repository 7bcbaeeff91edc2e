"""What planning costs: `kdpipe plan` and `snakemake -n` on the paper's study and on 10,000 runs.

The large study is 20 seeds of 12 networks, each taught by each at several checkpoints. Nothing is
trained. Each command is a process of its own, so the start of Python is in its time:

    python benchmarks/scale.py [--rounds 3]
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

DRY = ["snakemake", "-n", "--quiet", "all"]
ROOT = Path(__file__).parent.parent
NETWORKS = [f"wrn{depth}-{width}" for depth in (10, 16, 22) for width in (1, 2, 3, 4)]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as folder:
        large = Path(folder) / "large.yaml"
        large.write_text(yaml.safe_dump(_large()))
        studies = {
            "neither": None,
            "the paper's CIFAR-10 study": ROOT / "studies" / "cifar10_paper.yaml",
            "10,000 runs": large,
        }
        for name, study in studies.items():
            commands = {"kdpipe --version": ["kdpipe", "--version"]}
            if study is not None:
                commands = {
                    "kdpipe plan": ["kdpipe", "plan", str(study)],
                    "snakemake -n": [*DRY, "--configfile", study, "--directory", folder],
                }
            for label, command in commands.items():
                actual = [_seconds(command) for _ in range(rounds)]
                print(
                    f"{name:28} {label:18} {statistics.median(actual):6.2f} s "
                    f"(min {min(actual):.2f}, max {max(actual):.2f}, n {rounds})"
                )


def _large() -> dict:
    """12 students x 12 teachers x 3 stops x 23 seeds, and the 12 on labels: 10,212 runs."""
    return {
        "study": "large",
        "seeds": list(range(23)),
        "data": {"name": "digits", "validation": 100},
        "recipe": {"epochs": 30, "batch_size": 64, "lr": 0.1},
        "methods": {"kd": {}},
        "experiments": [
            {
                "name": "all",
                "teachers": NETWORKS,
                "stops": ["full", "checkpoint 10", "checkpoint 20"],
                "students": [*NETWORKS],  # one list twice would be a YAML alias, which is refused
                "methods": ["kd"],
            }
        ],
    }


def _seconds(command: list) -> float:
    bin_ = Path(sys.executable).parent
    started = time.perf_counter()
    process = subprocess.run(
        [bin_ / command[0], *command[1:]], cwd=ROOT, capture_output=True, text=True
    )
    if process.returncode:
        sys.exit(f"{' '.join(map(str, command))} failed:\n{process.stdout}{process.stderr}")
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
