"""Disk and time, against a count by hand."""

import itertools

import pytest
from made_plan import METHODS, block, make, study

from kdpipe.networks import naming
from kdpipe.plan import prices


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
    made = make(
        study(block(stops=["full", "checkpoint 1"], methods=["kd", "eskd"]), methods=METHODS)
    )
    macs, parameters = wrn10_half()
    scratch = made.scratch["wrn10-0.5", 0, 0]
    assert scratch.cost == (parameters, macs)
    assert scratch.train_multiply_adds == 3 * macs * 64 * 4
    assert scratch.teacher_multiply_adds == 0
    assert prices.disk(made, scratch) == 4 * 2 * (parameters + (40 + 700) * 10)  # end, best
    teacher = naming.cost("wrn16-1", (1, 8, 8), 10)
    students = [cell.run for cell in made.cells]
    assert [run.train_multiply_adds for run in students] == [scratch.train_multiply_adds] * 4
    per_epoch = teacher.multiply_adds * 64  # ESKD asks the teacher in 2 of 4 epochs
    forwards = [run.teacher_multiply_adds for run in students]
    assert forwards == [4 * per_epoch, 2 * per_epoch] * 2
    big = students[0].parents[0]
    assert prices.disk(made, big) == 4 * 3 * (teacher.parameters + 740 * 10)  # and epoch 1
    bare = make(study(block(), methods=METHODS, data={**study()["data"], "validation": 0}))
    alone = bare.scratch["wrn10-0.5", 0, 0]
    assert prices.disk(bare, alone) == 4 * (parameters + 700 * 10)  # nothing to be best on


def record(seconds):
    return {"status": "done", "seconds": {"total": seconds}}


def test_time_is_priced_by_finished_runs_of_the_same_network():
    made = make(study(block(), seeds=[0, 1]))
    done, left = made.scratch["wrn10-0.5", 0, 0], made.scratch["wrn10-0.5", 1, 0]
    first, teacher = [run for run in made.runs.values() if run.network == "wrn16-1"]
    assert prices.seconds_left(made, {}, [left], {}) is None
    records = {done.name: record(10.0)}
    assert prices.seconds_left(made, records, [left], {}) == pytest.approx(prices.STARTING + 10)
    assert prices.seconds_left(made, records, [left], {left.name: 1}) == pytest.approx(
        prices.STARTING + 0.75 * 10
    )
    # None of its network has finished: by the multiply-adds of those that have.
    as_many = 10 * teacher.multiply_adds / done.multiply_adds
    assert prices.seconds_left(made, records, [teacher], {}) == pytest.approx(
        prices.STARTING + as_many
    )
    # One has: what others took counts no more.
    records[first.name] = record(77.0)
    assert prices.seconds_left(made, records, [teacher], {}) == pytest.approx(prices.STARTING + 77)


def test_weights_that_are_brought_take_the_time_of_a_start(tmp_path):
    path = tmp_path / "w.pt"
    path.touch()
    pretrained = {"given": {"network": "wrn16-1", "path": str(path), "sha256": "ab" * 32}}
    made = make(study(block(teachers=["given"]), pretrained=pretrained))
    (brought,) = [run for run in made.runs.values() if run.spec["pretrained"]]
    records = {made.scratch["wrn10-0.5", 0, 0].name: record(10.0)}
    assert prices.seconds_left(made, records, [brought], {}) == prices.STARTING


def test_time_is_told_whatever_has_finished_beside_weights_that_are_brought(tmp_path):
    """They take no multiply-add: nothing is priced by them, nor divided."""
    path = tmp_path / "w.pt"
    path.touch()
    pretrained = {"given": {"network": "wrn16-1", "path": str(path), "sha256": "ab" * 32}}
    made = make(study(block(teachers=["given", "wrn16-1"]), pretrained=pretrained))
    for count in range(len(made.runs) + 1):
        for done in itertools.combinations(made.runs, count):
            records = dict.fromkeys(done, record(10.0))
            states = {name: "done" if name in done else "to do" for name in made.runs}
            left = prices.time(made, states, records)
            trained = [name for name in done if made.runs[name].epochs]
            if count == len(made.runs):
                assert left is None
            else:
                assert left and ("unknown" in left) is (not trained)
    scratch = made.scratch["wrn10-0.5", 0, 0]
    brought, teacher = [run for run in made.runs.values() if run.network == "wrn16-1"]
    if brought.epochs:
        brought, teacher = teacher, brought
    records = {scratch.name: record(10.0), brought.name: record(5000.0)}
    seconds = 10 * teacher.multiply_adds / scratch.multiply_adds
    left = prices.seconds_left(made, records, [teacher], {})
    assert left == pytest.approx(prices.STARTING + seconds)


def test_sizes_and_durations_have_the_unit_that_suits_them():
    assert [prices.as_size(n) for n in (0, 999, 1000, 123_456, 5e15)] == [
        *("0 B", "999 B", "1 kB", "123 kB", "5 PB"),
    ]
    assert [prices.as_duration(n) for n in (59, 119, 120, 7200, 48 * 3600)] == [
        *("59 seconds", "119 seconds", "2 minutes", "2.0 hours", "2.0 days"),
    ]
