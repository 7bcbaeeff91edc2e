"""A method: its keys, what it writes into a spec, and what follows from it."""

import dataclasses
import math

import pytest
import torch
from helpers import job_specs
from helpers.synthetic_logits import draw_batch, mean, softmax
from pydantic import ValidationError

from kdpipe import hashing
from kdpipe.errors import KdpipeError
from kdpipe.jobs import validate
from kdpipe.losses import method
from kdpipe.losses.base import ModelOutput
from kdpipe.losses.config import Method
from kdpipe.losses.kd import kd
from kdpipe.training.objective import Objective


def objective(epochs=24, **keys):
    method_spec = method.build_method_spec(Method(**keys), epochs)
    return Objective(job_specs.run_spec({"epochs": epochs}, method_spec))


@pytest.mark.parametrize(
    ("keys", "requests", "expected"),
    [
        ({}, "table", "float16"),
        ({"temperature": 2}, "table", "float16"),
        ({"temperature": 1.9}, "table", "float32"),
        ({"attention_weight": 1.0}, "table", "live"),
        ({"dkd_weight": 1.0}, "table", "float16"),
        ({"dkd_weight": 1.0, "dkd_temperature": 1.0}, "table", "float32"),
        ({"dkd_weight": 1.0, "temperature": 1.0}, "table", "float16"),  # no KD in it
        ({"nkd_weight": 1.0}, "table", "float32"),
        ({"dkd_weight": 1.0, "attention_weight": 1.0}, "table", "live"),
        ({}, "live", "live"),
        ({"temperature": 1}, "live", "live"),
    ],
)
def test_how_the_outputs_of_a_teacher_come(keys, requests, expected):
    result = method.build_method_spec(Method(**keys), epochs=3)
    assert method.choose_teacher_source(result, requests) == expected


# --- KD beside another term


@pytest.mark.parametrize(
    ("keys", "kd_weight", "ce_weight"),
    [
        ({}, 0.9, 0.1),
        ({"kd_weight": 0.5}, 0.5, 0.1),
        ({"dkd_weight": 0}, 0.9, 0.1),  # not there
        ({"dkd_weight": 1}, 0.0, 1.0),
        ({"attention_weight": 60.0}, 0.0, 1.0),
        ({"dkd_weight": 1, "kd_weight": 0.5}, 0.5, 1.0),
        ({"dkd_weight": 1, "kd_weight": 0.0}, 0.0, 1.0),
        ({"dkd_weight": 1, "ce_weight": 0.1}, 0.0, 0.1),
        ({"dkd_weight": 1, "attention_weight": 9, "kd_weight": 0.9}, 0.9, 1.0),
        ({"term": "mine.TERM"}, 0.0, 1.0),
    ],
)
def test_a_method_that_names_another_term_has_kd_only_if_it_asks(keys, kd_weight, ce_weight):
    requests = Method(**keys)
    assert (requests.kd_weight, requests.ce_weight) == (kd_weight, ce_weight)
    result = method.build_method_spec(requests, epochs=3)
    assert (result["kd_weight"], result["ce_weight"]) == (kd_weight, ce_weight)
    # As it goes from the check to the rule that renders: without what says nothing.
    assert Method.model_validate(requests.model_dump(exclude_defaults=True)) == requests


def test_a_weight_that_is_no_number_is_still_a_mistake():
    for errors in ("1", None, -1, [1]):
        with pytest.raises(ValidationError, match="dkd_weight"):
            Method(dkd_weight=errors)


def test_the_spec_says_every_key_of_a_term_at_work_and_none_of_the_others():
    result = method.build_method_spec(Method(dkd_weight=2, dkd_beta=6), epochs=240)
    assert {key: value for key, value in result.items() if key.startswith("dkd")} == {
        "dkd_weight": 2.0,
        "dkd_alpha": 1.0,
        "dkd_beta": 6.0,
        "dkd_temperature": 4.0,
        "dkd_warmup": 20,  # the authors' 20 of 240
        "dkd_revision": 1,
    }
    assert not any(key.startswith(("nkd", "rld", "standardise")) for key in result)
    plain = method.build_method_spec(Method(), epochs=240)
    assert plain.keys() == {
        *("loss", "revision", "ce_weight", "kd_epochs", "ce_weight_after_stop"),
        *("temperature", "kd_weight"),
    }


# --- the warm-up


@pytest.mark.parametrize(
    ("requests", "epochs", "written"),
    [(1 / 12, 240, 20), (1 / 12, 40, 3), (1 / 12, 2, 1), (0.5, 24, 12), (20, 40, 20), (0, 40, 0)],
)
def test_a_share_of_the_epochs_is_written_as_epochs(requests, epochs, written):
    result = method.build_method_spec(Method(rld_weight=1, rld_warmup=requests), epochs)
    assert result["rld_warmup"] == written and type(result["rld_warmup"]) is int


@pytest.mark.parametrize("errors", [-1, 1.0, 1.5, -0.5, "20", None])
def test_a_warmup_is_epochs_or_a_share_of_them(errors):
    with pytest.raises(ValidationError, match="dkd_warmup"):
        Method(dkd_warmup=errors)


def test_the_weight_rises_epoch_by_epoch_and_stays():
    """min(epoch / 4, 1), the epochs counted from 1; KD and CE are there at once."""
    objective_value = objective(24, dkd_weight=2, dkd_warmup=4, kd_weight=0.5, stop_epoch=8)
    weights = [objective_value.weights(epoch) for epoch in range(9)]
    assert [one.terms.get("dkd") for one in weights] == [0.5, 1.0, 1.5, 2, 2, 2, 2, 2, None]
    assert [one.terms.get("kd") for one in weights] == [0.5] * 8 + [None]
    assert {one.ce for one in weights} == {1.0}
    assert objective(24, dkd_weight=2, dkd_warmup=0).weights(0).terms == {"dkd": 2}
    shared = objective(24, rld_weight=3, rld_warmup=0.25)
    assert [shared.weights(epoch).terms["rld"] for epoch in (0, 5, 6)] == [0.5, 3, 3]


def test_a_share_that_is_left_in_the_keys_of_a_term_of_ones_own_is_one_of_epochs():
    objective_value = objective(24, attention_weight=1.0)
    term, weight, _ = objective_value.terms["at"]
    objective_value.terms["at"] = (dataclasses.replace(term, warmup="slow"), weight, {"slow": 0.5})
    assert [objective_value.weights(epoch).terms["at"] for epoch in (0, 5, 11, 12)] == [
        1 / 12,
        0.5,
        1,
        1,
    ]


# --- standardised logits


def test_terms_on_logits_see_them_standardised_and_ce_does_not():
    batch = draw_batch(5, images=4, classes=5)
    student, teacher, labels = batch.tensors
    objective_value = objective(standardise=True, kd_weight=9.0, temperature=2.0, ce_weight=0.1)
    parts = objective_value.compute_terms(
        ModelOutput(student, []), ModelOutput(teacher, []), labels, objective_value.weights(0)
    )
    z = [
        (x - x.mean(1, keepdim=True)) / (1e-7 + x.std(1, keepdim=True)) for x in (student, teacher)
    ]
    torch.testing.assert_close(parts["kd"], kd(*z, temperature=2.0))
    rows = zip(batch.student, batch.labels, strict=True)
    ce = mean(-math.log(softmax(row)[y]) for row, y in rows)
    assert parts["ce"].item() == pytest.approx(ce, rel=1e-9)
    torch.testing.assert_close(parts["loss"], 0.1 * parts["ce"] + 9.0 * parts["kd"])


def test_a_term_on_groups_sees_logits_and_groups_as_they_are():
    seen = []

    def spy(student, teacher, labels, keys):
        seen.extend([student, teacher])
        return torch.zeros(())

    objective_value = objective(standardise=True, attention_weight=1.0, kd_weight=1.0)
    term, *rest = objective_value.terms["at"]
    objective_value.terms["at"] = (dataclasses.replace(term, loss=spy), *rest)
    student, teacher, labels = draw_batch(6).tensors
    message = ModelOutput(student, [student]), ModelOutput(teacher, [teacher])
    objective_value.compute_terms(*message, labels, objective_value.weights(0))
    assert seen[0] is message[0] and seen[1] is message[1]


def test_the_switch_is_in_the_spec_only_where_it_is_on():
    on, off = (method.build_method_spec(Method(standardise=x), epochs=3) for x in (True, False))
    assert on == off | {"standardise": True, "standardise_revision": 1}
    assert (
        hashing.hash_spec(on)
        != hashing.hash_spec(off)
        == hashing.hash_spec(method.build_method_spec(Method(), epochs=3))
    )


def test_a_spec_of_another_revision_of_it_is_refused(monkeypatch):
    spec = {
        "kind": "ensemble",
        "revision": 1,
        "method": method.build_method_spec(Method(standardise=True), 3),
    }
    validate.check_revisions("x", spec, ())
    with pytest.raises(KeyError, match="standardise_revision"):
        method.check_revisions({**spec["method"], "standardise_revision": None})
    monkeypatch.setitem(hashing.REVISIONS, "standardise", 2)
    with pytest.raises(KdpipeError, match="has revision 1 of standardise, this version"):
        validate.check_revisions("x", spec, ())


def test_where_no_term_looks_at_logits_it_is_refused():
    with pytest.raises(ValidationError, match="standardise: no term of this method uses"):
        Method(standardise=True, attention_weight=1.0)
    Method(standardise=True, attention_weight=1.0, kd_weight=0.9)


# --- what a method is called


@pytest.mark.parametrize(
    ("keys", "kind", "heading", "words"),
    [
        ({}, "kd", "full KD", "full KD"),
        ({"stop_epoch": 1}, "eskd", "ESKD", "ESKD"),
        ({"standardise": True}, "kd, standardised", "standardised KD", "KD on standardised logits"),
        (
            {"standardise": True, "stop_epoch": 1},
            "kd, standardised, stopped",
            "standardised KD stopped early",
            "KD on standardised logits",
        ),
        ({"dkd_weight": 1}, "dkd", "DKD", "decoupled KD"),
        (
            {"dkd_weight": 1, "attention_weight": 1, "stop_epoch": 1},
            "at+dkd, stopped",
            "AT + DKD stopped early",
            "attention transfer with decoupled KD",
        ),
        (
            {"dkd_weight": 9, "standardise": True},
            "dkd, standardised",
            "standardised DKD",
            "decoupled KD on standardised logits",
        ),
    ],
)
def test_the_kind_of_a_method(keys, kind, heading, words):
    actual = method.method_kind(method.build_method_spec(Method(**keys), epochs=3), 3)
    assert (actual, method.short_label(actual), method.long_label(actual)) == (kind, heading, words)
    assert method.is_plain_kd(actual) == (kind in ("kd", "eskd"))


@pytest.mark.parametrize(
    ("keys", "terms"),
    [
        ({}, None),
        ({"attention_weight": 1}, None),
        ({"standardise": True}, "standardised logits"),
        ({"ttm_weight": 45}, "45 TTM (ttm_gamma 0.1)"),
        (
            {"ttm_weight": 45, "wsl_weight": 2.25, "standardise": True},
            "45 TTM (ttm_gamma 0.1) + 2.25 WSL (wsl_temperature 4.0) + standardised logits",
        ),
    ],
)
def test_a_report_says_what_else_is_in_it(keys, terms):
    assert (
        method.report_columns(method.build_method_spec(Method(**keys), epochs=3)).get("terms")
        == terms
    )


def test_a_method_with_unlabelled_images_is_a_kind_of_its_own():
    result = method.build_method_spec(Method.model_validate({"unlabelled": 8}), 4) | {
        "unlabelled_images": 20
    }
    assert method.method_kind(result, 4) == "kd, unlabelled"
    assert method.short_label("kd, unlabelled") == "KD with unlabelled images"
    assert method.long_label("at+kd, unlabelled").endswith("with KD with unlabelled images")
    assert not method.is_plain_kd("kd, unlabelled")
    stopped = method.build_method_spec(Method.model_validate({"unlabelled": 8, "stop_epoch": 1}), 4)
    assert method.method_kind(stopped, 4) == "kd, unlabelled, stopped"
    actual = method.report_columns(result)
    assert (actual["unlabelled"], actual["unlabelled_images"]) == (8, 20)
    plain = method.build_method_spec(Method.model_validate({}), 4)
    assert not any("unlabelled" in key for key in plain | method.report_columns(plain))
