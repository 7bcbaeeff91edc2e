"""A finished study in a folder, made once for all tests that look at what faults do to it."""

import os

import made_world
import pytest
import tiny
from made_world import World


@pytest.fixture(scope="session")
def finished(shared):
    before = os.getcwd()
    try:
        return World(tiny.once(shared / "finished", made_world.finished))
    finally:
        os.chdir(before)
