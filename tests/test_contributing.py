"""CONTRIBUTING.md says the truth: its examples are dropped into a copy of the package, and work."""

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import made_study
import pytest
import tiny
from house import FLOORS, LISTED

import kdpipe
from kdpipe.plan import planner
from kdpipe.results.store import Store
from kdpipe.study import checking

TEXT = (Path(__file__).parents[1] / "CONTRIBUTING.md").read_text()
EXAMPLES = dict(re.findall(r"^```python\n# src/(\S+)\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE))
TABLE = "kdpipe/report/tables/spread.py"
TERM = "kdpipe/learning/methods/logits.py"
TRAIN = """
from pathlib import Path

from kdpipe.jobs.train import train
from kdpipe.plan import planner
from kdpipe.results.store import Store
from kdpipe.specs.equipment import CPU
from kdpipe.study import checking

made = planner.make(checking.load("study.yaml"))
for run in made.runs.values():  # parents come first
    train(run.spec, sorted(made.keep.get(run.name, ())), Store(Path("results")), CPU)
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
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_examples_are_a_table_and_a_term_of_thirty_lines_at_most():
    assert EXAMPLES.keys() == {TABLE, TERM}
    assert all(len(text.splitlines()) < 30 for text in EXAMPLES.values())


@pytest.mark.parametrize("path", EXAMPLES)
def test_an_example_is_written_as_our_code_is(path, tmp_path):
    (tmp_path / "example.py").write_text(EXAMPLES[path])
    root = Path(__file__).parents[1]
    rules = ["--config", str(root / "pyproject.toml"), "--quiet"]
    for verb in (["check"], ["format", "--check"]):
        command = [sys.executable, "-m", "ruff", *verb, *rules, str(tmp_path / "example.py")]
        assert subprocess.run(command, cwd=root).returncode == 0


def test_the_table_is_rendered_by_its_name(tmp_path):
    folder = with_file(tmp_path, TABLE)
    content = tiny.study(seeds=[0, 1, 2])
    made = planner.make(checking.validate(content, "study.yaml"))
    made_study.write(made, Store(folder / "results"))
    tiny.write(folder / "study.yaml", content | {"tables": {"spread": ["main"]}})
    python(folder, "-m", "kdpipe", "report", "study.yaml")
    report = folder / "reports/tiny"
    rows = list(csv.DictReader((report / "results.csv").open()))
    errors = [float(row["test_error"]) for row in rows if row["kind"] == "student"]
    (row,) = csv.DictReader((report / "tables/spread.csv").open())
    assert len(errors) == 3 and row["student"] == "wrn10-0.5" and row["n"] == "3"
    assert float(row["lowest"]) == pytest.approx(min(errors))
    assert float(row["highest"]) == pytest.approx(max(errors))
    assert "Spread of the seeds" in (report / "index.html").read_text()


def test_the_term_trains(tmp_path, place):
    folder = with_file(tmp_path, TERM)
    methods = {"mine": {"logits_weight": 1.0}}
    tiny.write(folder / "study.yaml", tiny.study(methods=methods, main={"methods": ["mine"]}))
    names = python(folder, "-c", TRAIN).split()
    (student,) = [name for name in names if "-from-" in name]
    lines = [json.loads(line) for line in (place.run(student) / "curve.jsonl").open()]
    assert len(lines) == 2
    for line in lines:
        part = line["train"]
        assert part["lm"] > 0
        assert part["loss"] == pytest.approx(part["ce"] + part["lm"], rel=1e-5)


def test_every_room_and_listed_folder_is_in_the_picture():
    rooms = {room for floor in FLOORS[1:] for room in floor} - {"__main__"}
    house = TEXT[TEXT.index("## The house") : TEXT.index("## To add")]
    picture = "\n".join(re.findall(r"^    .*", house, re.MULTILINE))
    assert not [room for room in rooms if not re.search(rf"(^    |  ){room} ", picture, re.M)]
    assert set(re.findall(r"(\w+) ★", picture)) == LISTED


def test_every_listed_folder_has_its_line():
    table = TEXT[TEXT.index("## To add") : TEXT.index("### A table")]
    said = dict(re.findall(r"`\w+/(\w+)/<.*?\.py` \| `([A-Z]+)` \|", table))
    assert said.keys() == LISTED
    for folder in LISTED:
        found = [path for path in Path(kdpipe.__file__).parent.rglob(folder) if path.is_dir()]
        assert found
        for listed in found:
            assert f"`{listed.parent.relative_to(Path(kdpipe.__file__).parent)}/{folder}/<" in table
            files = [path for path in listed.glob("*.py") if path.stem != "__init__"]
            assert files and all(f"\n{said[folder]} = " in path.read_text() for path in files)
