"""Names and values in a message, whatever comes from a file."""

import time

import pytest

from kdpipe.wording import key, listed, nearest, shown, twice


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
    assert nearest(word, known) == guess


def test_a_word_of_megabytes_and_a_crowd_of_names_cost_no_time():
    started = time.process_time()
    for _ in range(50):
        nearest("x" * 1_000_000, (f"name-{i}" for i in range(100_000)))
    assert time.process_time() - started < 2


def test_listed():
    assert listed([]) == "none"
    assert listed("ab") == "a, b"
    assert listed(map(str, range(1234))).endswith("18, 19 and 1,214 more")


def test_a_value_in_a_message_is_short_and_on_one_line():
    assert shown("a\nb") == r"'a\nb'"
    assert len(shown(["long"] * 1000)) == 60
    assert shown(1 << 99_999) == "a number of thousands of digits"


def test_a_place_in_a_file_is_written_as_in_python():
    assert key(("experiments", 0, "methods")) == "experiments[0].methods"
    assert key((0, "a")) == "[0].a" and key(()) == ""


def test_what_stands_twice_is_named_once():
    assert twice(["a", "b", "a", "a", 3, [1], [1]]) == ["a", "[1]"]
    assert twice([1, True, 1.0]) == []  # as they are written, not as Python compares them
