"""Circles of names, against Python's own search for them."""

import graphlib
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdpipe.config.rules import cycles

NAMES = st.sampled_from("abcdefg")


@given(st.dictionaries(NAMES, st.lists(NAMES, max_size=3)))
def test_a_circle_is_found_where_there_is_one(needs):
    try:
        graphlib.TopologicalSorter(needs).prepare()
    except graphlib.CycleError:
        assert list(cycles.find_cycles(needs))
    else:
        assert not list(cycles.find_cycles(needs))


@given(st.dictionaries(NAMES, st.lists(NAMES, max_size=3)))
def test_what_is_said_is_a_circle(needs):
    for line in cycles.find_cycles(needs):
        names = line.partition("circle: ")[2].split(" -> ")
        assert names[0] == names[-1]
        assert all(after in needs[name] for name, after in itertools.pairwise(names))


@pytest.mark.parametrize(("count", "is_too_deep"), [(50, False), (51, True), (5000, True)])
def test_a_line_may_be_long_but_not_without_end(count, is_too_deep):
    needs = {str(number): [str(number + 1)] for number in range(count - 1)} | {str(count - 1): []}
    assert bool(list(cycles.find_cycles(needs))) == is_too_deep
