"""DIST, against SciPy's correlation and a slow twin, and where there is nothing to correlate."""

import math

import pytest
import torch
from helpers.synthetic_logits import (
    FEW,
    TEMPERATURES,
    assert_matches,
    batches,
    draw_batch,
    gradient,
    mean,
    softmax,
)
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import pearsonr

from kdpipe.errors import KdpipeError
from kdpipe.losses.dist import dist


def correlation(a, b):
    a, b = ([value - mean(row) for value in row] for row in (a, b))
    norms = math.sqrt(math.fsum(x * x for x in a)) * math.sqrt(math.fsum(x * x for x in b))
    return math.fsum(x * y for x, y in zip(a, b, strict=True)) / (norms + 1e-8)


def slow(batch, beta, gamma, temperature):
    def loss(student):
        p = [[softmax(row, temperature) for row in rows] for rows in (student, batch.teacher)]
        images = mean(correlation(a, b) for a, b in zip(*p, strict=True))
        columns = [list(zip(*rows, strict=True)) for rows in p]
        classes = mean(correlation(a, b) for a, b in zip(*columns, strict=True))
        return temperature**2 * (beta * (1 - images) + gamma * (1 - classes))

    return loss


@FEW
@given(batches(2), st.sampled_from([0.0, 1.0, 3.0]), st.sampled_from([0.0, 2.0]), TEMPERATURES)
def test_it_is_what_a_slow_loop_makes(batch, beta, gamma, temperature):
    keys = {"beta": beta, "gamma": gamma, "temperature": temperature}
    assert_matches(
        batch, lambda student, teacher, _: dist(student, teacher, **keys), slow(batch, **keys)
    )


def test_the_correlation_is_scipys():
    batch = draw_batch(3, images=6, classes=5)
    student, teacher, _ = batch.tensors
    p = [one.div(4.0).softmax(1).numpy() for one in (student, teacher)]
    rows = mean(pearsonr(p[0][i], p[1][i])[0] for i in range(6))
    columns = mean(pearsonr(p[0][:, j], p[1][:, j])[0] for j in range(5))
    expected = 16 * (1 - rows) + 2 * 16 * (1 - columns)
    actual = dist(student, teacher, beta=1.0, gamma=2.0, temperature=4.0)
    assert actual.item() == pytest.approx(expected, rel=1e-5)  # SciPy adds no 1e-8


def test_a_copy_has_no_loss_and_neither_has_another_scale_of_two_classes():
    student, teacher, _ = draw_batch(5, images=4, classes=2).tensors
    keys = {"beta": 1.0, "gamma": 1.0, "temperature": 4.0}
    assert dist(teacher, teacher, **keys).item() == pytest.approx(0, abs=1e-4)
    # Two probabilities are always on a line: what is compared is which is larger.
    same = (student.argmax(1) == teacher.argmax(1)).double().mean().item()
    actual = dist(student, teacher, beta=1.0, gamma=0.0, temperature=1.0).item()
    assert actual == pytest.approx(1 - (2 * same - 1), abs=1e-4)


def test_a_class_that_is_the_same_in_every_image_correlates_with_nothing():
    """Certain of one class, in all images: columns are constant, and nothing of it is nan."""
    student = torch.tensor([[1e4, 0.0, 0.0], [1e4, 0.0, 0.0]])
    teacher = draw_batch(1, images=2, classes=3).tensors[1].float()
    actual = dist(student, teacher, beta=0.0, gamma=1.0, temperature=4.0)
    assert actual.item() == pytest.approx(16.0)
    moved = gradient(lambda s: dist(s, teacher, beta=1.0, gamma=1.0, temperature=4.0), student)
    assert moved.isfinite().all()


def test_a_student_that_says_nothing_yet_is_left_where_it_is():
    teacher = draw_batch(1, images=3, classes=4).tensors[1].float()
    student = torch.full((3, 4), 0.3)
    assert dist(student, teacher, beta=1.0, gamma=1.0, temperature=4.0).item() == 32
    moved = gradient(lambda s: dist(s, teacher, beta=1.0, gamma=1.0, temperature=4.0), student)
    assert not moved.any()


def test_one_image_is_refused():
    with pytest.raises(KdpipeError, match="dist: 1 image in a batch, where it compares images"):
        dist(torch.zeros(1, 3), torch.zeros(1, 3), beta=1.0, gamma=1.0, temperature=4.0)
