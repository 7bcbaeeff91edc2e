"""Names and values in a message, whatever comes from a file."""

import time

import pytest

from kdpipe.text import did_you_mean, dotted_path, find_duplicates, format_value, join_names


@pytest.mark.parametrize(
    ("word", "known", "guess"),
    [
        ("epoch", ["epochs", "lr"], "; did you mean epochs?"),
        ("methdos", ["methods", "stops"], "; did you mean methods?"),
        ("zzz", ["epochs"], ""),
        (7, ["77"], "; did you mean 77?"),
        ("hto", ["kd", "hot"], "; did you mean hot?"),
        ("dkd_wieght", ["kd_weight", "lr"], "; did you mean kd_weight?"),
        ("warmup_epochs", ["epochs", "drop_epochs"], ""),  # 0.75 alike, and nothing of the kind
        ("epochs", [], ""),
    ],
)
def test_nearest(word, known, guess):
    assert did_you_mean(word, known) == guess


def test_a_word_of_megabytes_and_a_crowd_of_names_cost_no_time():
    started = time.process_time()
    for _ in range(50):
        did_you_mean("x" * 1_000_000, (f"name-{i}" for i in range(100_000)))
    assert time.process_time() - started < 2


def test_listed():
    assert join_names([]) == "none"
    assert join_names("ab") == "a, b"
    assert join_names(map(str, range(1234))).endswith("18, 19 and 1,214 more")


def test_a_value_in_a_message_is_short_and_on_one_line():
    assert format_value("a\nb") == r"'a\nb'"
    assert len(format_value(["long"] * 1000)) == 60
    assert format_value(1 << 99_999) == "a number of thousands of digits"


def test_a_place_in_a_file_is_written_as_in_python():
    assert dotted_path(("experiments", 0, "methods")) == "experiments[0].methods"
    assert dotted_path((0, "a")) == "[0].a" and dotted_path(()) == ""


def test_what_stands_twice_is_named_once():
    assert find_duplicates(["a", "b", "a", "a", 3, [1], [1]]) == ["a", "[1]"]
    assert find_duplicates([1, True, 1.0]) == []  # as they are written, not as Python compares them
