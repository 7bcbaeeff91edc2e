"""Wrong studies: every mistake named, all of them at once, and nothing but a message."""

import copy
import json
import math
import resource
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kdpipe.errors import KdpipeError, StudyError
from kdpipe.plan import planner
from kdpipe.study import checking

ROOT = Path(__file__).parents[2]

# A study with every kind of key; its networks train for 10 epochs, wrn16-2 for 6.
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
CLOTHES = "transfers.clothes"

LIST = "input should be a valid list"
INTEGER = "input should be a valid integer"
NUMBER = "input should be a valid number"
NAME = "a name has letters, digits, - and _ only"
STOP = "a stop is one of: full, checkpoint E, every K, schedule A/N"

# where | value | how the line about it begins | what else it says
MISTAKES = [
    # names
    ("study", "a/b", "study: 'a/b': ", NAME),
    ("study", "../up", "study: '../up': ", NAME),
    ("study", "a.b", "study: 'a.b': ", NAME),
    ("study", "", "study: '': ", NAME),
    ("study", "x\n", "study: 'x\\n': ", NAME),
    ("study", "x" * 41, "study: 'xxx", "at most 40 characters"),
    ("study", "1.5", "study: '1.5': ", NAME),
    ("study", 5, "study: 5: ", "put it in quotes"),
    ("study", None, "study: None: ", "put it in quotes"),
    ("experiments.3.name", "size", "experiments[3].name: ", "taken by experiments[0].name"),
    ("experiments.3.name", "three", "ensembles.three: ", "taken by experiments[3].name"),
    ("experiments.3.name", "self", "experiments[3].name: ", "self means a network here"),
    ("experiments.3.name", "wrn16-4", "experiments[3].name: ", "wrn16-4 means a network here"),
    # keys
    ("methods.kd.temprature", 4, "methods.kd.temprature: 4: ", "did you mean temperature?"),
    ("recipe.epoch", 4, "recipe.epoch: 4: ", "unknown key; did you mean epochs? (allowed: epochs,"),
    ("methodes", {}, "methodes: {}: ", "did you mean methods?"),
    (
        "experiments.0.teacher",
        "x",
        "experiments[0] (size).teacher: 'x': ",
        "did you mean teachers?",
    ),
    ("network_recipes.wrn16-2.epoch", 4, "network_recipes.wrn16-2.epoch: 4: ", "mean epochs?"),
    (
        "methods.kd.alpha",
        0.9,
        "methods.kd.alpha: ",
        "the KD weight in half of the field and the CE",
    ),
    ("recipe.alpha", 0.9, "recipe.alpha: ", "write kd_weight and ce_weight instead"),
    ("alpha", 0.9, "alpha: alpha is refused", "write kd_weight and ce_weight instead"),
    # kinds of values
    ("recipe.lr", "5e-4", "recipe.lr: '5e-4': ", "text to YAML; write 5.0e-4"),
    ("recipe.lr", "1.5E+3", "recipe.lr: '1.5E+3': ", "write 1.5e+3"),
    ("recipe.lr", "0.1", "recipe.lr: '0.1': ", "write the number without quotes"),
    ("recipe.lr", "fast", "recipe.lr: 'fast': ", NUMBER),
    ("recipe.lr", True, "recipe.lr: True: ", NUMBER),
    ("recipe.lr", [0.1], "recipe.lr: [0.1]: ", NUMBER),
    ("recipe.lr", math.nan, "recipe.lr: nan: ", "finite"),
    ("recipe.lr", math.inf, "recipe.lr: inf: ", "finite"),
    ("recipe.lr", -0.1, "recipe.lr: -0.1: ", "greater than 0"),
    ("recipe.lr", 0, "recipe.lr: 0: ", "greater than 0"),
    ("recipe.epochs", "10", "recipe.epochs: '10': ", "write the number without quotes"),
    ("recipe.epochs", 10.0, "recipe.epochs: 10.0: ", INTEGER),
    ("recipe.epochs", False, "recipe.epochs: False: ", INTEGER),
    ("recipe.epochs", 0, "recipe.epochs: 0: ", "greater than or equal to 1"),
    ("recipe.epochs", 10**30, "recipe.epochs: 1000", "less than or equal to 100000"),
    ("recipe.momentum", 1, "recipe.momentum: 1: ", "less than 1"),
    ("seeds", [0, True], "seeds[1]: True: ", INTEGER),
    ("seeds", [-1], "seeds[0]: -1: ", "greater than or equal to 0"),
    ("seeds", [2**31], "seeds[0]: 2147483648: ", "less than 2147483648"),
    ("seeds", [1 << 99_999], "seeds[0]: a number of thousands of digits: ", "less than"),
    ("seeds", 3, "seeds: 3: ", LIST),
    ("data.flip", 1, "data.flip: 1: ", "valid boolean"),
    ("data.padding", "mirror", "data.padding: 'mirror': ", "'zero' or 'reflect'"),
    ("data.label_noise", 1.5, "data.label_noise: 1.5: ", "less than or equal to 1"),
    (
        "experiments.2.teacher_seed",
        "0",
        "experiments[2] (steps).teacher_seed: '0': ",
        "without quotes",
    ),
    (
        "experiments.2.teacher_seed",
        "pair",
        "experiments[2] (steps).teacher_seed: 'pair': ",
        "'paired'",
    ),
    ("methods.eskd.stop_epoch", -1, "methods.eskd.stop_epoch: -1: ", "than or equal to 1, or"),
    ("methods.eskd.stop_epoch", 1.5, "methods.eskd.stop_epoch: 1.5: ", "less than 1"),
    ("methods.eskd.stop_epoch", True, "methods.eskd.stop_epoch: True: ", INTEGER),
    ("methods.kd.kd_weight", 0, "methods.kd: ", "the teacher would teach nothing"),
    ("methods.kd.ce_weight_after_stop", 1, "methods.kd: ", "needs a stop_epoch"),
    ("methods", ["kd"], "methods: ['kd']: ", "a mapping of keys is wanted"),
    ("methods.kd", None, "methods.kd: None: ", "a mapping of keys is wanted"),
    ("data", "digits", "data: 'digits': ", "a mapping of keys is wanted"),
    ("experiments", {}, "experiments: {}: ", LIST),
    # lists
    ("seeds", [], "seeds: []: ", "at least 1 entry"),
    ("seeds", [0, 1, 0], "seeds: ", "0 stands twice"),
    ("experiments.2.seeds", [7, 7], "experiments[2] (steps).seeds: ", "7 stands twice"),
    ("experiments.2.via", [], "experiments[2] (steps).via: []: ", "at least 1 entry"),
    ("experiments.0.methods", [], "experiments[0] (size).methods: []: ", "at least 1 entry"),
    ("experiments.0.students", ["wrn10-1"] * 2, "experiments[0] (size).students: ", "stands twice"),
    (
        "experiments.0.teachers",
        ["self"] * 2,
        "experiments[0] (size).teachers: ",
        "self stands twice",
    ),
    ("experiments.0.methods", ["kd", "kd"], "experiments[0] (size).methods: ", "kd stands twice"),
    ("experiments.0.stops", ["full", "full"], "experiments[0] (size).stops: ", "full stands twice"),
    ("ensembles.three.networks", ["wrn10-1"] * 2, "ensembles.three.networks: ", "stands twice"),
    ("recipe.drop_epochs", [5, 3], "recipe: ", "drop_epochs must rise, got [5, 3]"),
    ("recipe.drop_epochs", [10], "recipe: ", "the drop at 10 is not before the last epoch, 10"),
    ("network_recipes.wrn16-2.epochs", 5, "network_recipes.wrn16-2: ", "the drop at 5 is not"),
    # chains
    ("experiments.2.methods", [["kd"]], "experiments[2] (steps).methods: ['kd'] ", "has 2 step(s)"),
    ("experiments.2.methods", [["kd"] * 3], "experiments[2] (steps).methods: ", "names 3 methods"),
    ("experiments.1.methods", [["kd"] * 2], "experiments[1] (again).methods: ", "has 3 step(s)"),
    ("experiments.1.generations", 0, "experiments[1] (again).generations: 0: ", "or equal to 1"),
    # names that lead nowhere
    ("data.name", "digit", "data.name: ", "did you mean digits?"),
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
    ("experiments.0.students", ["wrn4-1"], "experiments[0] (size).students: ", "nearest: wrn10-1"),
    ("experiments.0.students", ["wrn10--1"], "experiments[0] (size).students: ", "no network"),
    ("experiments.0.students", ["../x"], "experiments[0] (size).students: ", "no network '../x'"),
    ("network_recipes.wrn16", {}, "network_recipes.wrn16: ", "nearest: wrn16-"),
    ("keep_checkpoints.wrn16", [], "keep_checkpoints.wrn16: ", "nearest: wrn16-"),
    ("ensembles.three.networks", ["wrn"], "ensembles.three.networks: ", "no network 'wrn'"),
    ("ensembles.line.block", "agains", "ensembles.line.block: ", "did you mean again?"),
    ("ensembles.equal.operations_of", "shot", "ensembles.equal.operations_of: ", "mean shots?"),
    ("ensembles.three.block", "again", "ensembles.three: ", "give either networks or block"),
    ("ensembles.equal.copies", 2, "ensembles.equal: ", "give copies or operations_of, not both"),
    ("ensembles.line.copies", 2, "ensembles.line: ", "belong to networks, not to a block"),
    ("ensembles.three.copies", 0, "ensembles.three.copies: 0: ", "or equal to 1"),
    ("tables.eskds", ["size"], "tables: there is no table 'eskds'", "did you mean eskd?"),
    (
        "tables.eskd",
        ["sizes"],
        "tables.eskd: ",
        "no experiment or ensemble sizes; did you mean size?",
    ),
    # transfers
    (f"{CLOTHES}.block", ["size"], f"{CLOTHES}.block: ['size']: ", "did you mean blocks?"),
    (
        f"{CLOTHES}.blocks",
        ["sise"],
        f"{CLOTHES}.blocks: ",
        "no experiment sise; did you mean size?",
    ),
    (f"{CLOTHES}.blocks", ["three"], f"{CLOTHES}.blocks: ", "no experiment three"),
    (f"{CLOTHES}.blocks", ["size", "size"], f"{CLOTHES}.blocks: ", "size stands twice"),
    (f"{CLOTHES}.blocks", [], f"{CLOTHES}.blocks: []: ", "at least 1 entry"),
    (f"{CLOTHES}.data.name", "fashion", f"{CLOTHES}.data.name: ", "has no card (known: cifar10"),
    (f"{CLOTHES}.data.resize", None, f"{CLOTHES}.data: ", "1 x 28 x 28, the study's networks take"),
    (f"{CLOTHES}.data.resize", 16, f"{CLOTHES}.data: ", "take 1 x 8 x 8; resize: 8 scales them"),
    (f"{CLOTHES}.data.name", "cifar10", f"{CLOTHES}.data: ", "images are 3 x 8 x 8, the study's"),
    (f"{CLOTHES}.data.validation", 0, f"{CLOTHES}.data.validation: ", "hold some out"),
    (f"{CLOTHES}.data.validation", "5", f"{CLOTHES}.data.validation: '5': ", "without quotes"),
    (f"{CLOTHES}.data.train_size", 60_000, f"{CLOTHES}.data: ", "exceed the 60,000 training"),
    (f"{CLOTHES}.data.train_size", 9, f"{CLOTHES}.data: ", "too few for 10 classes"),
    (f"{CLOTHES}.data.pad", 2, f"{CLOTHES}: ", "data.pad: a probe sees images and labels as"),
    (f"{CLOTHES}.data.label_noise", 0.1, f"{CLOTHES}: ", "data.label_noise: a probe sees"),
    (f"{CLOTHES}.data.mean", [0.1] * 3, f"{CLOTHES}.data.mean: ", "give one number for each"),
    (
        f"{CLOTHES}.data",
        {"name": "digits", "train_size": 100, "validation": 50},
        f"{CLOTHES}.data.name: ",
        "digits is the study's own data set",
    ),
    # past the end
    (
        "experiments.0.stops",
        ["checkpoint 11"],
        "experiments[0] (size).stops: ",
        "trains for 10 epochs",
    ),
    ("experiments.0.stops", ["schedule 2/11"], "experiments[0] (size).stops: ", "A <= N <= 10"),
    ("experiments.0.stops", ["schedule 0/4"], "experiments[0] (size).stops: ", "0 < A"),
    ("experiments.0.stops", ["schedule 5/4"], "experiments[0] (size).stops: ", "A <= N"),
    ("experiments.0.stops", ["every 10"], "experiments[0] (size).stops: ", "no such checkpoint"),
    ("experiments.0.stops", ["every 0"], "experiments[0] (size).stops: ", "no such checkpoint"),
    ("experiments.0.stops", ["checkpoint 7"], "experiments[0] (size).stops: ", "(network wrn16-2)"),
    (
        "experiments.0.stops",
        ["checkpoint -1"],
        "experiments[0] (size).stops[0]: 'checkpoint -1': ",
        STOP,
    ),
    ("experiments.0.stops", ["checkpoint  1"], "experiments[0] (size).stops[0]: ", STOP),
    ("experiments.0.stops", ["checkpoint " + "9" * 5000], "experiments[0] (size).stops[0]: ", STOP),
    ("experiments.0.stops", ["checkpoint \u0663"], "experiments[0] (size).stops[0]: ", STOP),
    ("experiments.0.stops", [5], "experiments[0] (size).stops[0]: 5: ", "put it in quotes"),
    ("experiments.0.stops", ["5"], "experiments[0] (size).stops[0]: '5': ", STOP),
    ("methods.eskd2.stop_epoch", 10, "methods.eskd2.stop_epoch: 10 ", "wrn10-0.5 trains for 10"),
    ("keep_checkpoints.wrn16-1", ["checkpoint 11"], "keep_checkpoints.wrn16-1: ", "past the end"),
    ("keep_checkpoints.wrn16-1", ["schedule 1/2"], "keep_checkpoints.wrn16-1: ", "of its own"),
    ("ensembles.shots.stops", ["checkpoint 11"], "ensembles.shots.stops: ", "past the end"),
    ("data.train_size", 1048, "data: ", "exceed the 1,097 training images of digits"),
    ("data.validation", 1097, "data: ", "exceed the 1,097 training images"),
    ("data.pad", 8, "data.pad: 8 ", "cannot be reflected in images of 8x8"),
    # teachers that are blocks or ensembles
    ("experiments.1.teachers", ["again"], "these need each other in a circle: ", "again -> again"),
    (
        "experiments.1.teachers",
        ["better"],
        "these need each other in a circle: ",
        "again -> better",
    ),
    ("experiments.1.teachers", ["line"], "these need each other in a circle: ", "again -> line"),
    ("ensembles.equal.operations_of", "equal", "these need each other in a circle: ", "equal"),
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
        "no stops but full",
    ),
]
# Where one wrong value makes two lines: for each of two networks, teachers, or circles.
TWICE = [
    "trains for 10 epochs",
    "A <= N <= 10",
    "0 < A",
    "A <= N",
    "no such checkpoint",
    "needed for seed 5",
    "needed for seed 9",
    "no stops but full",
    "again -> better",
]


def mistakes_of(content):
    """The lines of the answer after its first."""
    with pytest.raises(StudyError) as error:
        checking.validate(content, "study.yaml")
    head, *lines = str(error.value).split("\n")
    count = "1 mistake" if len(lines) == 1 else f"{len(lines)} mistakes"
    assert head == f"study.yaml: {count}"
    assert all(line.startswith("  ") and len(line) < 700 for line in lines)
    return [line.strip() for line in lines]


def put(content, where, value):
    """Set one key of a study; `where` is its path, as in the answer."""
    *path, last = (int(part) if part.isdigit() else part for part in where.split("."))
    for part in path:
        content = content[part]
    content[last] = value


@pytest.fixture
def rich():
    return copy.deepcopy(RICH)


def test_the_rich_study_has_no_mistake(rich):
    assert planner.make(checking.validate(rich, "f")).runs


@pytest.mark.parametrize(("where", "value", "begins", "says"), MISTAKES)
def test_each_mistake_is_named(rich, where, value, begins, says):
    put(rich, where, value)
    lines = mistakes_of(rich)
    assert any(line.startswith(begins) and says in line for line in lines), lines
    assert len(lines) == (2 if says in TWICE else 1), lines


@pytest.mark.parametrize(
    ("where", "key"),
    [("", "study"), ("", "recipe"), ("data", "name"), ("recipe", "lr"), ("experiments.0", "name")],
)
def test_a_missing_key_is_named(rich, where, key):
    part = rich
    for step in filter(None, where.split(".")):
        part = part[int(step) if step.isdigit() else step]
    del part[key]
    place = f"{where}.{key}".removeprefix(".").replace(".0.", "[0].")
    assert f"{place}: this key is missing" in mistakes_of(rich)


def test_all_mistakes_of_a_file_come_in_one_answer():
    """Every section is malformed, and what its sound keys say is followed all the same."""
    content = {
        "study": "a b",
        "sedes": [1],
        "seeds": [0, 0, "1"],
        "data": {"name": "digit", "pad": -1},
        "recipe": {"epochs": 10, "batch_size": "50", "lr": "5e-4", "drops": [1]},
        "network_recipes": {"wrn16": {"lr": -1}, "wrn16-2": {"epoch": 3, "momentum": True}},
        "keep_checkpoints": {"wrn16-1": ["checkpoint 11", "later"]},
        "methods": {"kd": {"alpha": 0.5}, "eskd": {"stop_epoch": 10, "temperature": 0}},
        "ensembles": {"three": {"networks": ["wrn10"], "copies": 0}, "line": {"block": "agan"}},
        "experiments": [
            {
                "name": "again",
                "teachers": ["self", "siz"],
                "students": ["wrn10-0.5", 5],
                "methods": ["kd", "esk", ["kd", "eskd"]],
                "stops": ["checkpoint 11", "half"],
                "generations": 0,
                "sends": [1],
            },
            {"name": "again", "students": ["wrn10-0.5"], "methods": ["eskd"]},
        ],
        "tables": {"ekd": ["three"], "eskd": ["agian"]},
    }
    expected = {
        "study: 'a b': " + NAME,
        "sedes: [1]: unknown key; did you mean seeds?",
        "seeds: 0 stands twice",
        "seeds[2]: '1': this is text",
        "data.name: ",
        "data.pad: -1: input should be greater than or equal to 0",
        "recipe.batch_size: '50': this is text",
        "recipe.lr: '5e-4': this is text to YAML; write 5.0e-4",
        "recipe.drops: [1]: unknown key; did you mean drop_",
        "network_recipes.wrn16: there is no network 'wrn16'",
        "network_recipes.wrn16.lr: -1: input should be greater than 0",
        "network_recipes.wrn16-2.epoch: 3: unknown key; did you mean epochs?",
        "network_recipes.wrn16-2.momentum: True: " + NUMBER,
        "keep_checkpoints.wrn16-1: checkpoint 11 is past the end",
        "keep_checkpoints.wrn16-1[1]: 'later': " + STOP,
        "methods.kd.alpha: alpha is refused",
        "methods.eskd.temperature: 0: input should be greater than 0",
        "methods.eskd.stop_epoch: 10 is not before the end: wrn10-0.5 trains for 10",
        "ensembles.three.networks: there is no network 'wrn10'",
        "ensembles.three.copies: 0: input should be greater than or equal to 1",
        "ensembles.line.block: there is no experiment agan; did you mean again?",
        "experiments[0] (again).teachers: there is no network 'siz'",
        "experiments[0] (again).students[1]: 5: a text is wanted",
        "experiments[0] (again).methods: there is no method esk; did you mean eskd?",
        "experiments[0] (again).stops: checkpoint 11 is past the end",
        "experiments[0] (again).stops[1]: 'half': " + STOP,
        "experiments[0] (again).generations: 0: input should be greater than or equal to 1",
        "experiments[0] (again).sends: [1]: unknown key; did you mean seeds?",
        "experiments[1].name: the name again is taken by experiments[0].name",
        "experiments[1] (again).teachers: this key is missing",
        "tables: there is no table 'ekd'; did you mean eskd?",
        "tables.eskd: there is no experiment or ensemble agian; did you mean again?",
    }
    lines = mistakes_of(content)
    for start in expected:
        assert [line for line in lines if line.startswith(start)], (start, lines)
    assert len(lines) == len(expected), [
        line for line in lines if not line.startswith(tuple(expected))
    ]


def test_a_malformed_section_makes_no_mistakes_of_its_own(rich):
    """Nothing is said to be undefined when it is unknown what is defined."""
    for key in ("methods", "experiments", "ensembles", "data", "recipe"):
        content = rich | {key: 5}
        assert len(mistakes_of(content)) == 1
    rich["experiments"][1]["generations"] = "3"
    assert len(mistakes_of(rich)) == 1
    rich["experiments"][1] = {}  # has no name: nobody knows what `again` is
    assert len(mistakes_of(rich)) == 4


@pytest.mark.parametrize("content", [None, 5, "x", [], [{}], {1: 2}, {None: {}}, {"study": {}}])
def test_what_is_no_study_at_all(content):
    assert mistakes_of(content)


CARD = {"name": "mine", "title": "Mine", "source": "a drawer", "shape": [3, 8, 8], "classes": 10}
CARD |= {"train": 1000, "test": 100, "sha256": "ab" * 32}


@pytest.mark.parametrize(
    "change",
    [
        {"sha256": "../../../up"},  # the name of a folder is made of it
        {"sha256": 5},
        {"shape": [3, 8]},
        {"shape": ["3", 8, 8]},
        {"shape": [3, -8, 8]},
        {"shape": None},
        {"classes": 0},
        {"classes": 10.5},
        {"train": True},
        {"test": "many"},
        {"name": "other"},
    ],
)
def test_a_card_that_makes_no_sense_is_refused(content, tmp_path, change):
    path = tmp_path / "card.json"
    content["data"] |= {"name": "mine", "path": str(tmp_path), "card": str(path)}
    path.write_text(json.dumps(CARD))
    assert planner.make(checking.validate(content, "f")).card.folder == "mine-abababababab"
    path.write_text(json.dumps(CARD | change))
    (line,) = mistakes_of(content)
    assert str(path) in line and line.startswith("data.name: ")


# --- sizes


def chain_of_blocks(count):
    """Experiments of which each learns from the one before."""
    block = {"students": ["wrn10-1"], "methods": ["kd"]}
    return [{"name": "b0", "teachers": ["self"], **block}] + [
        {"name": f"b{i}", "teachers": [f"b{i - 1}"], **block} for i in range(1, count)
    ]


def test_experiments_may_lean_on_one_another_but_not_without_end(content):
    content["experiments"] = chain_of_blocks(50)
    made = planner.make(checking.validate(content, "f"))
    assert len(made.runs) == 51  # the scratch run and 50 generations
    content["experiments"] = chain_of_blocks(600)
    assert mistakes_of(content) == ["b50 leans on others that lean on others, more than 50 deep"]


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


def test_copies_for_the_operations_of_a_giant_are_counted(content):
    content["ensembles"] = {
        "giant": {"networks": ["wrn250-100"]},
        "dwarfs": {"networks": ["wrn10-0.0625"], "operations_of": "giant"},
    }
    assert "at most 100,000" in mistakes_of(content)[0]


def test_thousands_of_mistakes_are_not_all_listed_and_take_no_time(content):
    content["methods"] = {f"method-{i}": {"temperatur": i} for i in range(2000)}
    content["experiments"][0]["methods"] = [f"methd-{i}" for i in range(4000)]
    started = time.process_time()
    with pytest.raises(StudyError) as error:
        checking.validate(content, "f")
    head, *lines = str(error.value).split("\n")
    assert head == "f: very many mistakes, of which 100 are listed" and len(lines) == 100
    assert time.process_time() - started < 2


# --- whatever one writes


def paths(value, here=()):
    yield here
    if isinstance(value, dict):
        items = list(value.items())
    else:
        items = list(enumerate(value)) if isinstance(value, list) else []
    for key, inner in items:
        yield from paths(inner, (*here, key))


PATHS = [path for path in paths(RICH) if path]
# Words that mean something somewhere in the study, and values that mean nothing anywhere.
WORDS = [
    "size",
    "again",
    "steps",
    "better",
    "three",
    "shots",
    "line",
    "equal",
    "kd",
    "eskd",
    "self",
]
WORDS += ["wrn16-1", "wrn16-2", "wrn10-0.5", "wrn10-1", "resnet8", "densenet-bc40-12", "paired"]
WORDS += ["full", "checkpoint 0", "checkpoint 2", "checkpoint 99", "every 1", "schedule 1/3"]
JUNK = st.one_of(
    st.sampled_from(
        [None, True, False, 0, 1, 2, 3, -1, 10**30, 0.5, -0.0, 1e300, math.nan, math.inf, [], {}]
    ),
    st.sampled_from(["", "5e-4", "1", ".", "../x", "a/b", "\x00", "é", "x" * 500, "zero", "live"]),
    st.sampled_from(WORDS),
    st.lists(st.sampled_from([*WORDS, 0, 1, 2, None, ["kd", "kd"], {}]), max_size=4),
    st.dictionaries(
        st.sampled_from([*WORDS, "epochs", "lr", "networks", "block", "stop_epoch", 5]),
        st.sampled_from([1, 2, 0.5, "wrn10-1", "again", ["wrn10-1"], None, {}]),
        max_size=3,
    ),
)
MUTATION = st.tuples(
    st.sampled_from(PATHS), st.sampled_from(["put", "put", "put", "remove", "rename", "copy"]), JUNK
)


def mutate(content, path, action, value):
    for part in path[:-1]:
        try:
            content = content[part]
        except (KeyError, IndexError, TypeError):
            return  # an earlier mutation has taken it away
    last = path[-1]
    with_last = isinstance(content, dict) or (isinstance(content, list) and isinstance(last, int))
    if not with_last or (isinstance(content, list) and last >= len(content)):
        return
    if action == "put":
        content[last] = copy.deepcopy(value)
    elif isinstance(content, list):
        content.append(copy.deepcopy(content[last])) if action == "copy" else content.pop(last)
    elif action == "remove":
        content.pop(last, None)
    elif last in content:
        found = content[last] if action == "copy" else content.pop(last)
        content[f"{last}x" if action == "copy" else str(last)[:-1]] = found


@given(st.lists(MUTATION, min_size=1, max_size=4))
@settings(
    max_examples=1000, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck)
)
def test_a_changed_study_is_planned_or_refused_in_one_message(mutations):
    content = copy.deepcopy(RICH)
    for mutation in mutations:
        mutate(content, *mutation)
    try:
        study = checking.validate(content, "f")
    except KdpipeError as error:
        head, *lines = str(error).split("\n")
        assert head.startswith("f: ") and lines
        assert all(line.startswith("  ") and line.strip() and len(line) < 1000 for line in lines)
        return
    assert planner.make(study).runs  # without an exception of any kind


# --- the command


def check(path, folder):
    """What the command did, and the seconds of a core that it took."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    command = [sys.executable, "-m", "kdpipe", "check", str(path)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60)
    return done, resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before


HUGE = {"a": ["x"] * 40_000}
NO_STUDY = {
    "many mistakes": yaml.safe_dump({"study": "a/b", "seeds": [], "alpha": 1}),
    "not YAML": "study: [",
    "not UTF-8": b"study: \xff",
    "deep": "[" * 50_000,
    "huge": yaml.safe_dump(HUGE),
    "aliases": "a: &a [x]\nb: [*a, *a]\n",
    "a tag": "study: !!python/object/apply:os.mkdir [made]\n",
    "too much": yaml.safe_dump(RICH | {"seeds": list(range(4000))}),
}


@pytest.mark.parametrize("kind", NO_STUDY)
def test_the_command_refuses_with_one_message_and_writes_nothing(kind, tmp_path):
    text = NO_STUDY[kind]
    path = tmp_path / "study.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    done, seconds = check(path, tmp_path)
    assert done.returncode == 2
    assert done.stdout == "" and "Traceback" not in done.stderr
    assert done.stderr.startswith(f"kdpipe: {path}: ") and done.stderr.count("kdpipe: ") == 1
    assert seconds < 2
    assert list(tmp_path.iterdir()) == [path]


def test_the_command_passes_the_studies_that_ship(tmp_path):
    for path in [ROOT / "config.yaml", *sorted((ROOT / "studies").glob("*.yaml"))]:
        done, _ = check(path, tmp_path)
        assert (done.returncode, done.stderr) == (0, ""), done.stderr
        assert "no mistakes" in done.stdout
    assert list(tmp_path.iterdir()) == []
