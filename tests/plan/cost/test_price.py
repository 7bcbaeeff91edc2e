"""Prices against sums by hand; what finished runs say of them; and how wide of it they may be."""

import dataclasses

import pytest
from made_plan import block, make, study

from kdpipe.plan.cost import price
from kdpipe.plan.cost.price import Price
from kdpipe.plan.cost.speeds import Speed

FAST = Speed(step=0.01, epoch=0.1, image=0.001, setup=0.5, start=2.0, megabytes=600)
SLOW = Speed(step=0.04, epoch=0.2, image=0.002, setup=0.7, start=2.0, megabytes=800)
START = price.SNAKEMAKE + 2.0
TEST, VAL, TRAIN = 700, 40, 64  # images
READING = (1797 - 700 + 700) * 64 * 5e-9


def plan(**keys):
    return make(study(block(stops=["full", "checkpoint 1"]), **keys))


def speeds(made):
    return {name: SLOW if run.network == "wrn16-1" else FAST for name, run in made.runs.items()}


def record(seconds):
    return {"status": "done", "seconds": {"total": seconds}}


def reading(made):
    return (made.card.train + made.card.test) * 64 * 5e-9


def test_a_run_by_hand():
    """4 epochs of 4 steps; validation after each; at the end train, val and test twice."""
    made = plan()
    scratch = made.scratch["wrn10-0.5", 0, 0]
    at_end = 2 * (TRAIN + VAL + TEST)
    seconds = 0.5 + 4 * (4 * 0.01 + 0.1 + 0.001 * VAL) + 0.001 * at_end + reading(made)
    assert Price(made, speeds(made)).of(scratch) == pytest.approx(START + seconds)
    teacher = next(run for run in made.runs.values() if run.network == "wrn16-1")
    at_end += VAL + TEST  # of the checkpoint that is kept
    seconds = 0.7 + 4 * (4 * 0.04 + 0.2 + 0.002 * VAL) + 0.002 * at_end + reading(made)
    assert Price(made, speeds(made)).of(teacher) == pytest.approx(START + seconds)


def test_a_live_teacher_is_asked_for_each_image_and_a_table_once():
    live, tables = plan(), plan(teacher_outputs="table")
    (student,) = [r for r in live.runs.values() if r.parents][:1]
    taught = Price(live, speeds(live)).of(student)
    scratch = Price(live, speeds(live)).of(live.scratch["wrn10-0.5", 0, 0])
    assert taught - scratch == pytest.approx(4 * TRAIN * 0.002)
    from_table = next(run for run in tables.runs.values() if run.parents)
    assert Price(tables, speeds(tables)).of(from_table) == pytest.approx(scratch)
    table = from_table.tables[0]
    views = table.bytes // (TRAIN * 10 * 2)
    assert Price(tables, speeds(tables)).of(table) == pytest.approx(START + TRAIN * views * 0.002)


def test_images_that_stream_are_read_beside_the_work_or_before_it():
    """By workers beside it, so that the slower of the two counts; else one after the other."""
    made = plan()
    scratch = made.scratch["wrn10-0.5", 0, 0]
    streams = dataclasses.replace(made.card, made={"stream": 32})
    read = 4 * (TRAIN + VAL) + 2 * (TRAIN + VAL + TEST)

    def seconds(workers, speed):
        asked = made.study.model_copy(update={"workers": workers})
        other = dataclasses.replace(made, card=streams, study=asked)
        return Price(other, {scratch.name: speed}).of(scratch) - START

    work = Price(made, speeds(made)).of(scratch) - START - reading(made)
    assert seconds(0, FAST) == pytest.approx(work + read * price.READING)
    assert seconds(2, FAST) == pytest.approx(max(work, read * price.READING / 2))
    nothing = Speed(step=0.0, epoch=0.0, image=0.0, setup=0.0, start=2.0, megabytes=600)
    assert seconds(2, nothing) == pytest.approx(read * price.READING / 2)


def test_finished_runs_correct_the_price_of_their_network_and_then_of_all():
    made = plan(seeds=[0, 1])
    first, second = (made.scratch["wrn10-0.5", seed, 0] for seed in (0, 1))
    teacher = next(run for run in made.runs.values() if run.network == "wrn16-1")
    alone = Price(made, speeds(made))
    work = alone.of(first) - START
    found = Price(made, speeds(made), {first.name: record(3 * work)})
    assert found.of(second) == pytest.approx(START + 3 * work)
    assert found.of(teacher) == pytest.approx(START + 3 * (alone.of(teacher) - START))
    both = {first.name: record(3 * work), teacher.name: record(alone.of(teacher) - START)}
    assert Price(made, speeds(made), both).of(teacher) == pytest.approx(alone.of(teacher))


def test_without_speeds_finished_runs_price_all_others():
    made = plan(seeds=[0, 1])
    first, second = (made.scratch["wrn10-0.5", seed, 0] for seed in (0, 1))
    assert Price(made).total(made.runs, 1).seconds is None
    found = Price(made, {}, {first.name: record(10.0)})
    assert found.known
    assert found.of(second) == pytest.approx(price.SNAKEMAKE + price.STARTING + 10.0)


def test_weights_that_are_brought_price_nothing(tmp_path):
    """They are trained for no epoch: nothing is divided by it."""
    path = tmp_path / "w.pt"
    path.touch()
    pretrained = {"given": {"network": "wrn16-1", "path": str(path), "sha256": "ab" * 32}}
    made = make(study(block(teachers=["given"]), pretrained=pretrained))
    (brought,) = [run for run in made.runs.values() if run.spec["pretrained"]]
    assert not Price(made, {}, {brought.name: record(5000.0)}).known


def test_the_width_is_that_of_finished_runs_and_narrows():
    made = plan(seeds=list(range(9)))
    scratch = [made.scratch["wrn10-0.5", seed, 0] for seed in range(9)]
    work = Price(made, speeds(made)).of(scratch[0]) - START

    def width(*shares):
        seen = {run.name: record(share * work) for run, share in zip(scratch, shares, strict=False)}
        return Price(made, speeds(made), seen).width

    assert width() == width(1.0, 2.0) == price.UNSEEN
    assert width(2.0, 2.0, 2.0) == price.SEEN  # all alike, though other than priced
    assert width(*[0.9, 1.1] * 2) > width(*[0.9, 1.1] * 4) > price.SEEN
    assert width(1.0, 2.0, 3.0) > width(1.0, 1.1, 1.2)


def test_what_is_behind_a_run_is_not_to_come():
    made = plan()
    found, scratch = Price(made, speeds(made)), made.scratch["wrn10-0.5", 0, 0]
    whole = found.total([scratch.name], 1).seconds
    assert whole == pytest.approx(found.of(scratch) + price.RENDERING)
    half = found.total([scratch.name], 1, {scratch.name: found.done(scratch, 2)}).seconds
    assert half == pytest.approx(found.of(scratch) / 2 + price.RENDERING)
    assert found.total([], 2).seconds == 0
