"""Normalised KD, against a slow twin, and where it is least."""

import math

import pytest
import torch
from helpers.synthetic_logits import (
    FEW,
    TEMPERATURES,
    assert_matches,
    batches,
    draw_batch,
    drop_entry,
    gradient,
    mean,
    softmax,
)
from hypothesis import given
from hypothesis import strategies as st

from kdpipe.losses.nkd import nkd


@FEW
@given(batches(), st.sampled_from([0.0, 1.5, 3.5]), TEMPERATURES)
def test_it_is_what_a_slow_loop_makes(batch, gamma, temperature):
    def slow(student):
        parts = []
        for actual, reference, y in zip(student, batch.teacher, batch.labels, strict=True):
            target = softmax(reference)[y] * math.log(softmax(actual)[y])
            q_s, q_t = (softmax(drop_entry(row, y), temperature) for row in (actual, reference))
            rest = math.fsum(a * math.log(b) for a, b in zip(q_t, q_s, strict=True))
            parts.append(-target - gamma * temperature**2 * rest)
        return mean(parts)

    assert_matches(
        batch, lambda *message: nkd(*message, gamma=gamma, temperature=temperature), slow
    )


def test_a_copy_of_the_teacher_has_the_entropy_of_the_rest_left():
    """Its second part is least there, and is not 0: a cross-entropy."""
    student, teacher, labels = draw_batch(7, images=4, classes=5).tensors

    def rest(logits):
        return nkd(logits, teacher, labels, gamma=1.0, temperature=3.0) - nkd(
            logits, teacher, labels, gamma=0.0, temperature=3.0
        )

    torch.testing.assert_close(gradient(rest, teacher), torch.zeros_like(teacher))
    assert 0 < rest(teacher).item() < rest(student).item()


def test_of_two_classes_the_label_alone_is_left():
    student, teacher, labels = draw_batch(8, images=3, classes=2).tensors
    actual = [nkd(student, teacher, labels, gamma=g, temperature=3.0).item() for g in (0.0, 9.0)]
    assert actual[0] == pytest.approx(actual[1])
