"""What a study costs beside its training: core-seconds of start-up, scheduling, evaluation, report.

A study of 6 runs, each of a minute or more on one core, goes through `snakemake --cores 2`; all
core-seconds of Snakemake and its jobs are counted by the kernel, the training is what the records
say. Or, with a study file, that study:

    python benchmarks/overhead.py [STUDY.yaml]
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

ROOT = Path(__file__).parent.parent
STUDY = {
    "study": "overhead",
    "seeds": [0, 1],
    "data": {"name": "digits", "validation": 100, "pad": 1},
    "recipe": {"epochs": 110, "batch_size": 64, "lr": 0.05},
    "network_recipes": {"wrn16-4": {"epochs": 36}},
    "teacher_outputs": "live",
    "methods": {"kd": {}},
    "experiments": [
        {"name": "a", "teachers": ["wrn16-4"], "students": ["wrn16-2"], "methods": ["kd"]}
    ],
}


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        study = Path(sys.argv[1]).absolute() if len(sys.argv) > 1 else Path(folder) / "study.yaml"
        if len(sys.argv) == 1:
            study.write_text(yaml.safe_dump(STUDY))
        bin_ = Path(sys.executable).parent
        command = [bin_ / "snakemake", "--cores", "2", "--directory", folder]
        command += ["--snakefile", ROOT / "Snakefile", "--configfile", study]
        path = os.pathsep.join([str(bin_), os.environ["PATH"]])
        started = time.monotonic()
        process = subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, env={**os.environ, "PATH": path}
        )
        if process.returncode:
            sys.exit(process.stderr)
        wall = time.monotonic() - started
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        records = [
            json.loads(p.read_text()) for p in Path(folder).glob("results/runs/*/record.json")
        ]
        training = sum(each["seconds"]["training"] for each in records)
    spent = used.ru_utime + used.ru_stime
    print(
        f"{len(records)} runs in {wall:.0f} s on two cores: {training:.0f} core-seconds of "
        f"training, {spent - training:.0f} of all else, {100 * (1 - training / spent):.1f} % of all"
    )


if __name__ == "__main__":
    main()
