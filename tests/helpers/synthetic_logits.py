"""Logits and labels for the losses, and slow arithmetic on them: plain Python, number by number.

Nothing here is shared with the code that is tested. `assert_matches` compares a loss and its
gradient with a slow twin, whose gradient is a difference of its values.
"""

import inspect
import math
import random
from typing import NamedTuple

import pytest
import torch
from hypothesis import settings
from hypothesis import strategies as st

FEW = settings(max_examples=12, deadline=None, derandomize=True)
TEMPERATURES = st.sampled_from([0.5, 1.0, 2.0, 4.0, 30.0])


class Batch(NamedTuple):
    """Rows of logits as lists, and the label of each row."""

    student: list[list[float]]
    teacher: list[list[float]]
    labels: list[int]

    @property
    def tensors(self):
        return (*(torch.tensor(one, dtype=torch.float64) for one in self[:2]), self.indices)

    @property
    def indices(self):
        return torch.tensor(self.labels)


def draw_batch(seed: int, images: int = 3, classes: int = 4, scale: float = 3.0) -> Batch:
    """Normal logits of that standard deviation."""
    draw = random.Random(seed)
    rows = [[[draw.gauss(0, scale) for _ in range(classes)] for _ in range(images)] for _ in "st"]
    return Batch(rows[0], rows[1], [draw.randrange(classes) for _ in range(images)])


def batches(images: int = 1):
    """Of at least so many images."""
    return st.builds(
        draw_batch,
        st.integers(0, 10_000),
        st.integers(images, 5),
        st.integers(2, 6),
        st.sampled_from([0.1, 1.0, 6.0]),
    )


def softmax(row: list[float], temperature: float = 1.0) -> list[float]:
    scaled = [value / temperature for value in row]
    top = max(scaled)
    powers = [math.exp(value - top) for value in scaled]
    return [power / math.fsum(powers) for power in powers]


def divergence(p: list[float], q: list[float]) -> float:
    """KL(p || q)."""
    return math.fsum(a * (math.log(a) - math.log(b)) for a, b in zip(p, q, strict=True) if a > 0)


def drop_entry(row: list[float], store: int) -> list[float]:
    return [value for other, value in enumerate(row) if other != store]


def mean(values) -> float:
    values = list(values)
    return math.fsum(values) / len(values)


def gradient(loss, logits: torch.Tensor) -> torch.Tensor:
    """Of a function of logits, by autograd."""
    logits = logits.clone().requires_grad_()
    return torch.autograd.grad(loss(logits), logits)[0]


def call_loss(function, student, teacher, labels, **keys):
    """A loss of logits, with the labels if it declares them."""
    is_labelled = "labels" in inspect.signature(function).parameters
    return function(student, teacher, *([labels] if is_labelled else []), **keys)


def assert_matches(batch: Batch, loss, slow) -> None:
    """`loss` of tensors in double precision, `slow` of lists: value and gradient in the student."""
    student, teacher, labels = batch.tensors
    actual = loss(student, teacher, labels)
    assert actual.shape == () and actual.dtype == torch.float64
    size = 1 + abs(slow(batch.student))
    assert actual.item() == pytest.approx(slow(batch.student), rel=1e-9, abs=1e-10 * size)
    step = 1e-5
    by_differences = [[0.0] * len(row) for row in batch.student]
    for i, row in enumerate(batch.student):
        for j in range(len(row)):
            ends = []
            for sign in (1, -1):
                moved = [list(other) for other in batch.student]
                moved[i][j] += sign * step
                ends.append(slow(moved))
            by_differences[i][j] = (ends[0] - ends[1]) / (2 * step)
    torch.testing.assert_close(
        gradient(lambda s: loss(s, teacher, labels), student),
        torch.tensor(by_differences, dtype=torch.float64),
        rtol=1e-5,
        atol=1e-7 * size,
    )
