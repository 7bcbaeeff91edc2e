"""A study with every kind of key, and what is said of it when one of them is wrong."""

import copy

import pytest

from kdpipe.config import load
from kdpipe.errors import StudyError

# Its networks train for 10 epochs, wrn16-2 for 6.
RICH = {
    "study": "rich",
    "seeds": [0, 1],
    "smallest_effect": 0.5,
    "data": {
        "name": "digits",
        "train_size": 100,
        "validation": 50,
        "label_noise": 0.1,
        "split_seed": 3,
        "pad": 1,
        "padding": "reflect",
        "flip": False,
    },
    "recipe": {"epochs": 10, "batch_size": 50, "lr": 0.1, "drop_epochs": [3, 5], "momentum": 0.8},
    "network_recipes": {"wrn16-2": {"epochs": 6, "lr": 0.05}},
    "keep_checkpoints": {"wrn16-1": ["checkpoint 7", "every 4"]},
    "methods": {
        "kd": {"temperature": 2, "ce_weight": 0.2, "kd_weight": 0.8},
        "eskd": {"stop_epoch": 0.5, "ce_weight_after_stop": 0.1},
        "eskd2": {"stop_epoch": 4, "label_smoothing": 0.1},
    },
    "ensembles": {
        "three": {"networks": ["wrn10-0.5"], "copies": 3},
        "shots": {"networks": ["wrn16-1"], "stops": ["checkpoint 5", "full"]},
        "line": {"block": "again", "average_at": "temperature"},
        "equal": {"networks": ["wrn10-0.5"], "operations_of": "shots"},
    },
    "experiments": [
        {
            "name": "size",
            "teachers": ["wrn16-1", "wrn16-2"],
            "stops": ["full", "checkpoint 2", "every 3", "schedule 2/5"],
            "students": ["wrn10-0.5", "wrn10-1"],
            "methods": ["kd", "eskd"],
            "scratch_long": True,
        },
        {
            "name": "again",
            "teachers": ["self"],
            "students": ["wrn10-1"],
            "methods": ["kd"],
            "generations": 3,
        },
        {
            "name": "steps",
            "teachers": ["wrn16-2"],
            "via": ["wrn16-1"],
            "students": ["wrn10-0.5"],
            "methods": ["kd", ["eskd", "kd"]],
            "seeds": [1, 7],
            "teacher_seed": 0,
        },
        {
            "name": "better",
            "teachers": ["again", "three", "line"],
            "students": ["wrn10-0.5"],
            "methods": ["eskd2"],
        },
    ],
    "transfers": {
        "clothes": {
            "data": {"name": "fashion-mnist", "resize": 8, "train_size": 2000, "validation": 500},
            "blocks": ["size", "steps"],
        },
    },
    "tables": {"eskd": ["size"], "ensembles": ["three", "line"], "transfer": ["size"]},
}
NAME = "a name may have letters, digits, - and _ only"
STOP = "a stop is one of: full, checkpoint E, every K, schedule N, schedule A/N"
NUMBER = "input should be a valid number"


def rich(**changes) -> dict:
    """The rich study, to be changed at will; `changes` are whole sections."""
    return copy.deepcopy(RICH) | changes


def mistakes_of(content):
    """The lines of the answer after its first."""
    with pytest.raises(StudyError) as error:
        load.validate_study(content, "study.yaml")
    head, *lines = str(error.value).split("\n")
    count = "1 error" if len(lines) == 1 else f"{len(lines)} errors"
    assert head == f"study.yaml: {count}"
    assert all(line.startswith("  ") and len(line) < 700 for line in lines)
    return [line.strip() for line in lines]


def put(content, location, value):
    """Set one key of a study; `where` is its path, as in the answer."""
    *path, last = (int(part) if part.isdigit() else part for part in location.split("."))
    for part in path:
        content = content[part]
    content[last] = value


def said_of(path, value):
    """The lines of the answer to the rich study with one other value."""
    content = rich()
    put(content, path, value)
    return mistakes_of(content)


def assert_named(lines, begins, says, count=1):
    """One of the lines begins and says so, and there are no more of them than `count`."""
    assert any(line.startswith(begins) and says in line for line in lines), lines
    assert len(lines) == count, lines
