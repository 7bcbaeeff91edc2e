"""Prices in words."""

import pytest
from helpers.small_plans import block, make, study

from kdpipe.plan import estimate
from kdpipe.plan.estimate import CostModel, Speed
from kdpipe.plan.resources import count_run_bytes


@pytest.mark.parametrize(
    ("seconds", "width", "text"),
    [
        (40, 0.25, "30 to 50 seconds"),
        (119, 0.0, "about 119 seconds"),
        (480, 0.25, "6 to 10 minutes"),
        (1200, 0.1, "18 to 22 minutes"),
        (3 * 3600, 0.25, "2.2 to 3.8 hours"),
        (72 * 3600, 0.25, "2.2 to 3.8 days"),
        (0, 0.25, "about 0 seconds"),
    ],
)
def test_a_range_has_one_unit(seconds, width, text):
    assert estimate.format_range(seconds, width) == text


def test_seconds_that_have_gone_by():
    displayed = [estimate.format_seconds(n) for n in (4.21, 60, 336, 3599.9, 3936)]
    assert displayed == ["4.2 s", "1 min 0 s", "5 min 36 s", "59 min 59 s", "1 h 6 min"]


def test_a_price_has_hours_core_hours_disk_and_memory():
    plan = make(study(block(), seeds=range(9), teacher_outputs="table"))
    states = dict.fromkeys(plan.runs, "to do")
    speed = Speed(step=0.5, epoch=0.1, image=0.0, setup=0.0, start=2.0, megabytes=600)
    actual = CostModel(plan, dict.fromkeys(plan.runs, speed))
    total = actual.estimate_total(plan.runs, 2)
    text = estimate.describe_estimate(actual, total, states)
    assert "minutes, 2 jobs at a time" in text and "core-hours" in text
    assert "are logit caches that are removed again; memory: about 1.2" in text
    assert "plain snakemake" not in text
    plainly = CostModel(plan, actual.speeds, start=None).estimate_total(plan.runs, 2)
    both = estimate.describe_estimate(actual, total, states, plainly)
    assert f" (plain snakemake: {estimate.format_range(plainly.seconds, plainly.width)})" in both
    assert estimate.describe_estimate(actual, total, dict.fromkeys(plan.runs, "done")) is None
    assert "unknown until a run has finished" in estimate.describe_estimate(
        CostModel(plan), CostModel(plan).estimate_total(plan.runs, 2), states
    )


def test_the_disk_holds_images_states_and_what_is_kept():
    """Images until something is done; a state, 3 numbers a weight, for each run at work."""
    plan = make(study(block(), seeds=range(3)))
    states = dict.fromkeys(plan.runs, "to do")
    total = CostModel(plan).estimate_total(plan.runs, 2)
    remaining = sum(count_run_bytes(plan, run) for run in plan.runs.values())
    largest = max(run.cost.parameters for run in plan.runs.values())
    images = 1797 * 8 * 8
    assert estimate.estimate_peak_disk(plan, total, states) == remaining + 2 * 12 * largest + images
    (first, *_) = plan.runs.values()
    less = estimate.estimate_peak_disk(plan, total, states | {first.name: "done"})
    assert less == remaining - count_run_bytes(plan, first) + 2 * 12 * largest
