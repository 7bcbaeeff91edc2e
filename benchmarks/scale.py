"""What planning costs: `kdpipe plan` and `snakemake -n` on up to 10,000 runs, next to a toy.

The large study is 23 seeds of 12 networks, each taught by each at several checkpoints. Nothing is
trained. Each command is a process of its own, so the start of Python is in its time. The dry run is
compared with that of a toy workflow of as many jobs, which have the inputs of the study's jobs, and
no parameters, resources or priorities. All commands are run once in each round, after one that is
not counted, in which Python writes its compiled modules; seconds are those of the processor, so
that other load counts little:

    python benchmarks/scale.py [--rounds 3] [--seeds 23]
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml

from kdpipe.config import load
from kdpipe.plan import planner
from kdpipe.plan.nodes import LogitCache, Run

DRY = ["snakemake", "-n", "--quiet", "all"]
ROOT = Path(__file__).parent.parent
NETWORKS = [f"wrn{depth}-{width}" for depth in (10, 16, 22) for width in (1, 2, 3, 4)]
TOY = """
import json
with open("inputs.json") as file:
    INPUTS = json.load(file)


rule all:
    input:
        [f"{name}.out" for name in INPUTS],


rule job:
    input:
        lambda wildcards: [f"{name}.out" for name in INPUTS[wildcards.name]],
    output:
        "{name}.out",
    log:
        "{name}.log",
    shell:
        "touch {output} > {log}"
"""


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seeds", type=int, default=23, help="of the large study")
    options = parser.parse_args()
    print(f"load average {os.getloadavg()[0]:.1f}, {len(os.sched_getaffinity(0))} cores")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        commands: dict[tuple[str, str], tuple[list[str], Path]] = {
            ("", "kdpipe --version"): (["kdpipe", "--version"], folder)
        }
        large = folder / "large.yaml"
        large.write_text(yaml.safe_dump(_large(options.seeds)))
        for study in (ROOT / "studies" / "cifar10_paper.yaml", large):
            toy = folder / f"toy-{study.stem}"
            plan = planner.build_plan(load.load_study(study))
            title = f"{study.stem}, {len(plan.runs):,} runs"
            dry = [*DRY, "--snakefile", str(ROOT / "Snakefile"), "--directory", name]
            dry += ["--configfile", str(study)]
            toy.mkdir()
            (toy / "inputs.json").write_text(json.dumps(_list_inputs(plan)))
            (toy / "Snakefile").write_text(TOY)
            commands |= {
                (title, "kdpipe plan"): (["kdpipe", "plan", str(study)], folder),
                (title, "snakemake -n"): (dry, folder),
                (title, "toy"): (DRY, toy),
            }
        seconds = [
            {key: _measure_seconds(*command) for key, command in commands.items()}
            for _ in range(options.rounds + 1)
        ][1:]
    for title, label in commands:
        actual = [each[title, label] for each in seconds]
        ratio = ""
        if label == "toy":
            ratios = [each[title, "snakemake -n"] / each[title, label] for each in seconds]
            ratio = f"; the study takes {_format(ratios)} times as long"
        print(f"{title:28} {label:20} {_format(actual)} s{ratio}")


def _list_inputs(plan: planner.Plan) -> dict[str, list[str]]:
    """Return the inputs of every job of a study, as its rules have them, by name."""
    data = plan.card.folder
    inputs: dict[str, list[str]] = {data: []}
    for node in (*plan.logit_caches.values(), *plan.nodes_by_name.values()):
        if isinstance(node, (Run, LogitCache)):
            caches = node.logit_caches if isinstance(node, Run) else ()
            inputs[node.name] = [
                data,
                *(parent.name for parent in node.parents),
                *(cache.name for cache in caches),
            ]
    return inputs | {"report": list(plan.runs)}


def _format(values: list[float]) -> str:
    """Format a median and its range."""
    low, high = min(values), max(values)
    return f"{statistics.median(values):.2f} ({low:.2f} to {high:.2f}, n {len(values)})"


def _large(seeds: int) -> dict:
    """12 students x 12 teachers x 3 stops x 23 seeds, and the 12 on labels: 10,212 runs."""
    return {
        "study": "large",
        "seeds": list(range(seeds)),
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


def _measure_seconds(command: list[str], folder: Path) -> float:
    """Return the processor seconds of a command, and of what it starts."""
    program = Path(sys.executable).parent / command[0]
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    process = subprocess.run(
        [program, *command[1:]],
        cwd=folder,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    if process.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{process.stderr.decode()}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


if __name__ == "__main__":
    main()
