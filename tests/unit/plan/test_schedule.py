"""How jobs fit beside each other: by hand, and within the bounds of every schedule."""

import dataclasses
import random
from dataclasses import replace

import pytest
from helpers.small_plans import block, make, study

from kdpipe.plan.estimate import count_threads, simulate_schedule
from kdpipe.plan.nodes import LogitCache, Run


def everything(plan):
    return [name for items in plan.recorded_nodes.values() for name in items]


def test_by_hand():
    """A teacher of 5 seconds, its two students of 3, and two scratch runs of 2 beside them."""
    result = make(study(block(), block("more", students=["wrn10-1"])))
    took = {"wrn16-1": 5.0}

    def seconds(item):
        return took.get(item.network, 3.0 if item.parents else 2.0)

    one = simulate_schedule(result, everything(result), seconds, 1)
    assert (one.seconds, one.core_seconds, one.max_jobs) == (15.0, 15.0, 1)
    two = simulate_schedule(result, everything(result), seconds, 2)
    assert (two.seconds, two.core_seconds, two.max_jobs) == (8.0, 15.0, 2)
    assert simulate_schedule(result, [], seconds, 2).seconds == 0


def test_threads_take_cores_and_never_more_than_there_are():
    plan = make(study(block(), seeds=[0, 1]))
    wide = next(iter(plan.runs.values()))
    assert count_threads(wide, plan) == 1
    for run in plan.runs.values():
        recipe = run.spec.recipe.model_copy(update={"threads": 2})
        object.__setattr__(run, "spec", replace(run.spec, recipe=recipe))
    actual = simulate_schedule(plan, plan.runs, lambda _: 1.0, 3)
    assert actual.max_jobs == 1 and actual.seconds == len(plan.runs)
    assert actual.core_seconds == 2 * actual.seconds
    assert simulate_schedule(plan, plan.runs, lambda _: 1.0, 1).core_seconds == actual.seconds


def test_no_more_jobs_run_than_the_gpus_hold():
    plan = make(study(block(), seeds=range(4)))
    names = list(plan.runs)
    one = simulate_schedule(plan, names, lambda _: 1.0, 16, 1)
    assert one.max_jobs == 1 and one.seconds == len(names)
    assert simulate_schedule(plan, names, lambda _: 1.0, 16, 2).max_jobs == 2
    assert simulate_schedule(plan, names, lambda _: 1.0, 16).max_jobs > 2


def test_the_processes_that_read_images_take_cores_too():
    plan = make(study(block()))
    streams = dataclasses.replace(plan.card, made={"stream": 32})
    plan = dataclasses.replace(
        plan, card=streams, study=plan.study.model_copy(update={"workers": 3})
    )
    assert {count_threads(run, plan) for run in plan.runs.values()} == {4}
    assert simulate_schedule(plan, plan.runs, lambda _: 1.0, 4).max_jobs == 1
    assert simulate_schedule(plan, plan.runs, lambda _: 1.0, 8).max_jobs == 2


def test_only_as_many_tables_stand_as_are_used_at_a_time():
    """Of eight teachers: two cores make and use two, not all."""
    plan = make(study(block(), seeds=range(8), teacher_outputs="table"))
    size = next(iter(plan.logit_caches.values())).bytes
    assert len(plan.logit_caches) == 8
    actual = simulate_schedule(plan, everything(plan), lambda _: 1.0, 2)
    assert size <= actual.cache_bytes <= 2 * size
    assert simulate_schedule(plan, everything(plan), lambda _: 1.0, 1).cache_bytes == size


@pytest.mark.parametrize("cores", [1, 2, 5])
def test_no_schedule_beats_its_bounds(cores):
    """Neither the longest way through parents and tables, nor all seconds on all cores."""
    chain = block("chain", via=["wrn10-1"], generations=2)
    plan = make(study(block(), chain, seeds=range(3), teacher_outputs="table"))
    draw = random.Random(cores)
    took: dict[str, float] = {}

    def seconds(item):
        return took.setdefault(item.name, draw.uniform(0.1, 9.0))

    actual = simulate_schedule(plan, everything(plan), seconds, cores)

    def way(item):
        before = (*item.parents, *(item.logit_caches if isinstance(item, Run) else ()))
        return seconds(item) + max(map(way, before), default=0.0)

    assert {Run, LogitCache} == {type(plan.runs.get(n) or plan.logit_caches.get(n)) for n in took}
    assert actual.core_seconds == pytest.approx(sum(took.values()))
    longest, least = max(map(way, plan.runs.values())), sum(took.values()) / cores
    assert max(longest, least) <= actual.seconds + 1e-9
    assert actual.seconds <= longest + least + 1e-9  # Graham's bound of list scheduling
