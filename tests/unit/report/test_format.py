"""Numbers as a reader sees them."""

import math

import pytest

from kdpipe.report.format import format_estimate, format_number


@pytest.mark.parametrize(
    ("value", "half", "message"),
    [
        (5.5e-15, math.nan, "+0"),  # what is left of 6.07 - 6.07
        (-5.5e-15, 3e-15, "0"),
        (1.25, 3e-15, "+1.25 ± 0"),
        (1.2345, 0.0996, "+1.23 ± 0.10"),
        (-0.004, 0.2, "+0.00 ± 0.20"),
        (2.5, math.nan, "+2.5"),
        (math.nan, 0.1, "-"),
    ],
)
def test_a_mean_is_rounded_by_its_interval_and_what_floats_leave_of_nothing_is_nothing(
    value, half, message
):
    assert format_estimate(value, half, sign="+") == message


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0.23756, "0.2376"),
        (45.912, "45.91"),
        (3818.2, "3818"),
        (9999.6, "10,000"),
        (13498, "13,498"),
    ],
)
def test_no_digit_before_the_decimal_point_is_lost(number, text):
    assert format_number(number) == text
