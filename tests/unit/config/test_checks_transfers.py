"""Other images to probe on."""

import pytest
from helpers.rich_study import assert_named, said_of

CLOTHES = "transfers.clothes"


@pytest.mark.parametrize(
    ("path", "value", "begins", "says"),
    [
        (
            f"{CLOTHES}.blocks",
            ["sise"],
            f"{CLOTHES}.blocks: ",
            "no experiment sise; did you mean size?",
        ),
        (f"{CLOTHES}.blocks", ["three"], f"{CLOTHES}.blocks: ", "no experiment three"),
        (f"{CLOTHES}.blocks", ["size", "size"], f"{CLOTHES}.blocks: ", "size is listed twice"),
        (
            f"{CLOTHES}.data.name",
            "fashion",
            f"{CLOTHES}.data.name: ",
            "has no card (built-in: cifar10",
        ),
        (
            f"{CLOTHES}.data.resize",
            None,
            f"{CLOTHES}.data: ",
            "1 x 28 x 28, but the study's networks expect",
        ),
        (
            f"{CLOTHES}.data.resize",
            16,
            f"{CLOTHES}.data: ",
            "expect 1 x 8 x 8; set resize: 8",
        ),
        (
            f"{CLOTHES}.data.name",
            "cifar10",
            f"{CLOTHES}.data: ",
            "images are 3 x 8 x 8, but the study's",
        ),
        (f"{CLOTHES}.data.validation", 0, f"{CLOTHES}.data.validation: ", "hold some out"),
        (f"{CLOTHES}.data.train_size", 60_000, f"{CLOTHES}.data: ", "exceed the 60,000 training"),
        (
            f"{CLOTHES}.data.train_size",
            9,
            f"{CLOTHES}.data: ",
            "too few training images (9) for 10 classes",
        ),
        (
            f"{CLOTHES}.data.mean",
            [0.1] * 3,
            f"{CLOTHES}.data.mean: ",
            "give one number per channel",
        ),
        (
            f"{CLOTHES}.data",
            {"name": "digits", "train_size": 100, "validation": 50},
            f"{CLOTHES}.data.name: ",
            "digits is the study's own data set",
        ),
    ],
)
def test_each_mistake_is_named(path, value, begins, says):
    assert_named(said_of(path, value), begins, says)
