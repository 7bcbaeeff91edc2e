"""The revisions in a spec: all of them are found, whatever the kind of job, and compared."""

import copy
import dataclasses
import itertools
import json

import pytest
from helpers.job_specs import planned

from kdpipe import hashing
from kdpipe.errors import KdpipeError
from kdpipe.jobs import validate
from kdpipe.models import registry

DATA = {"data set digits", "views", "split"}


def specs() -> dict[str, dict]:
    """One of each kind, as JSON; runs of every method."""
    plan = planned()
    kd, at = (cell.run for cell in plan.cells)
    kinds = {"table": plan.logit_caches, "ensemble": plan.ensembles, "probe": plan.probes}
    actual = {kind: next(iter(items.values())).spec.to_dict() for kind, items in kinds.items()}
    runs = {"labels": next(iter(plan.runs.values())), "kd": kd, "at": at}
    return actual | {name: run.spec.to_dict() for name, run in runs.items()}


RUN = DATA | {"wrn", "training", "evaluation"}
EXPECTED = {
    "labels": RUN,
    "kd": RUN | {"kd", "ensemble", "table"},
    "at": RUN | {"kd", "attention"},
    "table": DATA | {"wrn", "table"},
    "probe": {"data set mnist", "views", "split", "wrn", "probe"},
    "ensemble": {"ensemble", "evaluation"},
}


@pytest.mark.parametrize("kind", EXPECTED)
def test_what_each_kind_of_spec_states_by_hand(kind):
    spec = specs()[kind]
    for form in (spec, json.loads(hashing.canonical_json(spec))):  # as a job gets it
        actual = list(validate.find_revisions(form))
        assert {behaviour for behaviour, _ in actual} == EXPECTED[kind]
        validate.check_revisions("it", form, EXPECTED[kind])


def places(spec, path=()):
    """Every place of a spec under whose key a revision stands, found by brute force."""
    for key, value in spec.items():
        if isinstance(value, dict):
            yield from places(value, (*path, key))
        elif isinstance(value, int) and (
            "revision" in (*path, key)[-2:] or key.endswith("_revision") or key == "evaluation"
        ):
            yield (*path, key)


@pytest.mark.parametrize("kind", EXPECTED)
def test_every_one_that_is_raised_is_refused_by_its_name(kind):
    spec = specs()[kind]
    actual = list(places(spec))
    assert len(actual) == len(EXPECTED[kind])
    refused = set()
    for *keys, last in actual:
        older = copy.deepcopy(spec)
        part = older
        for key in keys:
            part = part[key]
        part[last] = 99
        with pytest.raises(KdpipeError, match=r"it: its spec has revision 99 of .*again") as error:
            validate.check_revisions("it", older, ())
        refused.add(str(error.value).split(" of ")[1].split(",")[0])
    assert refused == EXPECTED[kind]


def test_one_that_is_left_out_or_unknown_is_no_spec():
    for kind, path in itertools.product(EXPECTED, (("revision",), ("data", "revision"))):
        spec = copy.deepcopy(specs()[kind])
        if path[0] in spec:
            part = spec[path[0]] if len(path) == 2 else spec
            del part["revision"]
            with pytest.raises(KeyError):
                validate.check_revisions("it", spec, ())
    spec = copy.deepcopy(specs()["kd"])
    del spec["data"]["split_revision"]
    with pytest.raises(KeyError, match="split"):
        validate.check_revisions("it", spec, ["split"])
    with pytest.raises(KeyError, match="telepathy"):
        validate.check_revisions("it", specs()["kd"] | {"telepathy_revision": 1}, ())


def test_a_network_of_ones_own_answers_for_itself():
    spec = copy.deepcopy(specs()["labels"])
    spec["network"] |= {"name": "mine", "build": "my.net", "revision": 7}
    assert "wrn" not in dict(validate.find_revisions(spec))
    validate.check_revisions("it", spec, ())


def test_a_raised_revision_of_a_family_refuses_older_specs(monkeypatch):
    spec = specs()["labels"]
    raised = dataclasses.replace(registry.load_families()["wrn"], revision=2)
    monkeypatch.setitem(registry.load_families(), "wrn", raised)
    with pytest.raises(KdpipeError, match="revision 1 of wrn, this version computes revision 2"):
        validate.check_revisions("it", spec, ())
