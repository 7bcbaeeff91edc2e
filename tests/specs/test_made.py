"""Names of jobs, and which keys stand in their specs, by hand."""

import json

import pytest
import tiny

from kdpipe import identity
from kdpipe.data.cards import load
from kdpipe.data.keys import Data
from kdpipe.learning.keys import Method
from kdpipe.learning.recipe import Recipe
from kdpipe.specs import made

RECIPE = Recipe(epochs=4, batch_size=16, lr=0.05, drop_epochs=[2], threads=2)
NETWORK = {"name": "wrn10-1", "revision": 1, "classes": 10, "channels": 1}
DIGEST = "0123456789abcdef" * 4


def data(**keys) -> dict:
    return made.data_spec(Data(name="digits", validation=40, **keys), load("digits"))


def run(**keys) -> dict:
    return made.run_spec(data(), NETWORK, RECIPE, **({"seed": 3} | keys))


def taught(*members, outputs="live", **method) -> dict:
    teacher = made.teacher_spec(members, "one", outputs)
    return run(teacher=teacher, method=Method(**method))


@pytest.mark.parametrize(
    ("spec", "name"),
    [
        (run(), "wrn10-1-labels-4e-s3-0123456789ab"),
        (run(member=2), "wrn10-1-labels-4e-m2-s3-0123456789ab"),
        (run(pretrained={"weights": "X", "sha256": None}), "wrn10-1-pretrained-s3-0123456789ab"),
        (taught(("d", "wrn16-2", 7)), "wrn10-1-from-wrn16-2-e7-s3-0123456789ab"),
        (taught(("d", "a", 7), ("e", "a", 7)), "wrn10-1-from-2-networks-s3-0123456789ab"),
    ],
)
def test_names_of_runs(spec, name):
    assert made.run_name(spec, DIGEST) == made.NAMES["run"](spec, DIGEST) == name


def test_names_of_the_others():
    ensemble = made.ensemble_spec([("d", 1), ("e", 2), ("f", 3)], seed=5)
    table = made.table_spec(run(), DIGEST, 2, "float16")
    probe = made.probe_spec(run(), DIGEST, 2, data())
    assert made.NAMES["ensemble"](ensemble, DIGEST) == "ensemble-of-3-s5-0123456789ab"
    assert made.NAMES["table"](table, DIGEST) == "wrn10-1-e2-0123456789ab"
    assert made.NAMES["probe"](probe, DIGEST) == "wrn10-1-on-digits-s3-0123456789ab"
    assert ensemble["members"][1] == {"run": "e", "epoch": 2}
    assert [each["threads"] for each in (table, probe)] == [2, 2]
    assert [each["kind"] for each in (ensemble, table, probe)] == ["ensemble", "table", "probe"]


def test_a_teacher_rests_on_what_stands_between_it_and_the_student():
    one, two = [("d", "a", 1)], [("d", "a", 1), ("e", "a", 1)]
    found = {
        (len(members), outputs): set(made.teacher_spec(members, "one", outputs)["revision"])
        for members in (one, two)
        for outputs in ("live", "float16")
    }
    assert found == {
        (1, "live"): set(),
        (1, "float16"): {"table"},
        (2, "live"): {"ensemble"},
        (2, "float16"): {"ensemble", "table"},
    }


def test_views_are_counted_by_hand():
    assert made.view_count(data(pad=4, flip=True)["views"]) == 9 * 9 * 2 == 162
    assert made.view_count(data()["views"]) == 1


def test_a_spec_is_json_and_says_every_value():
    for planned in tiny.planned(teacher_outputs="table").runs.values():
        assert json.loads(json.dumps(planned.spec)) == planned.spec
        assert planned.spec["recipe"].keys() == Recipe.model_fields.keys()
        assert identity.digest(planned.spec) == planned.digest
