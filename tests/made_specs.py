"""Specs of every kind of job, as the plan of one small study has them."""

import functools

import tiny

from kdpipe.plan.items import Plan

# A data set whose images fit the networks of the digits; only its card is needed.
OTHER = {"name": "mnist", "resize": 8, "train_size": 80, "validation": 30}


@functools.cache
def planned() -> Plan:
    """Two that teach together by KD, one that teaches by attention, an ensemble, and probes."""
    one = {"name": "one", "teachers": ["wrn10-1"], "students": ["wrn10-0.5"], "methods": ["at"]}
    return tiny.planned(
        teacher_outputs="table",
        methods={"kd": {}, "at": {"attention_weight": 1.0}},
        ensembles={"two": {"networks": ["wrn10-1"], "copies": 2}},
        experiments=[one | {"name": "main", "teachers": ["two"], "methods": ["kd"]}, one],
        transfers={"other": {"data": OTHER, "blocks": ["main"]}},
    )
