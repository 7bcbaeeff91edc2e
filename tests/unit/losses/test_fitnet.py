"""FitNet's regression, against loops and by hand; its regressor; and where it is refused."""

import numpy as np
import pytest
import torch
from helpers import numeric_gradient, tiny_study
from hypothesis import given, settings
from hypothesis import strategies as st

from kdpipe.config import load
from kdpipe.errors import KdpipeError, StudyError
from kdpipe.losses import fitnet as module
from kdpipe.losses.base import ModelOutput
from kdpipe.losses.fitnet import fitnet

FAST = settings(max_examples=20, deadline=None)
METHOD = {"ce_weight": 1.0, "kd_weight": 0.0, "fitnet_weight": 100.0}


def slowly(student: np.ndarray, teacher: np.ndarray) -> float:
    squares = [(a - b) ** 2 for a, b in zip(student.flat, teacher.flat, strict=True)]
    return float(sum(squares)) / len(squares)


def test_it_and_its_gradient_are_those_of_a_loop():
    rng = np.random.default_rng(1)
    student, teacher = rng.normal(size=(2, 2, 3, 2, 2))
    actual, reference = (torch.tensor(one, requires_grad=True) for one in (student, teacher))
    loss = fitnet(actual, reference)
    assert loss.item() == pytest.approx(slowly(student, teacher), rel=1e-12)
    loss.backward()
    expected = numeric_gradient.numeric_gradient(lambda x: slowly(x, teacher), student)
    np.testing.assert_allclose(actual.grad, expected, rtol=1e-6, atol=1e-9)
    assert reference.grad is None


def test_the_regressor_of_the_middle_group_by_hand():
    """In numpy: a matrix on the channels of each pixel, channels of mean 0 and variance 1, ReLU."""
    groups = [torch.randn(2, width, side, side) for width, side in ((3, 4), (5, 2), (6, 1))]
    others = [torch.randn(2, 2 * width, side, side) for width, side in ((3, 4), (5, 2), (6, 1))]
    student, teacher = (
        ModelOutput(torch.randn(2, 9), groups),
        ModelOutput(torch.randn(2, 9), others),
    )
    keys = {"fitnet_weight": 1.0}
    assert module.TERM.learnt is not None
    regressor = module.TERM.learnt(student, teacher, keys)
    weight, *others_of_it = (one.detach().numpy() for one in regressor.parameters())
    assert weight.shape == (10, 5, 1, 1) and [one.shape for one in others_of_it] == [(10,)] * 3
    pixels = groups[1].numpy().astype(np.float64).transpose(0, 2, 3, 1).reshape(-1, 5)
    moved = pixels @ weight[:, :, 0, 0].T  # what a bias adds, the mean takes away
    moved = (moved - moved.mean(axis=0)) / np.sqrt(moved.var(axis=0) + 1e-5)
    target = others[1].numpy().transpose(0, 2, 3, 1).reshape(-1, 10)
    loss = module.TERM.compute(student, teacher, torch.zeros(2), keys, regressor)
    expected = ((np.maximum(moved, 0) - target) ** 2).mean()
    assert loss.item() == pytest.approx(expected, rel=1e-5)
    loss.backward()
    assert regressor[0].weight.grad.any()


def test_features_of_two_shapes_are_refused():
    with pytest.raises(KdpipeError, match=r"student has 2 x 3 after .* teacher has 2 x 4"):
        fitnet(torch.ones(2, 3), torch.ones(2, 4))


@FAST
@given(st.integers(0, 2**32 - 1), st.sampled_from([1e-4, 1.0, 1e4]), st.booleans())
def test_it_is_finite_in_half_precision(seed, scale, brain):
    kind = torch.bfloat16 if brain else torch.float16
    rng = np.random.default_rng(seed)
    both = [torch.tensor(scale * one).to(kind) for one in rng.uniform(-1, 1, (2, 3, 4))]
    student = both[0].requires_grad_()
    loss = fitnet(student, both[1])
    loss.backward()
    exact = [one.detach().double().numpy() for one in both]
    assert loss.dtype == torch.float32 and loss.item() == pytest.approx(slowly(*exact), rel=1e-5)
    assert student.grad is not None and student.grad.isfinite().all()


@pytest.mark.parametrize(
    ("teacher", "student", "message"),
    [
        ([], [(8, 4, 4)], "big has no groups"),
        ([(8, 4, 4)], [], "small has no groups"),
        ([(8, 8, 8), (8, 4, 4), (8, 2, 2)], [(4, 8, 8), (4, 5, 5), (4, 2, 2)], "4x4 where small"),
        ([(8, 8, 8), (9, 4, 4), (8, 1, 1)], [(4, 8, 8), (4, 4, 4), (4, 2, 2)], None),
    ],
)
def test_what_can_be_convolved_into_what(teacher, student, message):
    output = module.TERM.check_shapes("big", teacher, "small", student)
    assert (output is None) == (message is None) and (message or "") in (output or "")


def test_an_ensemble_has_no_middle_group():
    content = tiny_study.study(
        methods={"kd": METHOD},
        main={"teachers": ["pair"]},
        ensembles={"pair": {"networks": ["wrn10-1"], "copies": 2}},
    )
    with pytest.raises(StudyError, match="FitNet needs one network, and pair is an ensemble"):
        load.validate_study(content, "s")
