"""Weighted soft labels, against a slow twin whose weights stand still, and at their ends."""

import math

import pytest
import torch
from helpers.synthetic_logits import (
    FEW,
    TEMPERATURES,
    assert_matches,
    batches,
    draw_batch,
    mean,
    softmax,
)
from hypothesis import given

from kdpipe.losses.wsl import wsl


@FEW
@given(batches(), TEMPERATURES)
def test_it_is_what_a_slow_loop_makes(batch, temperature):
    """The weights are those of the student as it is: no gradient runs through them."""
    weights = []
    for actual, reference, y in zip(*batch, strict=True):
        ce_s, ce_t = (-math.log(softmax(row)[y]) for row in (actual, reference))
        weights.append(1 - math.exp(-ce_s / (ce_t + 1e-7)))

    def slow(student):
        parts = []
        for weight, actual, reference in zip(weights, student, batch.teacher, strict=True):
            p_s, p_t = softmax(actual, temperature), softmax(reference, temperature)
            parts.append(
                weight * -math.fsum(a * math.log(b) for a, b in zip(p_t, p_s, strict=True))
            )
        return temperature**2 * mean(parts)

    assert_matches(batch, lambda *message: wsl(*message, temperature=temperature), slow)


def test_what_the_student_knows_counts_little_and_what_the_teacher_alone_knows_fully():
    labels = torch.tensor([0])
    sure, unsure = torch.tensor([[50.0, 0, 0]]), torch.tensor([[0.0, 0, 0]])
    taught = [wsl(one, other, labels, temperature=4.0).item()
              for one, other in [(sure, unsure), (unsure, sure)]]  # fmt: skip
    assert taught[0] == pytest.approx(0, abs=1e-15)
    assert taught[1] == pytest.approx(16 * math.log(3), rel=1e-6)  # weight 1, log p_s = -log 3


def test_equal_cross_entropies_weigh_alike():
    batch = draw_batch(9)
    student, _, labels = batch.tensors
    plain = mean(-math.fsum(p * math.log(p) for p in softmax(row, 2.0)) for row in batch.student)
    actual = wsl(student, student, labels, temperature=2.0).item()
    assert actual == pytest.approx(4 * (1 - math.exp(-1)) * plain, rel=1e-6)
