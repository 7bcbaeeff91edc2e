"""Disk and time, against a count by hand."""

from helpers.small_plans import METHODS, block, make, study

from kdpipe.models import registry
from kdpipe.plan import resources


def wrn10_half():
    """Multiply-adds and parameters of wrn10-0.5 on 1x8x8 images in 10 classes, layer by layer."""
    layers = [  # inputs, outputs, kernel, pixels of the output
        (1, 16, 3, 64),
        *[(16, 8, 3, 64), (8, 8, 3, 64), (16, 8, 1, 64)],
        *[(8, 16, 3, 16), (16, 16, 3, 16), (8, 16, 1, 16)],
        *[(16, 32, 3, 4), (32, 32, 3, 4), (16, 32, 1, 4)],
    ]
    macs = sum(i * o * k * k * pixels for i, o, k, pixels in layers) + 32 * 10
    weights = sum(i * o * k * k for i, o, k, _ in layers) + 32 * 10 + 10
    normalised = 2 * (16 + 8 + 8 + 16 + 16 + 32 + 32)  # before each 3x3 but the stem; at the end
    return macs, weights + normalised


def test_prices_by_hand():
    """Train 64 images, hold out 40; the digits have 700 to test and 10 classes."""
    plan = make(
        study(block(stops=["full", "checkpoint 1"], methods=["kd", "eskd"]), methods=METHODS)
    )
    macs, parameters = wrn10_half()
    scratch = plan.scratch["wrn10-0.5", 0, 0]
    assert scratch.cost == (parameters, macs)
    assert scratch.train_multiply_adds == 3 * macs * 64 * 4
    assert scratch.teacher_multiply_adds == 0
    assert resources.count_run_bytes(plan, scratch) == 4 * 2 * (
        parameters + (40 + 700) * 10
    )  # end, best
    with_ema = study(block(), network_recipes={"wrn10-0.5": {"ema": 0.9}})
    averaged = make(with_ema).scratch["wrn10-0.5", 0, 0]
    assert resources.count_run_bytes(plan, averaged) == 4 * 3 * (
        parameters + (40 + 700) * 10
    )  # not averaged
    teacher = registry.compute_cost("wrn16-1", (1, 8, 8), 10)
    students = [cell.run for cell in plan.cells]
    assert [run.train_multiply_adds for run in students] == [scratch.train_multiply_adds] * 4
    per_epoch = teacher.multiply_adds * 64  # ESKD asks the teacher in 2 of 4 epochs
    forwards = [run.teacher_multiply_adds for run in students]
    assert forwards == [4 * per_epoch, 2 * per_epoch] * 2
    big = students[0].parents[0]
    assert resources.count_run_bytes(plan, big) == 4 * 3 * (
        teacher.parameters + 740 * 10
    )  # and epoch 1
    bare = make(study(block(), methods=METHODS, data={**study()["data"], "validation": 0}))
    alone = bare.scratch["wrn10-0.5", 0, 0]
    assert resources.count_run_bytes(bare, alone) == 4 * (
        parameters + 700 * 10
    )  # nothing to be best on


def test_sizes_and_durations_have_the_unit_that_suits_them():
    assert [resources.format_size(n) for n in (0, 999, 1000, 123_456, 5e15)] == [
        *("0 B", "999 B", "1 kB", "123 kB", "5 PB"),
    ]
    assert [resources.format_duration(n) for n in (59, 119, 120, 7200, 48 * 3600)] == [
        *("59 seconds", "119 seconds", "2 minutes", "2.0 hours", "2.0 days"),
    ]
