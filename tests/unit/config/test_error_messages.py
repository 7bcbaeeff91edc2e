"""What pydantic finds wrong with a key by itself, said in plain words."""

import math

import pytest
from helpers.rich_study import NAME, NUMBER, STOP, assert_named, mistakes_of, rich, said_of

CLOTHES = "transfers.clothes"
LIST = "input should be a valid list"
INTEGER = "input should be a valid integer"


@pytest.mark.parametrize(
    ("path", "value", "begins", "says"),
    [
        ("study", "a/b", "study: 'a/b': ", NAME),
        ("study", "../up", "study: '../up': ", NAME),
        ("study", "a.b", "study: 'a.b': ", NAME),
        ("study", "", "study: '': ", NAME),
        ("study", "x\n", "study: 'x\\n': ", NAME),
        ("study", "x" * 41, "study: 'xxx", "at most 40 characters"),
        ("study", "1.5", "study: '1.5': ", NAME),
        ("study", 5, "study: 5: ", "put it in quotes"),
        ("study", None, "study: None: ", "put it in quotes"),
        ("methods.kd.temprature", 4, "methods.kd.temprature: 4: ", "did you mean temperature?"),
        (
            "recipe.epoch",
            4,
            "recipe.epoch: 4: ",
            "unknown key; did you mean epochs? (allowed: epochs,",
        ),
        ("methodes", {}, "methodes: {}: ", "did you mean methods?"),
        (
            "experiments.0.teacher",
            "x",
            "experiments[0] (size).teacher: 'x': ",
            "did you mean teachers?",
        ),
        (
            "methods.kd.alpha",
            0.9,
            "methods.kd.alpha: ",
            "the weight of KD in some papers and of CE",
        ),
        ("recipe.alpha", 0.9, "recipe.alpha: ", "use kd_weight and ce_weight instead"),
        ("alpha", 0.9, "alpha: alpha is ambiguous", "use kd_weight and ce_weight instead"),
        ("recipe.lr", "5e-4", "recipe.lr: '5e-4': ", "reads this as a string; write 5.0e-4"),
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
        ("methods.kd.kd_weight", 0, "methods.kd: ", "the teacher would have no effect"),
        ("methods.kd.ce_weight_after_stop", 1, "methods.kd: ", "requires stop_epoch"),
        ("methods", ["kd"], "methods: ['kd']: ", "expected a mapping"),
        ("methods.kd", None, "methods.kd: None: ", "expected a mapping"),
        ("data", "digits", "data: 'digits': ", "expected a mapping"),
        ("experiments", {}, "experiments: {}: ", LIST),
        ("seeds", [], "seeds: []: ", "at least 1 entry"),
        ("experiments.2.via", [], "experiments[2] (steps).via: []: ", "at least 1 entry"),
        ("experiments.0.methods", [], "experiments[0] (size).methods: []: ", "at least 1 entry"),
        (
            "recipe.drop_epochs",
            [5, 3],
            "recipe: ",
            "drop_epochs must increase, got [5, 3]",
        ),
        ("recipe.drop_epochs", [10], "recipe: ", "the drop at 10 is not before the last epoch, 10"),
        (
            "experiments.1.generations",
            0,
            "experiments[1] (again).generations: 0: ",
            "or equal to 1",
        ),
        ("ensembles.three.block", "again", "ensembles.three: ", "give either networks or block"),
        (
            "ensembles.equal.copies",
            2,
            "ensembles.equal: ",
            "give copies or operations_of, not both",
        ),
        ("ensembles.line.copies", 2, "ensembles.line: ", "apply to networks, not to a block"),
        ("ensembles.three.copies", 0, "ensembles.three.copies: 0: ", "or equal to 1"),
        (f"{CLOTHES}.block", ["size"], f"{CLOTHES}.block: ['size']: ", "did you mean blocks?"),
        (f"{CLOTHES}.blocks", [], f"{CLOTHES}.blocks: []: ", "at least 1 entry"),
        (f"{CLOTHES}.data.validation", "5", f"{CLOTHES}.data.validation: '5': ", "without quotes"),
        (f"{CLOTHES}.data.pad", 2, f"{CLOTHES}: ", "data.pad: not allowed: a probe uses"),
        (
            f"{CLOTHES}.data.label_noise",
            0.1,
            f"{CLOTHES}: ",
            "data.label_noise: not allowed: a probe uses",
        ),
        (
            "experiments.0.stops",
            ["checkpoint -1"],
            "experiments[0] (size).stops[0]: 'checkpoint -1': ",
            STOP,
        ),
        ("experiments.0.stops", ["checkpoint  1"], "experiments[0] (size).stops[0]: ", STOP),
        (
            "experiments.0.stops",
            ["checkpoint " + "9" * 5000],
            "experiments[0] (size).stops[0]: ",
            STOP,
        ),
        ("experiments.0.stops", ["checkpoint \u0663"], "experiments[0] (size).stops[0]: ", STOP),
        ("experiments.0.stops", [5], "experiments[0] (size).stops[0]: 5: ", "put it in quotes"),
        ("experiments.0.stops", ["5"], "experiments[0] (size).stops[0]: '5': ", STOP),
    ],
)
def test_each_mistake_is_named(path, value, begins, says):
    assert_named(said_of(path, value), begins, says)


@pytest.mark.parametrize(
    ("path", "key"),
    [("", "study"), ("", "recipe"), ("data", "name"), ("recipe", "lr"), ("experiments.0", "name")],
)
def test_a_missing_key_is_named(path, key):
    part = content = rich()
    for step in filter(None, path.split(".")):
        part = part[int(step) if step.isdigit() else step]
    del part[key]
    store = f"{path}.{key}".removeprefix(".").replace(".0.", "[0].")
    assert f"{store}: missing required key" in mistakes_of(content)
