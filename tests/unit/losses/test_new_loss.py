"""A term is one file: dropped into the folder, it is checked, trained, resumed and reported.

The term here is a regression of the last group: it looks at groups, has a key besides its weight,
and parameters of its own. The package is a copy with this one file more.
"""

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import tiny_study

import kdpipe

TERM = '''
"""The student's last group, convolved, is to be its teacher's."""

from pydantic import Field

from kdpipe.losses.base import LossTerm, to_float32
from kdpipe.pydantic_base import StrictModel


class Keys(StrictModel):
    hint_weight: float = Field(0.0, ge=0, le=1000, description="the weight of the regression")
    hint_scale: float = Field(1.0, gt=0, le=10, description="what the distance is divided by")


def learnt(student, teacher, keys):
    from torch import nn

    return nn.Conv2d(student.groups[-1].shape[1], teacher.groups[-1].shape[1], 1, bias=False)


def loss(student, teacher, keys, regressor):
    target = to_float32(teacher.groups[-1]).detach()
    difference = regressor(to_float32(student.groups[-1])) - target
    return difference.pow(2).mean() / keys["hint_scale"]


TERM = LossTerm(
    title="hints", short_title="Hints", part="hint", revision=1, keys=Keys, loss=loss,
    needs="groups", learnt=learnt,
)
'''
# Trains every run of a study; `die` kills the process when the student's state is saved again.
TRAIN = """
import os, sys
from pathlib import Path

from kdpipe.config import load
from kdpipe.jobs.train import train_run
from kdpipe.plan import planner
from kdpipe.runs.store import Store
from kdpipe.training import loop

plan = planner.build_plan(load.load_study("study.yaml"))
save, saved = loop.save_state, []
for run in plan.runs.values():  # parents come first
    def dies(*state):
        save(*state)
        saved.append(1)
        if len(saved) == 2:
            os.kill(os.getpid(), 9)
    fitted = run.parents and run.spec.method.get("hint_weight")
    loop.save_state = dies if fitted and "die" in sys.argv else save
    train_run(run.spec, [], Store(Path(sys.argv[1])))
    print(run.name)
"""
METHOD = {"kd_weight": 0.5, "ce_weight": 0.5, "hint_weight": 2.0}


@pytest.fixture
def folder(tmp_path, store):
    """A copy of the package with the term in it, and a study that uses it."""
    source = Path(kdpipe.__file__).parent
    shutil.copytree(source, tmp_path / "kdpipe", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "kdpipe/losses/hint.py").write_text(TERM.lstrip())
    write(tmp_path)
    shutil.copytree(store.root, tmp_path / "whole")
    return tmp_path


def write(folder, **method):
    methods = {"kd": {}, "fitted": METHOD | method}
    content = tiny_study.study(
        methods=methods, main={"methods": ["kd", "fitted"]}, recipe={"epochs": 3},
        tables={"teacher_size": ["main"], "eskd": ["main"]},
    )  # fmt: skip
    return tiny_study.write(folder / "study.yaml", content)


def python(folder, *arguments, code=0):
    env = os.environ | {"PYTHONPATH": str(folder), "KDPIPE_SAVE_SECONDS": "0"}
    command = [sys.executable, *arguments]
    process = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True)
    assert process.returncode == code, process.stderr
    return process.stdout + process.stderr


@pytest.mark.slow
def test_it_is_trained_killed_resumed_and_reported(folder, store):
    assert "no errors; 4 runs" in python(folder, "-m", "kdpipe", "check", "study.yaml")
    *_, student = python(folder, "-c", TRAIN, "whole").split()
    python(folder, "-c", TRAIN, "results", "die", code=-9)
    state = store.run(student) / ".state.safetensors"
    assert b"learnt/hint.weight" in state.read_bytes()[:20_000]
    assert b"momentum/learnt/hint.weight" in state.read_bytes()[:20_000]
    python(folder, "-c", TRAIN, "results")
    assert tiny_study.exact(store.run(student)) == tiny_study.exact(folder / "whole/runs" / student)

    lines = [json.loads(line) for line in (store.run(student) / "curve.jsonl").open()]
    for line in lines:
        parts = line["train"]
        expected = 0.5 * parts["ce"] + 0.5 * parts["kd"] + 2.0 * parts["hint"]
        assert parts["loss"] == pytest.approx(expected, rel=1e-5)
        assert line["val"]["hint"] > 0
    assert lines[-1]["train"]["hint"] < lines[0]["train"]["hint"]

    python(folder, "-m", "kdpipe", "report", "study.yaml")
    report = folder / "reports/tiny"
    rows = list(csv.DictReader((report / "tables/teacher_size.csv").open()))
    (row,) = [row for row in rows if row["method"] == "fitted"]
    assert row["method_kind"] == "hint+kd" and float(row["error"]) > 0
    assert "Hints + KD" in (report / "index.html").read_text()
    results = list(csv.DictReader((report / "results.csv").open()))
    (cell,) = {row["terms"] for row in results if row["method"] == "fitted"}
    assert cell == "2 Hints (hint_scale 1.0)"


def test_its_keys_are_the_grammars(folder):
    write(folder, hint_scale=-1.0)
    message = python(folder, "-m", "kdpipe", "check", "study.yaml", code=2)
    assert "methods.fitted.hint_scale: -1.0: input should be greater than 0" in message
    write(folder, hint_skale=1.0)
    message = python(folder, "-m", "kdpipe", "check", "study.yaml", code=2)
    assert "did you mean hint_scale?" in message


def test_it_renames_no_run_that_does_not_use_it(folder):
    write(folder)
    there = json.loads(python(folder, "-m", "kdpipe", "plan", "--json", "study.yaml"))
    content = tiny_study.study(methods={"kd": {}}, recipe={"epochs": 3})
    here = tiny_study.planned(methods=content["methods"], recipe={"epochs": 3})
    assert set(here.runs) < {run["name"] for run in there["runs"]}


def test_a_teacher_without_groups_is_refused(folder):
    ensembles = {"pair": {"networks": ["wrn10-1"], "copies": 2}}
    content = tiny_study.study(
        methods={"fitted": METHOD}, ensembles=ensembles,
        main={"teachers": ["pair"], "methods": ["fitted"]},
    )  # fmt: skip
    tiny_study.write(folder / "study.yaml", content)
    message = python(folder, "-m", "kdpipe", "check", "study.yaml", code=2)
    assert "hints needs one network, and pair is an ensemble" in message
