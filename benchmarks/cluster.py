"""How much time the cluster path adds to a job: `python benchmarks/cluster.py` (root, slurm).

The same runs, one at a time: once as their bare commands, once sent by Snakemake to a SLURM on this
machine. Prints the mean seconds of a job: the bare command, and from its start in SLURM to its end.
"""

import json
import subprocess
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path
from statistics import mean

from kdpipe import hashing
from kdpipe.config import load
from kdpipe.plan import planner

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))
from helpers import slurm  # type: ignore  # noqa: E402

STUDY = ROOT / "tests" / "workflow" / "cluster.yaml"


def main() -> None:
    plan = planner.build_plan(load.load_study(STUDY))
    runs = [run for run in plan.runs.values() if not run.parents]
    with tempfile.TemporaryDirectory(prefix="kdpipe-slurm-") as folder:
        bare = list(by_hand(runs, plan.card.name, Path(folder) / "bare"))
        there = Path(folder) / "cluster"
        there.mkdir()
        started = time.monotonic()
        queued = in_slurm(runs, Path(folder), there)
        whole = time.monotonic() - started
    print(f"{len(runs)} runs, one at a time")
    print(f"kdpipe train by hand       {mean(bare):5.1f} s a run")
    print(
        f"the SLURM job around it    {mean(queued):5.1f} s, {mean(queued) - mean(bare):.1f} added"
    )
    print(f"snakemake, start to end    {whole:5.1f} s")


def by_hand(runs, data: str, folder: Path):
    kdpipe = [sys.executable, "-m", "kdpipe"]
    results_store = ["--results", str(folder)]
    subprocess.run([*kdpipe, "prepare", data, *results_store], check=True)
    for run in runs:
        began = time.monotonic()
        command = [*kdpipe, "train", "--spec", hashing.canonical_json(run.spec), *results_store]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        yield time.monotonic() - began


def in_slurm(runs, root: Path, folder: Path) -> list[float]:
    """Seconds from start to end of each job, to a second."""
    cluster = slurm.Slurm(root)
    site = {"default-resources": {"slurm_partition": "main", "longest_job": 10}}
    (folder / "site.yaml").write_text(json.dumps(site))
    profiles = ["--profile", "profiles/slurm", "--profile", str(folder / "site.yaml")]
    work = ["--directory", str(folder), "--configfile", str(STUDY), "--jobs", "1", "--quiet", "all"]
    targets = [f"results/runs/{run.name}/record.json" for run in runs]
    try:
        cluster.start()
        subprocess.run(
            [
                sys.executable,
                str(ROOT / "tests/helpers/fast_polling.py"),
                *profiles,
                *work,
                "--",
                *targets,
            ],
            cwd=ROOT,
            env=cluster.environment,
            check=True,
        )
        jobs = [cluster.shown(job["id"]) for job in cluster.jobs("all")]
        return [
            (
                datetime.fromisoformat(job["EndTime"]) - datetime.fromisoformat(job["StartTime"])
            ).total_seconds()
            for job in jobs
        ]
    finally:
        cluster.stop()


if __name__ == "__main__":
    main()
