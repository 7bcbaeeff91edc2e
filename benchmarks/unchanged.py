"""What a change of the code must not move: names, prices, bytes of results, published pages.

`record` writes what one version of kdpipe makes of every study of this checkout into a JSON file,
`compare` says where two such files differ and exits with 1 if they do. The version that is asked
is the `kdpipe` that is given, so an old one is recorded from a clone with its own environment:

    python benchmarks/unchanged.py record before.json --kdpipe ../before/.venv/bin/kdpipe
    python benchmarks/unchanged.py record after.json --kdpipe .venv/bin/kdpipe
    python benchmarks/unchanged.py compare before.json after.json

Three parts, each of which can be asked for alone with --only:

- plans: every run of every study, with its digest, parents, epochs, checkpoints, bytes and
  multiply-adds (seconds);
- published: every report under reports/published/, rendered again from its records (a minute);
- bytes: weights, curves, outputs, logit caches and records of two studies that are trained
  (some minutes): studies/smoke.yaml and benchmarks/every_kind.yaml.
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import yaml

ROOT = Path(__file__).parent.parent
PUBLISHED = ROOT / "reports" / "published"
TRAINED = ("studies/smoke.yaml", "benchmarks/every_kind.yaml")
PARTS = ("plans", "published", "bytes")
# Of a record, what depends on the hour and on the machine's load.
VOLATILE = {
    "seconds",
    "started",
    "finished",
    "time",
    "machine",
    "host",
    "energy",
    "memory",
    "images_per_second",
}


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    record = commands.add_parser("record")
    record.add_argument("file", type=Path)
    record.add_argument("--kdpipe", type=Path, default=Path(sys.executable).parent / "kdpipe")
    record.add_argument("--only", choices=PARTS)
    compare = commands.add_parser("compare")
    compare.add_argument("before", type=Path)
    compare.add_argument("after", type=Path)
    args = parser.parse_args()
    if args.command == "compare":
        return print_differences(
            json.loads(args.before.read_text()), json.loads(args.after.read_text())
        )
    kdpipe = str(args.kdpipe.absolute())
    readers = {"plans": read_plans, "published": render_published, "bytes": train_studies}
    expected = [args.only] if args.only else PARTS
    args.file.write_text(json.dumps({part: readers[part](kdpipe) for part in expected}, indent=1))
    return 0


def read_plans(kdpipe: str) -> dict[str, dict]:
    """Return for each study the digest of every run as it is planned, by the run's name."""
    plans = {}
    for study in list_studies():
        with tempfile.TemporaryDirectory() as folder:
            command = [kdpipe, "plan", str(study), "--json", "--results", folder]
            process = subprocess.run(command, capture_output=True, text=True, cwd=folder)
        if process.returncode:  # a study of data that are not here says so, in the same words
            plans[study.name] = {"refused": process.stderr.replace(str(ROOT), "")}
            continue
        plan = json.loads(process.stdout)
        runs = {run["name"]: digest(json.dumps(run, sort_keys=True)) for run in plan.pop("runs")}
        plans[study.name] = runs | {"the rest": digest(json.dumps(plan, sort_keys=True))}
    return plans


def render_published(kdpipe: str) -> dict[str, dict[str, str]]:
    """Return the digest of each file of each published report, rendered from its records."""
    names = {yaml.safe_load(path.read_text())["study"]: path for path in list_studies()}
    reports = {}
    for folder in sorted(path for path in PUBLISHED.iterdir() if path.name in names):
        with tempfile.TemporaryDirectory() as out:
            command = [
                kdpipe,
                "report",
                str(names[folder.name]),
                "--results",
                str(folder),
                "--reports",
                out,
            ]
            subprocess.run(command, check=True, capture_output=True, cwd=ROOT)
            reports[folder.name] = dict(hash_files(Path(out) / folder.name))
    return reports


def train_studies(kdpipe: str) -> dict[str, dict[str, str]]:
    """Return the digest of each file of results that two small studies leave."""
    studies = {}
    for study in TRAINED:
        with tempfile.TemporaryDirectory() as folder:
            path = os.pathsep.join([str(Path(kdpipe).parent), os.environ["PATH"]])
            command = [kdpipe, "run", str(ROOT / study), "--cores", "2"]
            subprocess.run(
                command,
                check=True,
                capture_output=True,
                cwd=folder,
                env=os.environ | {"PATH": path},
            )
            studies[study] = dict(hash_files(Path(folder) / "results"))
    return studies


def list_studies() -> list[Path]:
    """Return every study file of this checkout that can be planned without files beside it."""
    return [ROOT / "config.yaml", *sorted((ROOT / "studies").glob("*.yaml")), ROOT / TRAINED[1]]


def hash_files(folder: Path) -> Iterator[tuple[str, str]]:
    """Yield each file below a folder with its digest; records without what is volatile."""
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        content = path.read_bytes()
        if path.name.startswith("record") and path.suffix == ".json":
            content = json.dumps(drop_volatile(json.loads(content)), sort_keys=True).encode()
        yield str(path.relative_to(folder)), hashlib.sha256(content).hexdigest()


def drop_volatile(value):
    """Return a record without what depends on the hour, in every object of it."""
    if isinstance(value, dict):
        return {key: drop_volatile(one) for key, one in value.items() if key not in VOLATILE}
    return [drop_volatile(one) for one in value] if isinstance(value, list) else value


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def print_differences(before: dict, after: dict) -> int:
    """Print what is missing, new and changed; return the exit code."""
    different = 0
    for part in before.keys() & after.keys():
        count = 0
        for group in before[part].keys() | after[part].keys():
            old, new = before[part].get(group, {}), after[part].get(group, {})
            changed = [key for key in old.keys() | new.keys() if old.get(key) != new.get(key)]
            count += len(old)
            different += len(changed)
            for key in sorted(changed)[:10]:
                state = "missing" if key not in new else "new" if key not in old else "changed"
                print(f"{part}: {group}: {key}: {state}")
            if len(changed) > 10:
                print(f"{part}: {group}: and {len(changed) - 10} more")
        print(f"{part}: {count:,} compared in {len(before[part])} groups")
    print(f"{different:,} differences")
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main())
