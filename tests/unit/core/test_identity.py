"""What a run's name rests on.

Breaking a pinned digest has a price: every result of every user with such a run is trained again.
"""

import copy
import dataclasses
import itertools
import json
import math
from collections import defaultdict
from unittest import mock

import pytest
from helpers import tiny_study
from hypothesis import given, settings
from hypothesis import strategies as st

from kdpipe import hashing
from kdpipe.config import load
from kdpipe.data.datasets import digits
from kdpipe.hashing import canonical_json, derive_seed, hash_spec
from kdpipe.losses import method
from kdpipe.models import registry
from kdpipe.plan import planner


def make(content):
    return planner.build_plan(load.validate_study(content, "f"))


# A chain of generations, an ensemble that teaches, another teacher, and both methods.
FAMILY = tiny_study.study(
    seeds=[0, 1],
    methods={"kd": {}, "hot": {"temperature": 9}},
    ensembles={"three": {"networks": ["wrn10-0.5"], "copies": 3}, "line": {"block": "again"}},
    experiments=[
        {"name": "big", "teachers": ["wrn16-1"], "students": ["wrn10-0.5"],
         "methods": ["kd", "hot"]},
        {"name": "again", "teachers": ["self"], "students": ["wrn10-0.5"], "methods": ["kd"],
         "generations": 2},
        {"name": "taught", "teachers": ["three", "again"], "students": ["wrn10-1"],
         "methods": ["hot"]},
    ],
)  # fmt: skip


@pytest.fixture
def family():
    return copy.deepcopy(FAMILY)


def descendants(plan, runs):
    """These runs, and all that descend from them."""
    touched = {run.digest for run in runs}
    for run in plan.runs.values():  # parents first
        if touched & {parent.digest for parent in run.parents}:
            touched.add(run.digest)
    return {run.name for run in plan.runs.values() if run.digest in touched}


def renamed(before, after):
    """Names that are gone; as many must have come."""
    gone, come = set(before.runs) - set(after.runs), set(after.runs) - set(before.runs)
    assert len(gone) == len(come)
    return gone


# --- canonical form


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=10,
)


@given(st.dictionaries(st.text(max_size=5), JSON, max_size=4))
@settings(max_examples=200, derandomize=True, deadline=None)
def test_canonical_is_json_that_says_the_same_in_one_way(spec):
    with mock.patch.dict(hashing.NEUTRAL_VALUES, clear=True):
        _says_the_same_in_one_way(spec)


def _says_the_same_in_one_way(spec):
    finite = "Infinity" not in json.dumps(spec)
    if not finite:
        with pytest.raises(ValueError):
            canonical_json(spec)
        return
    text = canonical_json(spec)
    assert json.loads(text) == spec
    assert canonical_json(json.loads(text)) == text
    backwards = dict(reversed(list(spec.items())))
    assert canonical_json(backwards) == text and hash_spec(backwards) == hash_spec(spec)
    assert text.isascii() and "\n" not in text


def test_canonical_by_hand():
    spec = {"b": [1, 1.0, 5e-4], "a": {"d": None, "c": True}, "é": "x"}
    assert canonical_json(spec) == r'{"a":{"c":true,"d":null},"b":[1,1.0,0.0005],"\u00e9":"x"}'
    # printf '{"a":1}' | sha256sum
    expected = "015abd7f5cc57a2dd94b7590f04ad8084273905ee33ec5cebeae62276a97f862"
    assert hash_spec({"a": 1}) == expected
    assert hash_spec({"a": 1.0}) != expected


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_spec_holds_no_nonsense(value):
    for spec in ({"a": value}, {"a": [{"b": (value,)}]}):
        with pytest.raises(ValueError):
            canonical_json(spec)


def test_a_key_that_came_later_is_left_out_at_its_neutral_value_alone(monkeypatch):
    old = {"recipe": {"lr": 0.1}, "list": [{"x": 1}]}
    monkeypatch.setitem(hashing.NEUTRAL_VALUES, "nesterov", False)
    assert hash_spec(old | {"nesterov": False}) == hash_spec(old)
    assert hash_spec({"recipe": {"lr": 0.1, "nesterov": False}, "list": [{"x": 1}]}) == hash_spec(
        old
    )
    assert hash_spec({"recipe": {"lr": 0.1}, "list": [{"x": 1, "nesterov": False}]}) == hash_spec(
        old
    )
    for value in (True, None, "", 1):
        assert hash_spec(old | {"nesterov": value}) != hash_spec(old)


def test_without_a_neutral_value_every_key_counts():
    assert hash_spec({"a": False}) != hash_spec({"a": None}) != hash_spec({})


# --- golden digests


def test_pinned_digests():
    """If this fails, every run of every study is made again. Is that what you mean?

    If a behaviour changed: raise its revision in `identity.REVISIONS` (or in `networks/families`),
    and pin anew. If a key was added: declare its neutral value in `identity.NEUTRAL` instead.
    """
    plan = make(copy.deepcopy(FAMILY))
    assert [name for name, run in plan.runs.items() if run.seed == 0] == PINNED
    rows = {row.label: row.ensemble.name for row in plan.ensemble_rows if row.ensemble.seed == 0}
    assert rows == {
        "three": "ensemble-of-3-s0-029645cdcbad",
        "line": "ensemble-of-2-s0-d3116464e012",
    }
    run = plan.runs[PINNED[0]]
    assert run.digest == "302868e313d46c73b7dc2f26415b02b56e5ffa1c5b5d99eaf0f8765cddcdba8c"


PINNED = [
    "wrn10-0.5-labels-2e-s0-302868e313d4",
    "wrn16-1-labels-2e-s0-a728d4abeeb5",
    "wrn10-0.5-from-wrn16-1-e2-s0-31018c17ae64",  # kd
    "wrn10-0.5-from-wrn16-1-e2-s0-002875fa652e",  # hot
    "wrn10-0.5-from-wrn10-0.5-e2-s0-ac7b73a71c68",  # generation 1
    "wrn10-0.5-from-wrn10-0.5-e2-s0-ee9207796fcb",  # generation 2
    "wrn10-1-labels-2e-s0-6f4329ae8934",
    "wrn10-0.5-labels-2e-m1-s0-936af5c7f417",
    "wrn10-0.5-labels-2e-m2-s0-9b397c4f268a",
    "wrn10-1-from-3-networks-s0-14d83eed66d9",
    "wrn10-1-from-wrn10-0.5-e2-s0-6744f2047486",
]


def test_names_are_for_people(family):
    plan = make(family)
    for name, run in plan.runs.items():
        assert (name, run.digest) == (run.spec.name, run.spec.digest)
        assert name.startswith(f"{run.network}-") and name.endswith(
            f"-s{run.seed}-{run.digest[:12]}"
        )
        assert run.digest == hash_spec(run.spec) == hash_spec(json.loads(canonical_json(run.spec)))
    starts = {name.split("-s")[0] for name in plan.runs}
    assert starts == {
        "wrn16-1-labels-2e",
        "wrn10-1-labels-2e",
        "wrn10-0.5-labels-2e",
        "wrn10-0.5-labels-2e-m1",
        "wrn10-0.5-labels-2e-m2",
        "wrn10-0.5-from-wrn16-1-e2",
        "wrn10-0.5-from-wrn10-0.5-e2",
        "wrn10-1-from-wrn10-0.5-e2",
        "wrn10-1-from-3-networks",
    }


# --- what a change renames


def test_one_methods_temperature_renames_its_runs_and_their_descendants(family):
    before = make(family)
    family["methods"]["hot"]["temperature"] = 8
    hot = {c.run.name for c in before.cells if c.method == "hot"}
    assert renamed(before, make(family)) == hot
    family["methods"] = {"kd": {"temperature": 3}, "hot": {"temperature": 9}}
    kd = [c.run for c in before.cells if c.method == "kd"]
    gone = renamed(before, make(family))
    assert gone == descendants(before, kd)
    assert len(gone) == 2 * (1 + 2 + 1)  # the student, two generations, who learns from the second


def test_a_changed_teacher_renames_all_that_descend_from_it_and_nothing_else(family):
    before = make(family)
    family["network_recipes"] = {"wrn16-1": {"lr": 0.01}}
    gone = renamed(before, make(family))
    teachers = [run for run in before.runs.values() if run.network == "wrn16-1"]
    assert gone == descendants(before, teachers)
    assert len(gone) == 2 * 3
    family["network_recipes"] = {"wrn10-0.5": {"weight_decay": 0}}
    gone = renamed(before, make(family))
    small = [run for run in before.runs.values() if run.network == "wrn10-0.5"]
    assert gone == descendants(before, small)
    assert {before.runs[name].network for name in set(before.runs) - gone} == {"wrn16-1", "wrn10-1"}


@pytest.mark.parametrize(
    ("part", "key", "value"),
    [
        ("data", "label_noise", 0.1),
        ("data", "pad", 2),
        ("recipe", "lr", 0.1),
        ("recipe", "threads", 2),
    ],
)
def test_data_and_recipe_rename_everything(family, part, key, value):
    before = make(family)
    family[part][key] = value
    assert renamed(before, make(family)) == set(before.runs)


def test_labels_and_order_never_matter(family):
    """Names of blocks, methods, ensembles and of the study; the order of keys and of lists."""
    before = make(family)
    text = json.dumps(family)
    for old, new in [("hot", "warm"), ("again", "more"), ("three", "3"), ("taught", "t"),
                     ("tiny", "other"), ("line", "row"), ("big", "b")]:  # fmt: skip
        text = text.replace(f'"{old}"', f'"{new}"')
    family = json.loads(text)
    family["experiments"].reverse()
    family["seeds"].reverse()
    family["smallest_effect"] = 5.0
    family["tables"] = {"eskd": ["b"]}
    after = make(dict(reversed(list(family.items()))))
    assert set(after.runs) == set(before.runs)
    assert set(after.ensembles) == set(before.ensembles)


def test_defaults_written_out_change_nothing(family):
    before = make(family)
    family["methods"]["kd"] = {"temperature": 4, "ce_weight": 0.1, "kd_weight": 0.9}
    family["recipe"] |= {"momentum": 0.9, "weight_decay": 5.0e-4, "label_smoothing": 0}
    family["network_recipes"] = {"wrn16-1": {}}
    assert list(make(family).runs) == list(before.runs)


def test_what_is_kept_is_no_part_of_a_run(family):
    before = make(family)
    family["keep_checkpoints"] = {"wrn16-1": ["every 1"]}
    after = make(family)
    assert (
        list(after.runs) == list(before.runs)
        and after.checkpoints_to_keep != before.checkpoints_to_keep
    )


def test_a_seed_more_adds_its_runs_alone(family):
    before = make(family)
    family["seeds"] = [0, 1, 2]
    after = make(family)
    assert set(before.runs) < set(after.runs)
    assert {after.runs[name].seed for name in set(after.runs) - set(before.runs)} == {2}


REVISED = {
    "training": lambda run: True,
    "evaluation": lambda run: True,
    "views": lambda run: True,
    "split": lambda run: True,
    "ensemble": lambda run: run.spec.teacher and len(run.spec.teacher.members) > 1,
}


@pytest.mark.parametrize("name", REVISED)
def test_a_raised_revision_renames_what_it_touches(family, monkeypatch, name):
    before = make(family)
    monkeypatch.setitem(hashing.REVISIONS, name, hashing.REVISIONS[name] + 1)
    gone = renamed(before, make(family))
    assert gone == {n for n, run in before.runs.items() if REVISED[name](run)}


def test_a_raised_revision_of_a_term(family, monkeypatch):
    before, kd = make(family), method.load_terms()["kd"]
    monkeypatch.setitem(method.load_terms(), "kd", dataclasses.replace(kd, revision=2))
    assert renamed(before, make(family)) == {n for n, r in before.runs.items() if r.spec.teacher}


def test_a_raised_revision_of_a_data_set(family, monkeypatch):
    before = make(family)
    monkeypatch.setattr(digits, "DATASET", dataclasses.replace(digits.DATASET, revision=2))
    assert renamed(before, make(family)) == set(before.runs)


def test_a_raised_revision_of_a_network_family(family, monkeypatch):
    family["experiments"][0]["teachers"] = ["resnet8"]
    before = make(family)
    raised = dataclasses.replace(registry.load_families()["resnet"], revision=99)
    monkeypatch.setitem(registry.load_families(), "resnet", raised)
    gone = renamed(before, make(family))
    assert gone == descendants(before, [r for r in before.runs.values() if r.network == "resnet8"])
    assert len(gone) == 2 * 3


# --- streams


def test_a_stream_by_hand():
    # printf '[3, 1, 2, "wrn10-1", "order", 7]' | sha256sum | cut -c-16, halved
    assert derive_seed(3, 1, 2, "wrn10-1", "order", 7) == 0x8AC2A73A9AA22732 // 2


def test_streams_differ_in_each_of_their_parts():
    parts = [[0, 1], [0, 1], [0, 1], ["wrn10-1", "wrn16-1"], ["init", "order"], [0, 1]]
    seeds = [derive_seed(*values) for values in itertools.product(*parts)]
    assert len(set(seeds)) == 2**6
    assert all(0 <= seed < 2**63 for seed in seeds)


def key(run):
    """What all randomness of a run is a function of."""
    return run.seed, run.spec.stage, run.spec.member, run.network


def test_scratch_runs_and_direct_students_are_paired(family):
    plan = make(family)
    for cell in plan.cells:
        if cell.block == "big":
            assert key(cell.run) == key(plan.scratch["wrn10-0.5", cell.seed, 0])


def test_members_of_an_ensemble_differ(family):
    for row in make(family).ensemble_rows:
        keys = [key(run) for run, _ in row.ensemble.members]
        assert len(set(keys)) == len(keys)


def test_no_student_is_on_the_stream_of_a_teacher_of_its():
    """In a plan with every kind of teacher, for its own teacher and all of that one's teachers."""
    block = {"students": ["wrn10-0.5", "wrn10-1"], "methods": ["kd"]}
    one = {"students": ["wrn10-1"], "methods": ["kd"]}
    content = tiny_study.study(
        seeds=[0, 1],
        ensembles={
            "three": {"networks": ["wrn10-0.5", "wrn10-1"], "copies": 3},
            "line": {"block": "again"},
            "shots": {"networks": ["wrn10-1"], "stops": ["checkpoint 1", "full"]},
        },
        experiments=[
            {"name": "plain", "teachers": ["wrn16-1", "self", "wrn10-1"],
             "stops": ["full", "checkpoint 0", "schedule 1/1"], **block},
            {"name": "again", "teachers": ["self"], "generations": 3, **one},
            {"name": "chain", "teachers": ["wrn10-1"], "via": ["wrn10-0.5", "wrn10-1", "wrn10-0.5"],
             "generations": 2, **block},
            {"name": "taught", "teachers": ["again", "three", "line", "shots"], "generations": 2,
             **block},
            {"name": "fixed", "teachers": ["self", "wrn16-1", "three"], "teacher_seed": 0, **block},
        ],
    )  # fmt: skip
    plan = make(content)
    ancestors = defaultdict(set)
    for run in plan.runs.values():
        for parent in run.parents:
            ancestors[run.name] |= {key(parent)} | ancestors[parent.name]
        assert key(run) not in ancestors[run.name], run.name
    assert sum(map(len, ancestors.values())) > 200
    stages = {run.spec.stage for run in plan.runs.values()}
    assert stages == set(range(max(stages) + 1)) and max(stages) >= 5
