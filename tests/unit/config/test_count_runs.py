"""How much a study asks for: counted as the plan has it, and refused where it is too much."""

import time

import pytest
from helpers.rich_study import mistakes_of, rich

from kdpipe.config import load
from kdpipe.config.count_runs import RunCounter
from kdpipe.config.partial_config import PartialConfig
from kdpipe.plan import planner


def test_ends_and_members_are_as_many_as_the_plan_makes():
    content = rich()
    size, plan = (
        RunCounter(PartialConfig(content, "f")),
        planner.build_plan(load.validate_study(content, "f")),
    )
    for block in plan.study.experiments:
        seed = (block.seeds or plan.study.seeds)[0]
        cells = [cell for cell in plan.cells if cell.block == block.name and cell.seed == seed]
        ends = [cell for cell in cells if cell.last and (cell.via or not block.via)]
        assert len(ends) == size.count_end_networks(block), block.name
    for name in ("three", "shots", "equal"):
        ensemble = plan.study.ensembles[name]
        (members,) = {len(row.ensemble.members) for row in plan.ensemble_rows if row.label == name}
        assert members == size.count_copies(name) * size.count_members(ensemble), name
    distilled = [run for run in plan.runs.values() if run.spec.teacher]
    assert len(distilled) <= size.count_runs() <= 2 * len(plan.runs)


def doubling(count):
    """Each experiment has two students for each of the last one's, by way of an ensemble."""
    blocks = [
        {"name": "b0", "teachers": ["self"], "students": ["wrn10-1"], "methods": ["kd", "hot"]}
    ]
    for i in range(1, count):
        blocks.append(blocks[0] | {"name": f"b{i}", "teachers": [f"e{i - 1}"]})
    return {
        "methods": {"kd": {}, "hot": {"temperature": 9}},
        "experiments": blocks,
        "ensembles": {f"e{i}": {"block": f"b{i}"} for i in range(count)},
    }


@pytest.mark.parametrize(
    "change",
    [
        {"seeds": list(range(5000)), "keep": 1},
        doubling(24),
        {"generations": 1000, "students": [f"wrn10-{i}" for i in range(1, 200)]},
        {"epochs": 100_000, "stops": ["every 1"], "students": ["wrn10-1", "wrn10-2", "wrn10-3"]},
    ],
)
def test_a_study_that_cannot_be_planned_is_refused_at_once(content, change):
    block = content["experiments"][0]
    for key in ("generations", "students", "stops"):
        block |= {key: change.pop(key)} if key in change else {}
    content["recipe"]["epochs"] = change.pop("epochs", 4)
    if change.pop("keep", 0):
        block["generations"] = 100
    started = time.process_time()
    (line,) = mistakes_of(content | change)
    assert "at most 100,000 can be planned" in line
    assert time.process_time() - started < 1


def test_what_is_trained_besides_is_counted_too(content):
    """Scratch runs, teachers by schedule, students trained as long, and probes."""
    block = content["experiments"][0] | {
        "teachers": ["wrn16-1", "wrn16-2"],
        "stops": ["schedule 1/2", "full"],
        "students": ["wrn10-0.5", "wrn10-1"],
        "scratch_long": True,
    }
    content |= {"experiments": [block], "seeds": [0, 1, 2]}
    content["recipe"]["epochs"] = 4
    plan = planner.build_plan(load.validate_study(content, "f"))
    assert RunCounter(PartialConfig(content, "f")).count_runs() == 3 * (2 + 4 + 8 + 4 + 8)
    assert len(plan.runs) == 3 * (2 + 4 + 8 + 4 + 6)  # two paths are held at one length
    block["scratch_long"] = False
    many = content | {"seeds": list(range(7200))}  # 57,600 distilled, 100,800 in all
    assert "at most 100,000" in mistakes_of(many)[0]


@pytest.mark.parametrize(
    ("more", "probes"),
    [
        ({}, 3 + 3 + 1),  # the last, their teachers, from scratch
        ({"students": ["wrn10-0.5", "wrn10-1"]}, 6 + 3 + 2),
        ({"students": ["wrn10-0.5", "wrn10-1"], "generations": 2}, 6 + 3 + 2),
        ({"students": ["wrn10-0.5", "wrn10-1"], "teachers": ["self"]}, 6 + 6 + 2),
        ({"via": ["wrn10-0.75"], "stops": ["full"]}, 3 + 2 + 1),
    ],
)
def test_every_probe_of_a_transfer_is_counted(content, more, probes):
    content["experiments"][0] |= {"teachers": ["wrn16-1"], "stops": ["every 1"]} | more
    content["recipe"]["epochs"] = 4
    runs = RunCounter(PartialConfig(content, "f")).count_runs()
    mnist = {"name": "mnist", "train_size": 40, "validation": 20, "resize": 8}
    content["transfers"] = {"mnist": {"data": mnist, "blocks": ["main"]}}
    plan = planner.build_plan(load.validate_study(content, "f"))
    assert len(plan.probes) == probes
    assert RunCounter(PartialConfig(content, "f")).count_runs() - runs == probes
    content["seeds"] = list(range(100_000 // (runs + probes) + 1))
    assert "at most 100,000" in mistakes_of(content)[0]


@pytest.mark.parametrize(
    ("more", "gauges"),
    [
        ({}, 3 + 3 + 1),  # the last, their teachers, from scratch
        ({"students": ["wrn10-0.5", "wrn10-1"], "teachers": ["self"]}, 6 + 6 + 2),
        ({"via": ["wrn10-0.75"], "stops": ["full"]}, 3 + 2 + 1),
    ],
)
def test_every_gauge_is_counted_where_files_are_asked_for(content, more, gauges):
    content["experiments"][0] |= {"teachers": ["wrn16-1"], "stops": ["every 1"]} | more
    content["recipe"]["epochs"] = 4
    runs = RunCounter(PartialConfig(content, "f")).count_runs()
    assert RunCounter(PartialConfig(content | {"export": False}, "f")).count_runs() == runs
    content["export"] = True
    plan = planner.build_plan(load.validate_study(content, "f"))
    assert len(plan.gauges) == gauges
    assert RunCounter(PartialConfig(content, "f")).count_runs() - runs == gauges
    content["seeds"] = list(range(100_000 // (runs + gauges) + 1))
    assert "at most 100,000" in mistakes_of(content)[0]


def test_copies_for_the_operations_of_a_giant_are_counted(content):
    content["ensembles"] = {
        "giant": {"networks": ["wrn250-100"]},
        "dwarfs": {"networks": ["wrn10-0.0625"], "operations_of": "giant"},
    }
    assert "at most 100,000" in mistakes_of(content)[0]
