"""Experiments: their networks, teachers, stops, seeds and methods."""

import pytest
from helpers.rich_study import assert_named, said_of

# Where one wrong value makes two lines: for each of two networks or teachers.
TWICE = [
    "1 to 100,000",
    "trains for 10 epochs",
    "0 < A",
    "A <= N",
    "no such checkpoint",
    "needed for seed 5",
    "needed for seed 9",
    "only the stop full",
]


@pytest.mark.parametrize(
    ("path", "value", "begins", "says"),
    [
        (
            "experiments.0.students",
            ["wrn10-1"] * 2,
            "experiments[0] (size).students: ",
            "is listed twice",
        ),
        (
            "experiments.0.teachers",
            ["self"] * 2,
            "experiments[0] (size).teachers: ",
            "self is listed twice",
        ),
        (
            "experiments.0.methods",
            ["kd", "kd"],
            "experiments[0] (size).methods: ",
            "kd is listed twice",
        ),
        (
            "experiments.0.stops",
            ["full", "full"],
            "experiments[0] (size).stops: ",
            "full is listed twice",
        ),
        (
            "experiments.2.methods",
            [["kd"]],
            "experiments[2] (steps).methods: ['kd'] ",
            "has 2 step(s)",
        ),
        (
            "experiments.2.methods",
            [["kd"] * 3],
            "experiments[2] (steps).methods: ",
            "has 3 methods",
        ),
        (
            "experiments.1.methods",
            [["kd"] * 2],
            "experiments[1] (again).methods: ",
            "has 3 step(s)",
        ),
        (
            "experiments.0.methods",
            ["kdd"],
            "experiments[0] (size).methods: ",
            "no method kdd; did you mean kd?",
        ),
        (
            "experiments.2.methods",
            [["kd", "esk"]],
            "experiments[2] (steps).methods: ",
            "did you mean eskd?",
        ),
        (
            "experiments.3.teachers",
            ["agian"],
            "experiments[3] (better).teachers: ",
            "did you mean again?",
        ),
        (
            "experiments.0.students",
            ["wrn10"],
            "experiments[0] (size).students: ",
            "no network 'wrn10'; neare",
        ),
        ("experiments.2.via", ["wrm16-1"], "experiments[2] (steps).via: ", "nearest: wrn16-1"),
        (
            "experiments.0.students",
            ["wrn11-1"],
            "experiments[0] (size).students: ",
            "depth must be 6n+4",
        ),
        ("experiments.0.students", ["wrn10-0.01"], "experiments[0] (size).students: ", "not 0.01"),
        (
            "experiments.0.students",
            ["wrn4-1"],
            "experiments[0] (size).students: ",
            "nearest: wrn10-1",
        ),
        ("experiments.0.students", ["wrn10--1"], "experiments[0] (size).students: ", "no network"),
        (
            "experiments.0.students",
            ["../x"],
            "experiments[0] (size).students: ",
            "no network '../x'",
        ),
        (
            "experiments.0.stops",
            ["checkpoint 11"],
            "experiments[0] (size).stops: ",
            "trains for 10 epochs",
        ),
        (
            "experiments.0.stops",
            ["schedule 100001"],
            "experiments[0] (size).stops: ",
            "1 to 100,000",
        ),
        (
            "experiments.0.stops",
            ["schedule 0"],
            "experiments[0] (size).stops: ",
            "1 to 100,000",
        ),
        ("experiments.0.stops", ["schedule 0/4"], "experiments[0] (size).stops: ", "0 < A"),
        ("experiments.0.stops", ["schedule 5/4"], "experiments[0] (size).stops: ", "A <= N"),
        (
            "experiments.0.stops",
            ["every 10"],
            "experiments[0] (size).stops: ",
            "no such checkpoint",
        ),
        ("experiments.0.stops", ["every 0"], "experiments[0] (size).stops: ", "no such checkpoint"),
        (
            "experiments.0.stops",
            ["checkpoint 7"],
            "experiments[0] (size).stops: ",
            "(network wrn16-2)",
        ),
        (
            "methods.eskd2.stop_epoch",
            10,
            "methods.eskd2.stop_epoch: 10 ",
            "wrn10-0.5 trains for 10",
        ),
        (
            "experiments.3.teachers",
            ["size"],
            "experiments[3] (better).teachers: ",
            "size ends in 40 networks",
        ),
        (
            "experiments.3.seeds",
            [0, 5],
            "experiments[3] (better).teachers: again ",
            "needed for seed 5",
        ),
        (
            "experiments.3.teacher_seed",
            9,
            "experiments[3] (better).teachers: again ",
            "needed for seed 9",
        ),
        (
            "experiments.3.stops",
            ["checkpoint 1"],
            "experiments[3] (better).stops: three ",
            "only the stop full",
        ),
    ],
)
def test_each_mistake_is_named(path, value, begins, says):
    assert_named(said_of(path, value), begins, says, 2 if says in TWICE else 1)
