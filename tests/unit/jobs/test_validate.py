"""What a job takes as a spec: all that the plan makes, and nothing that leads out of the folder."""

import copy
import json

import pytest
from helpers import tiny_study
from helpers.job_specs import planned

from kdpipe import hashing
from kdpipe.errors import KdpipeError
from kdpipe.jobs import validate


def items() -> list[tuple[str, str, dict]]:
    """(kind, name, spec) of everything that is planned."""
    plan = planned()
    kinds = {"run": plan.runs, "table": plan.logit_caches, "ensemble": plan.ensembles}
    kinds["probe"] = plan.probes
    return [
        (kind, name, item.spec.to_dict())
        for kind, actual in kinds.items()
        for name, item in actual.items()
    ]


def admitted(kind, content):
    spec = validate.read_spec(kind, content)
    validate.validate_spec(spec)
    return spec.name


def test_all_that_is_planned_is_taken_under_its_name():
    for kind, name, spec in items():
        assert (
            admitted(kind, json.loads(hashing.canonical_json(spec))) == name == admitted(kind, spec)
        )
    assert {kind for kind, *_ in items()} == {"run", "table", "ensemble", "probe"}


@pytest.mark.parametrize("kind", ["run", "table", "ensemble", "probe"])
def test_what_is_of_another_kind_is_refused_by_the_kind(kind):
    others = [spec for other, _, spec in items() if other != kind]
    for spec in [{}, {"kind": kind}, *others]:
        with pytest.raises(KdpipeError, match=f"--spec is not the spec of an? {kind} "):
            admitted(kind, spec)


@pytest.mark.parametrize(
    ("kind", "path", "value", "message"),
    [
        ("run", ["network", "name"], "../x", "network"),
        ("run", ["recipe", "epochs"], 0, "not the spec of a run"),
        ("run", ["data", "card"], "0" * 64, "this version has no card"),
        ("table", ["threads"], 0, "threads must be a number from 1 to 256"),
        ("table", ["precision"], "int8", "precision must be float16 or float32"),
        ("table", ["run"], "../x", "a member that is not"),
        ("table", ["data", "views", "mixed"], {"mixup": 0.2}, "mixes views that are not drawn"),
        ("table", ["data", "views", "mixed"], {"mixup": -1}, "not the spec of a table"),
        ("ensemble", ["members"], [], "an ensemble without members"),
        ("ensemble", ["seed"], "0/../x", "not a plain name"),
        ("ensemble", ["revision"], 99, "has revision 99 of ensemble"),
        ("ensemble", ["evaluation"], 99, "has revision 99 of evaluation"),
        ("probe", ["data", "validation"], 0, "training and validation images"),
        ("probe", ["epoch"], "1", "a member that is not"),
    ],
)
def test_what_is_refused_and_how(kind, path, value, message):
    spec = copy.deepcopy(next(spec for actual, _, spec in items() if actual == kind))
    part = spec
    for key in path[:-1]:
        part = part[key]
    part[path[-1]] = value
    with pytest.raises(KdpipeError, match=message):
        admitted(kind, spec)


def test_views_are_mixed_as_the_recipe_says_and_under_this_revision():
    plan = tiny_study.planned(
        data={"views": 2}, recipe={"mixup": 0.2, "epochs": 9}, teacher_outputs="table"
    )
    (table,) = plan.logit_caches.values()
    run = next(run for run in plan.runs.values() if run.spec.teacher)
    for kind, item in (("run", run), ("table", table)):
        for mixed, message in (
            ({"mixed_revision": 9}, "has revision 9 of mixed"),
            ({"mixup": 0.3}, "mixes its views in another way than its recipe says"),
            ({"cutmix": 1.0}, "mixes its views in another way than its recipe says"),
        ):
            spec = item.spec.to_dict()
            assert admitted(kind, spec) == item.name
            spec["data"]["views"] = spec["data"]["views"] | {
                "mixed": spec["data"]["views"]["mixed"] | mixed
            }
            if kind == "run" or "mixed_revision" in mixed:
                with pytest.raises(KdpipeError, match=message):
                    admitted(kind, spec)
            else:
                assert admitted(kind, spec) != item.name, "a table of other students"
    spec = run.spec.to_dict()
    del spec["data"]["views"]["mixed"]
    with pytest.raises(KdpipeError, match="a logit cache has no outputs for mixed images"):
        admitted("run", spec)


@pytest.mark.parametrize("key", ["revision", "attention_revision"])
def test_a_term_that_counts_states_its_revision(key):
    spec = copy.deepcopy(next(s for _, _, s in items() if s.get("method") and
                              s["method"].get("attention_weight")))  # fmt: skip
    del spec["method"][key]
    with pytest.raises(KdpipeError, match=f"not the spec of a run .*{key}"):
        admitted("run", spec)


def test_checkpoints_lie_within_the_training():
    spec = next(iter(planned().runs.values())).spec
    validate.validate_checkpoints([0, 1, 2], spec)
    with pytest.raises(KdpipeError, match=r"--keep: \[-1, 3\] not within 0 and 2"):
        validate.validate_checkpoints([-1, 1, 3], spec)
