"""What the timers of Snakemake's rate limit cost: a toy workflow of short jobs.

Snakemake starts a timer after each pass of its scheduler while its rate of jobs is limited, which
it is by default; each timer makes a pass. The toy is run as it is, without a rate limit (as
`kdpipe run` does on one machine), and with at most one pending timer, the change that is proposed
in snakemake_timers.md. Reported are the core-seconds and the largest number of threads of the head
process, without those of its jobs. The alternatives are interleaved:

    python benchmarks/snakemake_timers.py [--jobs 700] [--rounds 1] [--cores 2]
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

TOY = """
import json, os, resource, threading
from snakemake.scheduling.job_scheduler import JobScheduler

ADJUSTMENT = os.environ["ADJUSTMENT"]
threads = 0


def count_threads(schedule=JobScheduler._finish_jobs):
    def counted(scheduler):
        global threads
        threads = max(threads, threading.active_count())
        return schedule(scheduler)
    return counted


def schedule_once(scheduler, delay):
    if getattr(scheduler, "pending_timer", None) is not None:
        return

    def release():
        scheduler.pending_timer = None
        scheduler._open_jobs.release()

    scheduler.pending_timer = threading.Timer(delay, release)
    scheduler.pending_timer.start()


JobScheduler._finish_jobs = count_threads()
if ADJUSTMENT == "one timer":
    JobScheduler._schedule_reevalutation = schedule_once


onstart:
    if ADJUSTMENT == "no limit":
        workflow.scheduler.job_rate_limiter = None


onsuccess:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    with open("usage.json", "w") as file:
        json.dump([usage.ru_utime + usage.ru_stime, threads], file)


rule all:
    input:
        [f"{number}.out" for number in range(int(config["jobs"]))],


rule job:
    output:
        "{number}.out",
    shell:
        "sleep .2; touch {output}"
"""
ADJUSTMENTS = ("as it is", "no limit", "one timer")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--jobs", type=int, default=700)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--cores", default="2")
    options = parser.parse_args()
    print(f"load average {os.getloadavg()[0]:.1f}, {len(os.sched_getaffinity(0))} cores")
    rounds = [
        {name: _run_toy(name, options.jobs, options.cores) for name in ADJUSTMENTS}
        for _ in range(options.rounds)
    ]
    for name in ADJUSTMENTS:
        seconds = statistics.median(each[name][0] for each in rounds)
        threads = max(each[name][1] for each in rounds)
        print(f"{name:10} {seconds:6.1f} core-seconds, {threads:4} threads")


def _run_toy(adjustment: str, jobs: int, cores: str) -> tuple[float, int]:
    """Return the core-seconds and the largest number of threads of the head."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "Snakefile").write_text(TOY)
        command = [sys.executable, "-m", "snakemake", "--cores", cores, "--config", f"jobs={jobs}"]
        subprocess.run(
            [*command, "--scheduler", "greedy"],
            cwd=folder,
            check=True,
            capture_output=True,
            env=os.environ | {"ADJUSTMENT": adjustment},
        )
        seconds, threads = json.loads((Path(folder) / "usage.json").read_text())
        return seconds, threads


if __name__ == "__main__":
    main()
