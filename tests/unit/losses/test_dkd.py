"""Decoupled KD, against a slow twin, by hand, and against the KD that it is taken apart from."""

import math

import pytest
import torch
from helpers.synthetic_logits import (
    FEW,
    TEMPERATURES,
    assert_matches,
    batches,
    divergence,
    drop_entry,
    mean,
    softmax,
)
from hypothesis import given
from hypothesis import strategies as st

from kdpipe.losses.dkd import dkd
from kdpipe.losses.kd import kd


def slow(batch, alpha, beta, temperature):
    def loss(student):
        parts = []
        for actual, reference, y in zip(student, batch.teacher, batch.labels, strict=True):
            p_s, p_t = softmax(actual, temperature), softmax(reference, temperature)
            target = divergence(
                [p_t[y], math.fsum(drop_entry(p_t, y))], [p_s[y], math.fsum(drop_entry(p_s, y))]
            )
            rest = divergence(
                *(softmax(drop_entry(r, y), temperature) for r in (reference, actual))
            )
            parts.append(alpha * target + beta * rest)
        return temperature**2 * mean(parts)

    return loss


@FEW
@given(batches(), st.sampled_from([0.0, 1.0, 2.5]), st.sampled_from([0.0, 2.0, 8.0]), TEMPERATURES)
def test_it_is_what_a_slow_loop_makes(batch, alpha, beta, temperature):
    keys = {"alpha": alpha, "beta": beta, "temperature": temperature}
    assert_matches(batch, lambda *message: dkd(*message, **keys), slow(batch, **keys))


def test_by_hand():
    # Odds 1:1:2 and 1:2:1 at T = 1, label 0. Label and rest: [1/4, 3/4] in both, so TCKD is 0.
    # The rest: teacher [2/3, 1/3], student [1/3, 2/3].
    student, teacher = torch.tensor([[1.0, 1, 2], [1.0, 2, 1]], dtype=torch.float64).log()
    actual = [
        dkd(student[None], teacher[None], torch.tensor([0]), alpha=a, beta=b, temperature=1.0)
        for a, b in [(1, 0), (0, 1)]
    ]
    assert actual[0].item() == pytest.approx(0, abs=1e-15)
    assert actual[1].item() == pytest.approx(math.log(2) / 3)


@FEW
@given(batches(), TEMPERATURES)
def test_kd_is_put_together_again(batch, temperature):
    """KD is the mean over images of TCKD + (1 - p_t,y) NCKD."""
    student, teacher, labels = batch.tensors
    total = 0.0
    for i, y in enumerate(batch.labels):
        target, rest = (
            dkd(student[i : i + 1], teacher[i : i + 1], labels[i : i + 1],
                alpha=a, beta=b, temperature=temperature)
            for a, b in [(1.0, 0.0), (0.0, 1.0)]
        )  # fmt: skip
        total += target + (1 - softmax(batch.teacher[i], temperature)[y]) * rest
    expected = kd(student, teacher, temperature=temperature)
    torch.testing.assert_close(total / len(labels), expected, rtol=1e-9, atol=1e-12)
