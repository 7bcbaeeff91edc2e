"""An optimizer is one file: dropped into the folder it is tested, accepted and part of a name.

NAdam has a key of its own, which renames no run of another optimizer. The package is a copy with
this one file more.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import tiny_study

import kdpipe

NADAM = '''
"""NAdam: Adam with Nesterov's momentum (Dozat, 2016)."""

from pydantic import Field

from kdpipe.pydantic_base import StrictModel
from kdpipe.runs.recipe import OptimizerInfo


class NAdamConfig(StrictModel):
    momentum_decay: float = Field(4e-3, ge=0, le=1, description="how fast its momentum rises")


def _step(parameters, gradients, state, recipe, lr, weight_decay):
    import torch
    from torch.optim.nadam import nadam

    for index, parameter in enumerate(parameters):
        if state["steps"][index] is None:
            state["momentum"][index] = torch.zeros_like(parameter)
            state["second"][index] = torch.zeros_like(parameter)
            state["products"][index] = torch.ones(())
            state["steps"][index] = torch.zeros(())
    nadam(
        parameters, gradients, state["momentum"], state["second"], state["products"],
        state["steps"], beta1=recipe.momentum, beta2=0.999, lr=lr, weight_decay=weight_decay,
        momentum_decay=recipe.momentum_decay, eps=1e-8,
    )


OPTIMIZER = OptimizerInfo(
    torch_class="NAdam",
    torch_arguments=lambda recipe: {
        "betas": (recipe.momentum, 0.999), "momentum_decay": recipe.momentum_decay,
    },
    state=("momentum", "second", "products", "steps"),
    step=_step,
    keys=NAdamConfig,
    revision=1,
    examples=({"momentum_decay": 0.1},),
)
'''
TEST = Path(__file__).with_name("test_optimizers.py")


@pytest.fixture
def folder(tmp_path):
    """A copy of the package with NAdam in it."""
    source = Path(kdpipe.__file__).parent
    shutil.copytree(source, tmp_path / "kdpipe", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "kdpipe/training/optimizers/nadam.py").write_text(NADAM.lstrip())
    return tmp_path


def run_python(folder, *arguments, code=0) -> str:
    env = os.environ | {"PYTHONPATH": str(folder)}
    command = [sys.executable, *arguments]
    process = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True)
    assert process.returncode == code, process.stdout + process.stderr
    return process.stdout + process.stderr


def plan(folder, **recipe) -> dict:
    tiny_study.write(folder / "study.yaml", tiny_study.study(recipe=recipe))
    return json.loads(run_python(folder, "-m", "kdpipe", "plan", "--json", "study.yaml"))


def test_it_is_compared_with_torch(folder):
    """The shared test finds it."""
    options = ["-v", "-p", "no:cacheprovider", "-k", "nadam and not cut_off"]
    output = run_python(folder, "-m", "pytest", str(TEST), *options)
    assert "9 passed" in output


def test_it_names_its_own_runs_alone(folder):
    names = {run["name"] for run in plan(folder)["runs"]}
    assert names == {run.name for run in tiny_study.planned().runs.values()}
    by_nadam = plan(folder, optimiser="nadam")["runs"]
    faster = plan(folder, optimiser="nadam", momentum_decay=0.5)["runs"]
    assert len(names | {run["name"] for run in [*by_nadam, *faster]}) == 3 * len(names)


def test_its_key_is_refused_elsewhere(folder):
    tiny_study.write(folder / "study.yaml", tiny_study.study(recipe={"momentum_decay": 0.5}))
    message = run_python(folder, "-m", "kdpipe", "check", "study.yaml", code=2)
    assert "momentum_decay does not apply to optimizer sgd or schedule steps" in message


def test_a_run_states_its_revision(folder):
    code = """
from kdpipe.config import load
from kdpipe.plan import planner
from kdpipe.jobs.validate import validate_spec

plan = planner.build_plan(load.load_study("study.yaml"))
for run in plan.runs.values():
    assert run.spec.revision["optimizer nadam"] == 1
    assert run.spec.recipe.momentum_decay == 0.5
    validate_spec(run.spec)
"""
    tiny_study.write(
        folder / "study.yaml",
        tiny_study.study(recipe={"optimiser": "nadam", "momentum_decay": 0.5}),
    )
    run_python(folder, "-c", code)
