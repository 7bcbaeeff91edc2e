"""What lists of lengths and sizes are refused for, one line for each mistake."""

import pytest
from helpers.rich_study import mistakes_of, put, rich

MAIN = "experiments[0] (size)"


def said_of(**values):
    """The lines of the answer to the rich study with these keys in its first experiment."""
    content = rich()
    for key, value in values.items():
        put(content, f"experiments.0.{key}", value)
    return mistakes_of(content)


@pytest.mark.parametrize(
    ("keys", "line"),
    [
        ({"epochs": [10, "1x"]}, f"{MAIN}.epochs: 10 and 1x are the same length of wrn10-0.5, 10"),
        ({"epochs": ["0.01x"]}, f"{MAIN}.epochs: 0.01x is 0 epochs of wrn10-0.5"),
        ({"epochs": [5, 5]}, f"{MAIN}.epochs: 5 and 5 are the same length"),
        # 0.5 of one epoch is rounded to it: eskd would be plain KD.
        ({"epochs": [10, 1]}, f"{MAIN}.epochs: in 1 epoch of wrn10-0.5, methods.eskd.stop_epoch"),
        ({"epochs": [0]}, f"{MAIN}.epochs[0]: 0: "),
        ({"epochs": ["two"]}, f"{MAIN}.epochs[0]: 'two': "),
        ({"epochs": ["2 x"]}, f"{MAIN}.epochs[0]: '2 x': "),
        ({"epochs": []}, f"{MAIN}.epochs: []: expected at least 1 entry"),
        ({"epochs": 10}, f"{MAIN}.epochs: 10: "),
        ({"train_size": [50, 50]}, f"{MAIN}.train_size: 50 is listed twice"),
        ({"train_size": [50, 101]}, f"{MAIN}.train_size: 101: the study trains on 100 images"),
        ({"train_size": [0]}, f"{MAIN}.train_size[0]: 0: "),
        ({"teacher_images": "all"}, f"{MAIN}.teacher_images: all: only beside train_size"),
        ({"teacher_images": "some", "train_size": [50]}, f"{MAIN}.teacher_images: 'some': "),
    ],
)
def test_each_mistake_is_named(keys, line):
    lines = said_of(**keys)
    assert any(each.startswith(line) for each in lines), lines


def test_a_multiple_says_how_it_is_written():
    (line,) = said_of(epochs=["twice"])
    assert "2x or 0.5x" in line


def test_what_teaches_has_one_length_and_no_sizes():
    content = rich()
    put(content, "experiments.1.epochs", [10, 20])
    lines = mistakes_of(content)
    assert any("again ends in 2 networks per seed" in line for line in lines)
    assert any(
        line.startswith("ensembles.line.block: again lists several epochs") for line in lines
    )
    content = rich()
    put(content, "experiments.1.train_size", [60])
    lines = mistakes_of(content)
    assert any("experiments[3] (better).teachers: again lists train_size" in line for line in lines)
    assert any(line.startswith("ensembles.line.block: again lists train_size") for line in lines)


def test_stops_of_a_block_lie_within_its_own_length():
    content = rich()
    put(content, "experiments.1.epochs", ["0.5x"])
    put(content, "experiments.3", {
        "name": "better", "teachers": ["again"], "stops": ["checkpoint 6"],
        "students": ["wrn10-0.5"], "methods": ["kd"],
    })  # fmt: skip
    (line,) = mistakes_of(content)
    assert "checkpoint 6 is after the last epoch: the teacher trains for 5 epochs" in line


def test_every_size_fits_the_terms():
    """Of 51 images in batches of 50 the last has one, which DIST has nothing to compare in."""
    content = rich()
    put(content, "methods.kd.dist_weight", 1.0)
    put(content, "experiments.0.train_size", [51])
    lines = mistakes_of(content)
    assert all(line.startswith("methods.kd.dist_weight: ") for line in lines)
    assert ["of 51 (wrn10-0.5) has 1" in lines[0], "of 51 (wrn10-1) has 1" in lines[1]] == [
        True
    ] * 2


def test_a_search_refuses_both_lists_in_one_line():
    content = rich(search={"blocks": ["size"], "fresh_seeds": 3}, seeds=[0, 1, 2, 3, 4])
    del content["tables"], content["transfers"]
    put(content, "experiments.2", {
        "name": "plain", "teachers": ["wrn16-1"], "students": ["wrn10-0.5"], "methods": ["kd"],
        "epochs": [5], "train_size": [50],
    })  # fmt: skip
    (line,) = mistakes_of(content)
    assert line == (
        "search: cannot be combined with lists of lengths or sizes: remove epochs and train_size "
        "of plain"
    )
