"""TTM and weighted TTM, against slow twins, KD with one temperature, and at their ends."""

import math

import pytest
import torch
from helpers.synthetic_logits import (
    FEW,
    assert_matches,
    batches,
    divergence,
    draw_batch,
    mean,
    softmax,
)
from hypothesis import given
from hypothesis import strategies as st

from kdpipe.losses.kd import kd
from kdpipe.losses.ttm import ttm

GAMMAS = st.sampled_from([0.1, 0.5, 1.0, 2.0])


def flattened(row, gamma):
    powers = [p**gamma for p in softmax(row)]
    return [power / math.fsum(powers) for power in powers]


@FEW
@given(batches(), GAMMAS)
def test_it_is_what_a_slow_loop_makes(batch, gamma):
    def slow(student):
        pairs = zip(student, batch.teacher, strict=True)
        return mean(divergence(flattened(b, gamma), softmax(a)) for a, b in pairs)

    assert_matches(batch, lambda student, teacher, _: ttm(student, teacher, gamma=gamma), slow)


@pytest.mark.parametrize("gamma", [0.1, 0.5, 2.0])
def test_it_is_kd_with_a_temperature_on_the_teacher_alone(gamma):
    """KD divides both by T: of T times the student, only the teacher is left to be softened."""
    student, teacher, _ = draw_batch(2, 5, 7).tensors
    one = kd(student / gamma, teacher, temperature=1 / gamma) * gamma**2
    torch.testing.assert_close(ttm(student, teacher, gamma=gamma), one)
