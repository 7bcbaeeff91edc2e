"""Refined logit distillation, against a slow twin, and where the teacher is wrong."""

import math

import pytest
import torch
from helpers.synthetic_logits import (
    FEW,
    TEMPERATURES,
    assert_matches,
    batches,
    divergence,
    draw_batch,
    drop_entry,
    gradient,
    mean,
    softmax,
)
from hypothesis import given
from hypothesis import strategies as st

from kdpipe.losses.dkd import dkd
from kdpipe.losses.rld import rld

KEYS = {"alpha": 1.0, "beta": 8.0, "alpha_temperature": 1.0, "temperature": 4.0}


def slow(batch, alpha, beta, alpha_temperature, temperature):
    def loss(student):
        parts = []
        for actual, reference, y in zip(student, batch.teacher, batch.labels, strict=True):
            p_s, p_t = (softmax(row, alpha_temperature) for row in (actual, reference))
            top = p_t.index(max(p_t))
            sure = divergence(
                [p_t[top], math.fsum(drop_entry(p_t, top))], [p_s[y], math.fsum(drop_entry(p_s, y))]
            )
            remaining = [i for i, value in enumerate(reference) if value < reference[y]]
            below = 0.0
            if remaining:
                q_s, q_t = (
                    softmax([r[i] for i in remaining], temperature) for r in (actual, reference)
                )
                below = divergence(q_t, q_s)
            parts.append(alpha * alpha_temperature**2 * sure + beta * temperature**2 * below)
        return mean(parts)

    return loss


@FEW
@given(batches(), st.sampled_from([0.0, 1.0]), st.sampled_from([0.0, 8.0]), TEMPERATURES,
       TEMPERATURES)  # fmt: skip
def test_it_is_what_a_slow_loop_makes(batch, alpha, beta, alpha_temperature, temperature):
    keys = {"alpha": alpha, "beta": beta, "temperature": temperature}
    keys |= {"alpha_temperature": alpha_temperature}
    assert_matches(batch, lambda *message: rld(*message, **keys), slow(batch, **keys))


def test_a_label_that_is_the_teachers_last_choice_has_no_second_part():
    student, teacher, _ = draw_batch(1, images=5).tensors
    keys = KEYS | {"alpha": 0.0}
    last = teacher.argmin(1)
    assert rld(student, teacher, last, **keys).item() == 0
    assert not gradient(lambda s: rld(s, teacher, last, **keys), student).any()
    # One class below it: a softmax over one class is 1.
    second = teacher.sort(dim=1).indices[:, 1]
    assert rld(student, teacher, second, **keys).item() == pytest.approx(0, abs=1e-12)


def test_what_the_teacher_ranks_above_the_label_is_not_followed():
    student, teacher, labels = draw_batch(2, images=5, classes=6).tensors
    keys = KEYS | {"alpha": 0.0}
    moved = gradient(lambda s: rld(s, teacher, labels, **keys), student)
    above = teacher >= teacher.gather(1, labels[:, None])
    assert not moved[above].any() and moved[~above].any()


def test_of_a_teacher_that_is_right_it_is_decoupled_kd():
    student, teacher, _ = draw_batch(3, images=5).tensors
    right = teacher.argmax(1)
    expected = dkd(student, teacher, right, alpha=1.0, beta=8.0, temperature=4.0)
    actual = rld(student, teacher, right, **KEYS | {"alpha_temperature": 4.0})
    torch.testing.assert_close(actual, expected)
