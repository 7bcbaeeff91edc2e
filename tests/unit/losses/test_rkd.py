"""Relational KD, against loops over pairs and triples, by hand, and by what must not change it."""

import math

import numpy as np
import pytest
import torch
from helpers import numeric_gradient
from hypothesis import given, settings
from hypothesis import strategies as st

from kdpipe.losses.rkd import rkd

FAST = settings(max_examples=30, deadline=None)


def smooth(a: float, b: float) -> float:
    apart = abs(a - b)
    return apart**2 / 2 if apart < 1 else apart - 0.5


def distances(features: np.ndarray) -> list[float]:
    """Every pair in order, an image with itself too; in units of the mean of two images."""
    actual = [math.dist(a, b) for a in features for b in features]
    mean = math.fsum(actual) / (len(features) * (len(features) - 1))
    return [one / mean for one in actual]


def angles(features: np.ndarray) -> list[float]:
    """Every triple in order: the cosine at the first image, 0 where a side has no length."""
    actual = []
    for a in features:
        for b in features:
            for c in features:
                sides = math.dist(a, b) * math.dist(a, c)
                actual.append(float((b - a) @ (c - a)) / sides if sides else 0.0)
    return actual


def slowly(student: np.ndarray, teacher: np.ndarray, far: float = 25, turned: float = 50) -> float:
    means = []
    for relation in (distances, angles):
        pairs = list(zip(relation(student), relation(teacher), strict=True))
        means.append(math.fsum(smooth(a, b) for a, b in pairs) / len(pairs))
    return far * means[0] + turned * means[1]


def draw_batch(*shapes: tuple[int, int]) -> list[np.ndarray]:
    rng = np.random.default_rng(5)
    return [rng.normal(size=shape) for shape in shapes]


@pytest.mark.parametrize("weights", [(25, 50), (1, 0), (0, 1)])
def test_it_and_its_gradient_are_those_of_loops(weights):
    student, teacher = draw_batch((5, 3), (5, 4))
    actual, reference = (torch.tensor(one, requires_grad=True) for one in (student, teacher))
    loss = rkd(actual, reference, distance_weight=weights[0], angle_weight=weights[1])
    assert loss.item() == pytest.approx(slowly(student, teacher, *weights), rel=1e-12)
    loss.backward()
    expected = numeric_gradient.numeric_gradient(lambda x: slowly(x, teacher, *weights), student)
    np.testing.assert_allclose(actual.grad, expected, rtol=1e-5, atol=1e-7)
    assert reference.grad is None


def test_three_images_by_hand():
    # Student: a triangle of sides 3, 4, 5 with mean 4; teacher: sides 1, 1, 2 on a line, mean 4/3.
    student = torch.tensor([[0.0, 0], [3, 0], [0, 4]], dtype=torch.float64)
    teacher = torch.tensor([[0.0], [1], [-1]], dtype=torch.float64)
    far = 2 * ((3 / 4 - 3 / 4) ** 2 + (1 - 3 / 4) ** 2 + (5 / 4 - 3 / 2) ** 2) / 2 / 9
    # Cosines: at each image of the student 0, 3/5, 4/5, of the teacher -1, 1, 1; twice each. A
    # side with itself has the cosine 1 in both.
    turned = 2 * (smooth(0, -1) + smooth(3 / 5, 1) + smooth(4 / 5, 1)) / 27
    apart = rkd(student, teacher)
    assert apart.item() == pytest.approx(25 * far + 50 * turned)


def test_scale_place_and_turn_of_the_features_do_not_matter():
    student, teacher = map(torch.tensor, draw_batch((6, 4), (6, 3)))
    turn = torch.linalg.qr(torch.randn(4, 4, dtype=torch.float64)).Q
    moved = 7 * student @ turn + 100
    assert rkd(moved, teacher).item() == pytest.approx(rkd(student, teacher).item(), rel=1e-9)
    assert rkd(3 * teacher - 1, teacher).item() == pytest.approx(0, abs=1e-20)


@pytest.mark.parametrize("images", [1, 2])
def test_one_or_two_images_have_no_relations(images):
    """An epoch may end in such a batch; a mean over no pairs would be no number."""
    student = torch.randn(images, 4, requires_grad=True)
    loss = rkd(student, torch.randn(images, 3))
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=1e-6)
    assert student.grad is not None and student.grad.abs().max() < 1e-5


def test_images_in_one_point_learn_nothing_from_each_other():
    """Untrained networks and dead features: no division by a length that is not there."""
    student = torch.randn(4, 3)
    student[2] = student[0]
    for points in (student, torch.zeros(4, 3)):
        actual = points.clone().requires_grad_()
        loss = rkd(actual, torch.randn(4, 5, generator=torch.Generator().manual_seed(0)))
        loss.backward()
        assert loss.isfinite() and actual.grad is not None and actual.grad.abs().max() < 100


@FAST
@given(st.data())
def test_it_is_finite_and_near_the_loops_whatever_it_is_given(data):
    batch = data.draw(st.integers(2, 5))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    scale = data.draw(st.sampled_from([1e-2, 1.0, 1e4]))
    kind = data.draw(st.sampled_from([torch.float16, torch.bfloat16, torch.float32]))
    sizes = data.draw(st.lists(st.integers(1, 6), min_size=2, max_size=2))
    both = [torch.tensor(scale * rng.uniform(-1, 1, (batch, size))).to(kind) for size in sizes]
    student = both[0].clone().requires_grad_()
    loss = rkd(student, both[1])
    loss.backward()
    assert loss.dtype == torch.float32 and student.grad is not None
    assert student.grad.isfinite().all()
    exact = [one.double().numpy() for one in both]
    if all(any(distances_of(one)) for one in exact):
        assert loss.item() == pytest.approx(slowly(*exact), rel=1e-3, abs=1e-3)


def distances_of(features):
    return [math.dist(a, b) for a in features for b in features]
