"""Every term on logits: finite whatever it is given, or refused; and standardised logits."""

import statistics

import pytest
import torch
from helpers.synthetic_logits import FEW, call_loss, draw_batch, gradient
from hypothesis import given
from hypothesis import strategies as st

from kdpipe.errors import KdpipeError
from kdpipe.losses._logits import standardize
from kdpipe.losses.base import ModelOutput
from kdpipe.losses.dist import dist
from kdpipe.losses.dkd import dkd
from kdpipe.losses.method import load_terms
from kdpipe.losses.nkd import nkd
from kdpipe.losses.rld import rld
from kdpipe.losses.ttm import ttm
from kdpipe.losses.wsl import wsl
from kdpipe.losses.wttm import wttm

HOT = {"temperature": 4.0}
LOSSES = {
    "dkd": (dkd, {"alpha": 1.0, "beta": 8.0, **HOT}),
    "dist": (dist, {"beta": 1.0, "gamma": 1.0, **HOT}),
    "ttm": (ttm, {"gamma": 0.1}),
    "wttm": (wttm, {"gamma": 0.1}),
    "nkd": (nkd, {"gamma": 1.5, **HOT}),
    "wsl": (wsl, HOT),
    "rld": (rld, {"alpha": 1.0, "beta": 8.0, "alpha_temperature": 1.0, **HOT}),
}
ON_LABELS = ("dkd", "nkd", "wsl", "rld")
OF_LOGITS = sorted(name for name, term in load_terms().items() if term.needs == "logits")


def get_message(*, double=True):
    student, teacher, labels = draw_batch(11, images=5, classes=6).tensors
    return (student, teacher, labels) if double else (student.float(), teacher.float(), labels)


def test_each_term_on_logits_is_here_or_is_kd():
    assert {*LOSSES, "kd"} == set(OF_LOGITS)


@pytest.mark.parametrize("name", LOSSES)
def test_the_term_is_its_function_with_the_keys_of_a_method(name):
    function, keys = LOSSES[name]
    student, teacher, labels = get_message()
    term = load_terms()[name]
    inputs = term.keys(**{f"{name}_{key}": value for key, value in keys.items()}).model_dump()
    actual = term.compute(ModelOutput(student, []), ModelOutput(teacher, []), labels, inputs)
    assert actual == call_loss(function, student, teacher, labels, **keys)


@pytest.mark.parametrize("name", LOSSES)
@FEW
@given(
    seed=st.integers(0, 10_000),
    classes=st.integers(2, 7),
    size=st.sampled_from([0.0, 1e-4, 1.0, 100.0, 1e4]),
    other=st.sampled_from([0.0, 1.0, 1e4]),
    temperature=st.sampled_from([0.05, 1.0, 4.0, 1000.0]),
    kind=st.sampled_from([torch.float16, torch.bfloat16, torch.float32, torch.float64]),
)
def test_it_is_finite_whatever_it_is_given(name, seed, classes, size, other, temperature, kind):
    """Up to logits of +-1e4, rows of equal values, and in half precision; so is its gradient."""
    function, keys = LOSSES[name]
    keys = {key: temperature if "temperature" in key else value for key, value in keys.items()}
    student, teacher, labels = draw_batch(seed, images=3, classes=classes, scale=1.0).tensors
    student = (size * student).clamp(-1e4, 1e4).to(kind)
    teacher = (other * teacher).clamp(-1e4, 1e4).to(kind).requires_grad_()
    loss = call_loss(function, student, teacher, labels, **keys)
    assert loss.dtype == (torch.float64 if kind == torch.float64 else torch.float32)
    assert loss.isfinite() and loss > -1e-2 * temperature**2
    # In full precision, as a run has it: float16 has nothing above 65504.
    student = student.to(loss.dtype).requires_grad_()
    call_loss(function, student, teacher, labels, **keys).backward()
    assert student.grad.isfinite().all() and teacher.grad is None


@pytest.mark.parametrize("name", LOSSES)
def test_half_precision_is_computed_in_float32(name):
    function, keys = LOSSES[name]
    student, teacher, labels = get_message()
    student, teacher = student.half(), teacher.half()
    actual = call_loss(function, student, teacher, labels, **keys)
    exact = call_loss(function, student.double(), teacher.double(), labels, **keys)
    assert actual.dtype == torch.float32 and actual.item() == pytest.approx(exact.item(), rel=1e-5)


@pytest.mark.parametrize("name", LOSSES)
def test_what_it_cannot_be_computed_of_is_refused(name):
    function, keys = LOSSES[name]
    student, teacher, labels = get_message()
    for errors, message in [
        ((student, teacher[:, :5], labels), r"of equal shape; the student has \(5, 6\)"),
        ((student[0], teacher[0], labels), "of equal shape"),
        ((student[:, :1], teacher[:, :1], labels), "1 class, where it needs 2"),
    ]:
        with pytest.raises(KdpipeError, match=f"{name}: .*{message}"):
            call_loss(function, *errors, **keys)
    for key in {"temperature", "alpha_temperature", "gamma"} & keys.keys():
        if key != "gamma" or "temperature" not in keys:
            with pytest.raises(KdpipeError, match=f"{name}: {key} 0.0: a number above 0"):
                call_loss(function, student, teacher, labels, **keys | {key: 0.0})


@pytest.mark.parametrize("name", ON_LABELS)
def test_labels_that_are_missing_or_none_are_refused(name):
    function, keys = LOSSES[name]
    student, teacher, labels = get_message()
    with pytest.raises(KdpipeError, match=f"{name}: labels are missing"):
        function(student, teacher, None, **keys)
    for errors in (labels[:3], labels.float(), labels[:, None]):
        with pytest.raises(KdpipeError, match=f"{name}: labels: a whole number for each of 5"):
            function(student, teacher, errors, **keys)


@pytest.mark.parametrize("name", ["dkd", "rld", "ttm"])
def test_a_copy_of_the_teacher_has_no_loss(name):
    function, keys = LOSSES[name]
    _, teacher, _ = get_message()
    keys |= {"gamma": 1.0} if name == "ttm" else {}
    actual = call_loss(function, teacher, teacher, teacher.argmax(1), **keys)
    assert actual.item() == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("name", OF_LOGITS)
def test_a_table_is_in_single_precision_where_half_would_show(name):
    term = load_terms()[name]
    keys = term.keys().model_dump()
    expected = name in ("nkd", "wsl", "rld")  # which look at the label at T = 1
    assert term.needs_fp32(keys) is expected
    for key in keys:
        if key.endswith("temperature"):
            assert term.needs_fp32(keys | {key: 1.9})
        if key.endswith("gamma") and name in ("ttm", "wttm"):
            assert term.needs_fp32(keys | {key: 0.6}) and not term.needs_fp32(keys | {key: 0.5})


# --- standardised logits


def test_standardised_logits_are_what_the_standard_library_makes():
    batch = draw_batch(12, images=4, classes=5)
    rows = [
        [(x - statistics.fmean(row)) / (1e-7 + statistics.stdev(row)) for x in row]
        for row in batch.student
    ]
    torch.testing.assert_close(standardize(batch.tensors[0]), torch.tensor(rows).double())


@FEW
@given(st.integers(0, 10_000), st.sampled_from([0.01, 1.0, 50.0]), st.floats(-100, 100))
def test_neither_shift_nor_scale_is_seen(seed, scale, shift):
    student = draw_batch(seed, images=3, classes=5).tensors[0]
    actual = standardize(scale * student + shift)
    torch.testing.assert_close(actual, standardize(student), rtol=1e-4, atol=1e-5)


def test_its_gradient_is_that_of_differences():
    logits = draw_batch(13, images=3, classes=4).tensors[0].requires_grad_()
    assert torch.autograd.gradcheck(standardize, logits)


@pytest.mark.parametrize("value", [0.0, 0.1, -7.3, 1e4, 1e-30])
@pytest.mark.parametrize("kind", [torch.float16, torch.float32, torch.float64])
def test_a_row_of_equal_values_gives_zeros_and_no_gradient(value, kind):
    logits = torch.stack([torch.full((7,), value), torch.arange(7.0)]).to(kind)
    assert not standardize(logits)[0].any() and standardize(logits)[1].any()
    moved = gradient(lambda x: (standardize(x) * torch.arange(7)).sum().exp().log(), logits)
    assert not moved[0].any() and moved.isfinite().all()


@pytest.mark.parametrize("value", [1e-30, 1e-22, 1e-10, 1e4, 1e15])
def test_it_is_finite_for_small_and_large_rows(value):
    logits = value * torch.tensor([[1.0, 2.0, -4.0]])
    assert standardize(logits).isfinite().all()
    moved = gradient(lambda x: standardize(x).pow(2).sum() + standardize(x)[0, 0], logits)
    assert moved.isfinite().all()


def test_half_precision_is_standardised_in_float32_and_one_class_is_refused():
    assert standardize(torch.randn(2, 3).half()).dtype == torch.float32
    with pytest.raises(KdpipeError, match=r"standardise: .* 2 classes or more.*\(2, 1\)"):
        standardize(torch.zeros(2, 1))
