"""A method: its keys, what it writes into a spec, and what follows from it."""

import pytest

from kdpipe.learning import method
from kdpipe.learning.method import Method


@pytest.mark.parametrize(
    ("keys", "asked", "expected"),
    [
        ({}, "table", "float16"),
        ({"temperature": 2}, "table", "float16"),
        ({"temperature": 1.9}, "table", "float32"),
        ({"attention_weight": 1.0}, "table", "live"),
        ({}, "live", "live"),
        ({"temperature": 1}, "live", "live"),
    ],
)
def test_how_the_outputs_of_a_teacher_come(keys, asked, expected):
    made = method.spec(Method(**keys), epochs=3)
    assert method.outputs(made, asked) == expected
