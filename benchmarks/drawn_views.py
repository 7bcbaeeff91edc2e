"""Compare students that see a few views of each image, drawn once, with endless views.

    python benchmarks/drawn_views.py [--out FOLDER] [--cores N]

Runs one study of the digits with RandAugment three times, in folders below FOLDER: with views
without end, whose teachers answer live, and with 4 and 16 views of each image (`data.views`), whose
teachers' outputs are cached. Prints the table of drawn_views.md: test errors, and their difference
from endless views, paired by seed. Interrupted, it resumes.
"""

import argparse
import subprocess
import sys
from pathlib import Path

import pandas as pd
import yaml

from kdpipe.stats.intervals import Summary, summarize, summarize_paired

SEEDS = [70, 71, 72, 73, 74]
STUDY = {
    "seeds": SEEDS,
    "smallest_effect": 0.5,
    "data": {
        "name": "digits",
        "train_size": 600,
        "validation": 400,
        "pad": 1,
        "augment": {"policy": "rand"},
    },
    "recipe": {
        "epochs": 40,
        "batch_size": 64,
        "lr": 0.1,
        "drop_epochs": [12, 24, 36],
        "drop_factor": 0.2,
    },
    "teacher_outputs": "auto",
    "methods": {"kd": {}},
    "experiments": [
        {
            "name": "views",
            "teachers": ["wrn10-2"],
            "students": ["wrn10-0.5"],
            "methods": ["kd"],
        }
    ],
    "tables": {"methods": ["views"]},
}
VIEWS = {"endless": None, "4": 4, "16": 16}


def run_study(folder: Path, views: int | None, cores: int) -> pd.DataFrame:
    """Run the study with a number of views in a folder, and return its results.csv."""
    folder.mkdir(parents=True, exist_ok=True)
    name = f"views_{views or 'endless'}"
    study = folder / f"{name}.yaml"
    content = {"study": name} | STUDY | {"data": STUDY["data"] | {"views": views}}
    study.write_text(yaml.safe_dump(content, sort_keys=False))
    options = ["--cores", str(cores), "--directory", str(folder)]
    command = [sys.executable, "-m", "kdpipe", "run", str(study), *options]
    subprocess.run(command, check=True, stdout=sys.stderr)
    return pd.read_csv(folder / "reports" / name / "results.csv")


def find_errors(frame: pd.DataFrame, kind: str) -> pd.Series:
    """Return the test errors of scratch runs, teachers or students, by seed."""
    rows = frame[(frame.kind == kind) & (frame.status == "done")]
    return rows.groupby("run").head(1).set_index("seed").test_error.sort_index()


def main() -> None:
    """Run the studies and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("drawn_views"))
    parser.add_argument("--cores", type=int, default=2)
    options = parser.parse_args()
    frames = {
        label: run_study((options.out / label).resolve(), views, options.cores)
        for label, views in VIEWS.items()
    }
    print("| network | views | test error | minus endless, paired by seed |")
    print("|---|---|---|---|")
    for kind in ("teacher", "scratch", "student"):
        endless = find_errors(frames["endless"], kind)
        for label, frame in frames.items():
            errors = find_errors(frame, kind)
            difference = "" if label == "endless" else _format(summarize_paired(errors, endless))
            print(f"| {kind} | {label} | {_format(summarize(errors))} | {difference} |")


def _format(summary: Summary) -> str:
    return f"{summary.mean:.2f} ± {summary.half_width:.2f} (n = {summary.n})"


if __name__ == "__main__":
    main()
