"""Prices against sums by hand; what finished runs say of them; and how wide of it they may be."""

import dataclasses

import pytest
from helpers.small_plans import block, make, study

from kdpipe.plan import estimate
from kdpipe.plan.estimate import CostModel, Speed

FAST = Speed(step=0.01, epoch=0.1, image=0.001, setup=0.5, start=2.0, megabytes=600)
SLOW = Speed(step=0.04, epoch=0.2, image=0.002, setup=0.7, start=2.0, megabytes=800)
START = estimate.SNAKEMAKE_SECONDS + 2.0
TEST, VAL, TRAIN = 700, 40, 64  # images
READING = (1797 - 700 + 700) * 64 * 5e-9


def plan(**keys):
    return make(study(block(stops=["full", "checkpoint 1"]), **keys))


def speeds(plan):
    return {name: SLOW if run.network == "wrn16-1" else FAST for name, run in plan.runs.items()}


def record(seconds):
    return {"status": "done", "seconds": {"total": seconds}}


def reading(plan):
    return (plan.card.train + plan.card.test) * 64 * 5e-9


def test_a_run_by_hand():
    """4 epochs of 4 steps; validation after each; at the end train, val and test twice."""
    study_plan = plan()
    scratch = study_plan.scratch["wrn10-0.5", 0, 0]
    at_end = 2 * (TRAIN + VAL + TEST)
    seconds = 0.5 + 4 * (4 * 0.01 + 0.1 + 0.001 * VAL) + 0.001 * at_end + reading(study_plan)
    assert CostModel(study_plan, speeds(study_plan)).estimate_seconds(scratch) == pytest.approx(
        START + seconds
    )
    teacher = next(run for run in study_plan.runs.values() if run.network == "wrn16-1")
    at_end += VAL + TEST  # of the checkpoint that is kept
    seconds = 0.7 + 4 * (4 * 0.04 + 0.2 + 0.002 * VAL) + 0.002 * at_end + reading(study_plan)
    assert CostModel(study_plan, speeds(study_plan)).estimate_seconds(teacher) == pytest.approx(
        START + seconds
    )


def test_a_live_teacher_is_asked_for_each_image_and_a_table_once():
    live, tables = plan(), plan(teacher_outputs="table")
    (student,) = [r for r in live.runs.values() if r.parents][:1]
    taught = CostModel(live, speeds(live)).estimate_seconds(student)
    scratch = CostModel(live, speeds(live)).estimate_seconds(live.scratch["wrn10-0.5", 0, 0])
    assert taught - scratch == pytest.approx(4 * TRAIN * 0.002)
    from_table = next(run for run in tables.runs.values() if run.parents)
    assert CostModel(tables, speeds(tables)).estimate_seconds(from_table) == pytest.approx(scratch)
    table = from_table.logit_caches[0]
    views = table.bytes // (TRAIN * 10 * 2)
    assert CostModel(tables, speeds(tables)).estimate_seconds(table) == pytest.approx(
        START + TRAIN * views * 0.002
    )


def test_images_that_stream_are_read_beside_the_work_or_before_it():
    """By workers beside it, so that the slower of the two counts; else one after the other."""
    study_plan = plan()
    scratch = study_plan.scratch["wrn10-0.5", 0, 0]
    streams = dataclasses.replace(study_plan.card, made={"stream": 32})
    read = 4 * (TRAIN + VAL) + 2 * (TRAIN + VAL + TEST)

    def seconds(workers, speed):
        requests = study_plan.study.model_copy(update={"workers": workers})
        other = dataclasses.replace(study_plan, card=streams, study=requests)
        return CostModel(other, {scratch.name: speed}).estimate_seconds(scratch) - START

    work = (
        CostModel(study_plan, speeds(study_plan)).estimate_seconds(scratch)
        - START
        - reading(study_plan)
    )
    assert seconds(0, FAST) == pytest.approx(work + read * estimate.IMAGE_READ_SECONDS)
    assert seconds(2, FAST) == pytest.approx(max(work, read * estimate.IMAGE_READ_SECONDS / 2))
    nothing = Speed(step=0.0, epoch=0.0, image=0.0, setup=0.0, start=2.0, megabytes=600)
    assert seconds(2, nothing) == pytest.approx(read * estimate.IMAGE_READ_SECONDS / 2)


def test_finished_runs_correct_the_price_of_their_network_and_then_of_all():
    study_plan = plan(seeds=[0, 1])
    first, second = (study_plan.scratch["wrn10-0.5", seed, 0] for seed in (0, 1))
    teacher = next(run for run in study_plan.runs.values() if run.network == "wrn16-1")
    alone = CostModel(study_plan, speeds(study_plan))
    work = alone.estimate_seconds(first) - START
    actual = CostModel(study_plan, speeds(study_plan), {first.name: record(3 * work)})
    assert actual.estimate_seconds(second) == pytest.approx(START + 3 * work)
    assert actual.estimate_seconds(teacher) == pytest.approx(
        START + 3 * (alone.estimate_seconds(teacher) - START)
    )
    both = {
        first.name: record(3 * work),
        teacher.name: record(alone.estimate_seconds(teacher) - START),
    }
    assert CostModel(study_plan, speeds(study_plan), both).estimate_seconds(
        teacher
    ) == pytest.approx(alone.estimate_seconds(teacher))


def test_without_speeds_finished_runs_price_all_others():
    study_plan = plan(seeds=[0, 1])
    first, second = (study_plan.scratch["wrn10-0.5", seed, 0] for seed in (0, 1))
    assert CostModel(study_plan).estimate_total(study_plan.runs, 1).seconds is None
    actual = CostModel(study_plan, {}, {first.name: record(10.0)})
    assert actual.is_known
    assert actual.estimate_seconds(second) == pytest.approx(
        estimate.SNAKEMAKE_SECONDS + estimate.START_SECONDS + 10.0
    )


def test_weights_that_are_brought_price_nothing(tmp_path):
    """They are trained for no epoch: nothing is divided by it."""
    path = tmp_path / "w.pt"
    path.touch()
    pretrained = {"given": {"network": "wrn16-1", "path": str(path), "sha256": "ab" * 32}}
    plan = make(study(block(teachers=["given"]), pretrained=pretrained))
    (brought,) = [run for run in plan.runs.values() if run.spec.pretrained]
    assert not CostModel(plan, {}, {brought.name: record(5000.0)}).is_known


def test_the_width_is_that_of_finished_runs_and_narrows():
    study_plan = plan(seeds=list(range(9)))
    scratch = [study_plan.scratch["wrn10-0.5", seed, 0] for seed in range(9)]
    work = CostModel(study_plan, speeds(study_plan)).estimate_seconds(scratch[0]) - START

    def width(*shares):
        seen = {run.name: record(share * work) for run, share in zip(scratch, shares, strict=False)}
        return CostModel(study_plan, speeds(study_plan), seen).width

    assert width() == width(1.0, 2.0) == estimate.WIDTH_UNSEEN
    assert width(2.0, 2.0, 2.0) == estimate.WIDTH_SEEN  # all alike, though other than priced
    assert width(*[0.9, 1.1] * 2) > width(*[0.9, 1.1] * 4) > estimate.WIDTH_SEEN
    assert width(1.0, 2.0, 3.0) > width(1.0, 1.1, 1.2)


def test_what_is_behind_a_run_is_not_to_come():
    study_plan = plan()
    actual, scratch = (
        CostModel(study_plan, speeds(study_plan)),
        study_plan.scratch["wrn10-0.5", 0, 0],
    )
    report = estimate.REPORT_SECONDS + len(study_plan.runs) * estimate.REPORT_SECONDS_PER_RUN
    whole = actual.estimate_total([scratch.name], 1).seconds
    assert whole == pytest.approx(actual.estimate_seconds(scratch) + report)
    half = actual.estimate_total(
        [scratch.name], 1, {scratch.name: actual.estimate_done(scratch, 2)}
    ).seconds
    assert half == pytest.approx(actual.estimate_seconds(scratch) / 2 + report)
    assert actual.estimate_total([], 2).seconds == 0
