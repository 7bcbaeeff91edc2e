"""CONTRIBUTING.md says the truth: its examples are dropped into a copy of the package, and work."""

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import synthetic_study, tiny_study
from helpers.layers import LAYERS, LISTED, PACKAGES

import kdpipe
from kdpipe import registry
from kdpipe.config import load
from kdpipe.plan import planner
from kdpipe.runs.store import Store

TEXT = (Path(__file__).parents[2] / "CONTRIBUTING.md").read_text()
EXAMPLES = dict(re.findall(r"^```python\n# src/(\S+)\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE))
TABLE = "kdpipe/report/tables/spread.py"
TERM = "kdpipe/losses/logits.py"
TRAIN = """
from pathlib import Path

from kdpipe.config import load
from kdpipe.jobs.train import train_run
from kdpipe.plan import planner
from kdpipe.runs.execution_options import CPU_OPTIONS
from kdpipe.runs.store import Store

plan = planner.build_plan(load.load_study("study.yaml"))
for run in plan.runs.values():  # parents come first
    epochs = sorted(plan.checkpoints_to_keep.get(run.name, ()))
    train_run(run.spec, epochs, Store(Path("results")), CPU_OPTIONS)
    print(run.name)
"""


def with_file(folder: Path, path: str) -> Path:
    """A copy of the package with one example in it."""
    source = Path(kdpipe.__file__).parent
    shutil.copytree(source, folder / "kdpipe", ignore=shutil.ignore_patterns("__pycache__"))
    assert not (folder / path).exists()
    (folder / path).write_text(EXAMPLES[path])
    return folder


def python(folder: Path, *arguments: str) -> str:
    """What Python prints that finds its kdpipe in a folder, and works there."""
    env = os.environ | {"PYTHONPATH": str(folder)}
    command = [sys.executable, *arguments]
    process = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
    return process.stdout


def test_the_examples_are_a_table_and_a_term_of_thirty_lines_at_most():
    assert EXAMPLES.keys() == {TABLE, TERM}
    assert all(len(text.splitlines()) < 30 for text in EXAMPLES.values())


@pytest.mark.parametrize("path", EXAMPLES)
def test_an_example_is_written_as_our_code_is(path, tmp_path):
    (tmp_path / "example.py").write_text(EXAMPLES[path])
    root = Path(__file__).parents[2]
    rules = ["--config", str(root / "pyproject.toml"), "--quiet"]
    for verb in (["check"], ["format", "--check"]):
        command = [sys.executable, "-m", "ruff", *verb, *rules, str(tmp_path / "example.py")]
        assert subprocess.run(command, cwd=root).returncode == 0


def test_the_table_is_rendered_by_its_name(tmp_path):
    folder = with_file(tmp_path, TABLE)
    content = tiny_study.study(seeds=[0, 1, 2])
    plan = planner.build_plan(load.validate_study(content, "study.yaml"))
    synthetic_study.write(plan, Store(folder / "results"))
    tiny_study.write(folder / "study.yaml", content | {"tables": {"spread": ["main"]}})
    python(folder, "-m", "kdpipe", "report", "study.yaml")
    report = folder / "reports/tiny"
    rows = list(csv.DictReader((report / "results.csv").open()))
    errors = [float(row["test_error"]) for row in rows if row["kind"] == "student"]
    (row,) = csv.DictReader((report / "tables/spread.csv").open())
    assert len(errors) == 3 and row["student"] == "wrn10-0.5" and row["n"] == "3"
    assert float(row["lowest"]) == pytest.approx(min(errors))
    assert float(row["highest"]) == pytest.approx(max(errors))
    assert "Spread of the seeds" in (report / "index.html").read_text()


def test_the_term_trains(tmp_path, store):
    folder = with_file(tmp_path, TERM)
    methods = {"mine": {"logits_weight": 1.0}}
    tiny_study.write(
        folder / "study.yaml", tiny_study.study(methods=methods, main={"methods": ["mine"]})
    )
    names = python(folder, "-c", TRAIN).split()
    (student,) = [name for name in names if "-from-" in name]
    lines = [json.loads(line) for line in (store.run(student) / "curve.jsonl").open()]
    assert len(lines) == 2
    for line in lines:
        part = line["train"]
        assert part["lm"] > 0
        assert part["loss"] == pytest.approx(part["ce"] + part["lm"], rel=1e-5)


def test_every_package_and_listed_folder_is_in_the_picture():
    section = TEXT[TEXT.index("## The package") : TEXT.index("## Words")]
    picture = "\n".join(re.findall(r"^    .*", section, re.MULTILINE))
    ground = set(LAYERS[0])
    missing = [name for name in PACKAGES if not re.search(rf"^    {name} ", picture, re.M)]
    assert not set(missing) - ground
    assert set(re.findall(r"(\w+) ★", picture)) == LISTED


def test_every_listed_folder_has_its_line():
    table = TEXT[TEXT.index("## To add") : TEXT.index("### A table")]
    objects = dict(re.findall(r"`(?:\w+/)?(\w+)/<.*?\.py` \| `([A-Z]+)` \|", table))
    assert objects.keys() == LISTED
    package = Path(kdpipe.__file__).parent
    for folder, name in objects.items():
        listed = [path for path in package.rglob(folder) if (path / "__init__.py").exists()]
        assert listed
        for path in listed:
            dotted = ".".join(path.relative_to(package.parent).parts)
            assert f"`{path.relative_to(package)}/<" in table
            files = [path / f"{each}.py" for each in registry.list_names(dotted)]
            assert files and all(f"\n{name} = " in each.read_text() for each in files)


def test_every_file_of_the_way_to_a_row_is_there():
    """At most 15 from the Snakefile to a row of a table, in the order in which they are read."""
    text = TEXT[TEXT.index("To follow a study") : TEXT.index("## Words")]
    names = re.findall(r"`([\w/<>]+(?:\.\w+)?)`", text)
    assert len(names) <= 15
    root = Path(__file__).parents[2]
    for name in names:
        path = name.replace("<name>", "eskd")
        assert (root / path).exists() or (root / "src/kdpipe" / path).exists(), name
