"""Similarity preserving, against loops over pairs, by hand, and by what must not change it."""

import math

import numpy as np
import pytest
import torch
from helpers import numeric_gradient, tiny_study
from hypothesis import given, settings
from hypothesis import strategies as st

from kdpipe.config import load
from kdpipe.errors import StudyError
from kdpipe.losses.sp import sp

FAST = settings(max_examples=30, deadline=None)


def slowly(student: np.ndarray, teacher: np.ndarray) -> float:
    """Pair by pair, in plain Python on float64."""
    total, count = 0.0, len(student)
    for image in range(count):
        rows = []
        for features in (student, teacher):
            alike = [
                math.fsum(a * b for a, b in zip(features[image].flat, other.flat, strict=True))
                for other in features
            ]
            length = math.sqrt(math.fsum(one * one for one in alike))
            rows.append([one / length for one in alike])
        total += sum((a - b) ** 2 for a, b in zip(*rows, strict=True))
    return total / count**2


def draw_batch(*shapes: tuple[int, ...]) -> list[np.ndarray]:
    rng = np.random.default_rng(3)
    return [rng.normal(size=shape) for shape in shapes]


def tensors(*arrays: np.ndarray) -> list[torch.Tensor]:
    return [torch.tensor(array, requires_grad=True) for array in arrays]


def test_it_and_its_gradient_are_those_of_loops():
    student, teacher = draw_batch((4, 3, 2, 2), (4, 5, 1, 2))
    actual, reference = tensors(student, teacher)
    loss = sp(actual, reference)
    assert loss.item() == pytest.approx(slowly(student, teacher), rel=1e-12)
    loss.backward()
    expected = numeric_gradient.numeric_gradient(lambda x: slowly(x, teacher), student)
    np.testing.assert_allclose(actual.grad, expected, rtol=1e-5, atol=1e-9)
    assert reference.grad is None


def test_two_images_by_hand():
    # Student: (3, 4) and (4, -3) are at right angles, both of length 5: rows (1, 0) and (0, 1).
    # Teacher: twice the same number: rows (1, 1) / sqrt(2). Each entry differs by 1 - 0.7071 or
    # by 0.7071: 2 * 0.0858 + 2 * 0.5 over four pairs.
    student = torch.tensor([[3.0, 4.0], [4.0, -3.0]])
    apart = sp(student, torch.ones(2, 1))
    assert apart.item() == pytest.approx((2 * (1 - math.sqrt(0.5)) ** 2 + 1) / 4)


def test_the_scale_of_all_features_and_their_order_do_not_matter():
    student, teacher = map(torch.tensor, draw_batch((6, 7), (6, 4)))
    loss = sp(student, teacher)
    turned = torch.linalg.qr(torch.randn(7, 7, dtype=torch.float64)).Q
    assert sp(1000 * student @ turned, teacher / 30).item() == pytest.approx(loss.item())
    assert sp(torch.cat([teacher, teacher], 1), teacher).item() == pytest.approx(0, abs=1e-20)


def test_one_image_is_alike_to_nothing():
    loss = sp(torch.randn(1, 5, requires_grad=True), torch.randn(1, 2))
    assert loss.item() == 0


def test_an_image_without_features_learns_nothing():
    """A dead group: the authors' form divides by 1e-12 there, and its gradient has no bounds."""
    student = torch.randn(3, 4)
    student[1] = 0
    student.requires_grad_()
    sp(student, torch.randn(3, 4)).backward()
    assert student.grad is not None and student.grad.abs().max() < 10


@FAST
@given(st.data())
def test_it_is_finite_and_near_the_loops_whatever_it_is_given(data):
    batch = data.draw(st.integers(1, 5))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    scale = data.draw(st.sampled_from([1e-3, 1.0, 1e4]))
    kind = data.draw(st.sampled_from([torch.float16, torch.bfloat16, torch.float32]))
    sizes = data.draw(st.lists(st.integers(1, 6), min_size=2, max_size=2))
    both = [torch.tensor(scale * rng.uniform(-1, 1, (batch, size))).to(kind) for size in sizes]
    student = both[0].clone().requires_grad_()
    loss = sp(student, both[1])
    loss.backward()
    assert loss.dtype == torch.float32 and student.grad is not None
    assert student.grad.isfinite().all()
    if all((one != 0).any(1).all() for one in both):
        exact = [one.double().numpy() for one in both]
        assert loss.item() == pytest.approx(slowly(*exact), rel=1e-3, abs=1e-5)


def test_an_ensemble_has_no_features():
    content = tiny_study.study(
        methods={"kd": {"kd_weight": 0.0, "sp_weight": 3000.0}},
        main={"teachers": ["pair"]},
        ensembles={"pair": {"networks": ["wrn10-1"], "copies": 2}},
    )
    with pytest.raises(StudyError, match="similarity preserving needs one network, and pair is"):
        load.validate_study(content, "s")
