"""Where a teacher stops, by hand."""

import pytest

from kdpipe.config import stops
from kdpipe.config.stops import Stop
from kdpipe.errors import KdpipeError
from kdpipe.runs.recipe import Recipe


@pytest.mark.parametrize(
    ("text", "epochs", "expected"),
    [
        ("full", 10, [Stop("full", 10)]),
        ("checkpoint 0", 10, [Stop("checkpoint", 0)]),
        ("checkpoint 9", 10, [Stop("checkpoint", 9)]),
        ("checkpoint 10", 10, [Stop("full", 10)]),  # the last epoch is the full teacher
        ("checkpoint 1/3", 40, [Stop("checkpoint", 13)]),
        ("checkpoint 0.5x", 9, [Stop("checkpoint", 4)]),
        ("checkpoint 3/3", 10, [Stop("full", 10)]),
        ("every 3", 10, [Stop("checkpoint", 3), Stop("checkpoint", 6), Stop("checkpoint", 9)]),
        ("every 5", 10, [Stop("checkpoint", 5)]),  # 10 is the end
        ("schedule 10/35", 200, [Stop("schedule", 35, 10)]),
        ("schedule 4/4", 10, [Stop("schedule", 4, 4)]),
        ("schedule 4", 10, [Stop("schedule", 4)]),
        ("schedule 10", 10, [Stop("full", 10)]),
        ("schedule 11", 10, [Stop("longer", 11)]),  # a run of its own, of more epochs
        ("schedule 3/11", 10, [Stop("longer", 11, 3)]),
        ("schedule 4x", 10, [Stop("longer", 40)]),
        ("schedule 1x", 10, [Stop("full", 10)]),
        ("schedule 0.5x", 10, [Stop("schedule", 5)]),
        ("schedule 2/0.5x", 10, [Stop("schedule", 5, 2)]),
    ],
)
def test_parse(text, epochs, expected):
    assert stops.parse_stops(text, epochs) == expected
    assert stops.count_stops(text, epochs) == len(expected)


@pytest.mark.parametrize(
    ("text", "drops"),
    [
        ("schedule 10/35", [10, 20, 30]),  # the paper's modes
        ("schedule 15/50", [15, 30, 45]),
        ("schedule 20/65", [20, 40, 60]),
        ("schedule 25/80", [25, 50, 75]),
        ("schedule 60/200", [60, 120, 180]),
        ("schedule 4/4", []),
        ("schedule 2/4", [2]),
        ("schedule 50", [15, 30, 45]),  # the full one's, at the same shares
        ("schedule 4", [1, 2]),  # 1.2, 2.4 and 3.6, which is the end
        ("schedule 300 (longer)", [90, 180, 270]),
        ("schedule 100/300 (longer)", [100, 200]),
    ],
)
def test_drops_of_a_schedule(text, drops):
    (stop,) = stops.parse_stops(text.removesuffix(" (longer)"), 200)
    full = Recipe(epochs=200, lr=1, drop_epochs=[60, 120, 180])
    assert stop.scale_recipe(full).drop_epochs == drops
    assert stop.scale_recipe(full).epochs == stop.epochs
    assert stop.label == text


@pytest.mark.parametrize(
    "text",
    [
        "checkpoint 11",
        "checkpoint 4/3",
        "checkpoint 1/0",
        "checkpoint 1.2x",
        "every 0",
        "every 10",
        "schedule 0/4",
        "schedule 5/4",
        "schedule 0x",
        "schedule 0.01x",
        "schedule 100001",
        "schedule 0",
    ],
)
def test_past_the_end(text):
    for function in (stops.parse_stops, stops.count_stops):
        with pytest.raises(KdpipeError, match=text):
            function(text, 10)


def test_a_stop_stands_once():
    texts = ["every 4", "checkpoint 8", "full", "checkpoint 10", "checkpoint 1"]
    assert [stop.label for stop in stops.expand_stops(texts, 10)] == [
        "checkpoint 4",
        "checkpoint 8",
        "full",
        "checkpoint 1",
    ]


def test_stops_of_a_training_of_another_length():
    texts = ["full", "checkpoint 0", "checkpoint 5", "schedule 4", "schedule 2/8", "schedule 2x"]
    assert stops.expand_stops(texts, 10, 20) == [
        Stop("full", 20),
        Stop("checkpoint", 0),
        Stop("checkpoint", 10),
        Stop("schedule", 8),
        Stop("schedule", 16, 4),
        Stop("longer", 40),
    ]
    # What is rounded to the end is full, to one epoch one: each stands once.
    assert stops.expand_stops(["checkpoint 9", "full", "checkpoint 1", "schedule 1"], 10, 2) == [
        Stop("full", 2),
        Stop("checkpoint", 1),
        Stop("schedule", 1),
    ]
    assert stops.expand_stops(texts, 10, 10) == stops.expand_stops(texts, 10)


@pytest.mark.parametrize(("text", "length"), [(7, 7), ("2x", 60), ("0.5x", 15), ("1.25x", 38)])
def test_a_length_in_epochs_or_as_a_multiple(text, length):
    assert stops.resolve_length(text, 30) == length  # 37.5 is rounded to even


def test_counting_makes_no_list():
    assert stops.count_stops("every 1", 10**15) == 10**15 - 1
