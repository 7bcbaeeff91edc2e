"""Weighted TTM, against a slow twin, TTM image by image, and at the ends of its weight."""

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

from kdpipe.losses.ttm import ttm
from kdpipe.losses.wttm import wttm


@FEW
@given(batches(), st.sampled_from([0.1, 0.5, 1.0, 2.0]))
def test_it_is_what_a_slow_loop_makes(batch, gamma):
    def slow(student):
        parts = []
        for actual, reference in zip(student, batch.teacher, strict=True):
            powers = [p**gamma for p in softmax(reference)]
            total = math.fsum(powers)
            parts.append(total * divergence([power / total for power in powers], softmax(actual)))
        return mean(parts)

    assert_matches(batch, lambda student, teacher, _: wttm(student, teacher, gamma=gamma), slow)


def test_gamma_1_is_ttm():
    student, teacher, _ = draw_batch(4).tensors
    torch.testing.assert_close(wttm(student, teacher, gamma=1.0), ttm(student, teacher, gamma=1.0))


@pytest.mark.parametrize(("teacher", "weight"), [([900.0, 0, 0, 0], 1.0), ([0.0, 0, 0, 0], 4**0.7)])
def test_the_weight_of_a_certain_teacher_and_of_one_that_knows_nothing(teacher, weight):
    student = draw_batch(6, images=1).tensors[0]
    reference = torch.tensor([teacher], dtype=torch.float64)
    ratio = wttm(student, reference, gamma=0.3) / ttm(student, reference, gamma=0.3)
    assert ratio.item() == pytest.approx(weight)
