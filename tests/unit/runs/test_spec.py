"""Names of jobs, which keys stand in their specs, and their JSON form, by hand."""

import dataclasses
import json

import pytest
from helpers import tiny_study
from helpers.job_specs import planned

from kdpipe import hashing
from kdpipe.data.cards import load_known_card
from kdpipe.data.config import DataConfig
from kdpipe.data.data_spec import build_data_spec, count_views
from kdpipe.losses.config import Method
from kdpipe.runs import spec as spec_module
from kdpipe.runs.recipe import Recipe
from kdpipe.runs.spec import DataSpec, ModelSpec, PretrainedSpec, RunSpec

RECIPE = Recipe(epochs=4, batch_size=16, lr=0.05, drop_epochs=[2], threads=2)
NETWORK = ModelSpec(name="wrn10-1", revision=1, classes=10, channels=1)
DIGEST = "0123456789abcdef" * 4


def data(**keys) -> DataSpec:
    return build_data_spec(
        DataConfig(name="digits", validation=40, **keys), load_known_card("digits")
    )


def run(data_spec=None, **keys) -> RunSpec:
    return spec_module.build_run_spec(data_spec or data(), NETWORK, RECIPE, **({"seed": 3} | keys))


def taught(*members, outputs="live", **method) -> RunSpec:
    teacher = spec_module.build_teacher_spec(members, "one", outputs)
    return run(teacher=teacher, method=vars(Method(**method)))


@pytest.mark.parametrize(
    ("spec", "stem"),
    [
        (run(), "wrn10-1-labels-4e-s3"),
        (run(member=2), "wrn10-1-labels-4e-m2-s3"),
        (run(dataclasses.replace(data(), split=7)), "wrn10-1-labels-4e-s3-split7"),
        (run(pretrained=PretrainedSpec(weights="X", sha256=None)), "wrn10-1-pretrained-s3"),
        (taught(("d", "wrn16-2", 7)), "wrn10-1-from-wrn16-2-e7-s3"),
        (taught(("d", "a", 7), ("e", "a", 7)), "wrn10-1-from-2-networks-s3"),
    ],
)
def test_names_of_runs(spec, stem):
    assert spec.name == f"{stem}-{spec.digest[:12]}"
    assert spec.digest == hashing.hash_spec(spec) == hashing.hash_spec(spec.to_dict())


def test_names_of_the_others():
    ensemble = spec_module.build_ensemble_spec([("d", 1), ("e", 2), ("f", 3)], seed=5)
    table = spec_module.build_logit_cache_spec(run(), DIGEST, 2, "float16")
    probe = spec_module.build_probe_spec(run(), DIGEST, 2, data())
    last = spec_module.build_export_eval_spec(run(), DIGEST, 2, "last")
    best = spec_module.build_export_eval_spec(run(), DIGEST, 2, "best")
    stems = [
        "ensemble-of-3-s5",
        "wrn10-1-e2",
        "wrn10-1-on-digits-s3",
        "wrn10-1-as-file-e2-s3",
        "wrn10-1-as-file-best-s3",
    ]
    for spec, stem in zip((ensemble, table, probe, last, best), stems, strict=True):
        assert spec.name == f"{stem}-{spec.digest[:12]}"
    assert ensemble.to_dict()["members"][1] == {"run": "e", "epoch": 2}
    assert [each.threads for each in (table, probe, last)] == [2, 2, 1]
    kinds = [each.to_dict()["kind"] for each in (ensemble, table, probe, last)]
    assert kinds == ["ensemble", "table", "probe", "gauge"]


def test_a_teacher_rests_on_what_stands_between_it_and_the_student():
    one, two = [("d", "a", 1)], [("d", "a", 1), ("e", "a", 1)]
    revisions = {
        (len(members), outputs): set(
            spec_module.build_teacher_spec(members, "one", outputs).revision
        )
        for members in (one, two)
        for outputs in ("live", "float16")
    }
    assert revisions == {
        (1, "live"): set(),
        (1, "float16"): {"table"},
        (2, "live"): {"ensemble"},
        (2, "float16"): {"ensemble", "table"},
    }


def test_views_are_counted_by_hand():
    assert count_views(data(pad=4, flip=True)) == 9 * 9 * 2 == 162
    assert count_views(data()) == 1


def test_a_spec_is_json_and_says_every_value():
    for item in tiny_study.planned(teacher_outputs="table").runs.values():
        content = item.spec.to_dict()
        assert json.loads(json.dumps(content)) == content
        assert content["recipe"].keys() == Recipe.model_fields.keys()
        assert hashing.hash_spec(content) == hashing.hash_spec(item.spec) == item.digest


def test_every_spec_is_read_as_it_was_written():
    plan = planned()
    for items in (plan.runs, plan.logit_caches, plan.ensembles, plan.probes):
        for item in items.values():
            assert type(item.spec).from_dict(item.spec.to_dict()) == item.spec
            canonical = json.loads(hashing.canonical_json(item.spec))
            assert type(item.spec).from_dict(canonical).canonical == canonical


def test_what_a_spec_leaves_out_at_its_neutral_value():
    plain, other = data(), dataclasses.replace(data(), split=1, draw="share", resize=8)
    assert {"split", "draw"}.isdisjoint(plain.to_dict()) and plain.to_dict()["resize"] is None
    assert "resize" not in plain.canonical and "resize" in other.canonical
    assert other.to_dict().keys() - plain.to_dict().keys() == {"split", "draw"}
    assert NETWORK.to_dict() == {"name": "wrn10-1", "revision": 1, "classes": 10, "channels": 1}


@pytest.mark.parametrize("part", [None, "data", "network", "recipe", "teacher"])
def test_a_key_too_many_or_too_few_is_no_spec(part):
    for change in (lambda keys: keys.update(more=1), lambda keys: keys.pop(next(iter(keys)))):
        content = taught(("d", "wrn16-2", 7)).to_dict()
        change(content if part is None else content[part])
        with pytest.raises(TypeError):
            RunSpec.from_dict(content)


def test_a_spec_is_not_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        run().seed = 4  # pyright: ignore[reportAttributeAccessIssue]
