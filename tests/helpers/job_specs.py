"""Specs of every kind of job, as the plan of one small study has them."""

import functools

from helpers import tiny_study
from kdpipe import hashing
from kdpipe.plan.nodes import Plan
from kdpipe.runs.recipe import Recipe
from kdpipe.runs.spec import DataSpec, ModelSpec, RunSpec, build_run_spec, build_teacher_spec

# A data set whose images fit the networks of the digits; only its card is needed.
DATA = DataSpec(
    name="digits",
    card="c" * 64,
    revision=1,
    train_size=64,
    validation=40,
    label_noise=0.0,
    split_seed=0,
    split_revision=hashing.REVISIONS["split"],
    views={"pad": 0, "flip": False, "revision": hashing.REVISIONS["views"]},
)
NETWORK = ModelSpec(name="wrn10-1", revision=1, classes=10, channels=1)
OTHER = {"name": "mnist", "resize": 8, "train_size": 80, "validation": 30}


@functools.cache
def planned(**changes) -> Plan:
    """Two that teach together by KD, one that teaches by attention, an ensemble, and probes."""
    one = {"name": "one", "teachers": ["wrn10-1"], "students": ["wrn10-0.5"], "methods": ["at"]}
    return tiny_study.planned(
        teacher_outputs="table",
        methods={"kd": {}, "at": {"attention_weight": 1.0}},
        ensembles={"two": {"networks": ["wrn10-1"], "copies": 2}},
        experiments=[one | {"name": "main", "teachers": ["two"], "methods": ["kd"]}, one],
        transfers={"other": {"data": OTHER, "blocks": ["main"]}},
        **changes,
    )


def run_spec(recipe: dict | None = None, method: dict | None = None) -> RunSpec:
    """A run of no plan, with these keys of its recipe; a student if it has a method."""
    teacher = build_teacher_spec([("d" * 64, "wrn10-1", 1)], "one", "live") if method else None
    result = Recipe(**({"epochs": 2, "lr": 0.1} | (recipe or {})))
    return build_run_spec(DATA, NETWORK, result, seed=0, teacher=teacher, method=method)
