"""A finished and a half done study, each made once for all tests of what faults do to them."""

import os

import made_world
import pytest
import tiny
from made_world import World


@pytest.fixture(scope="session")
def finished(shared):
    return once(shared / "finished", made_world.finished)


@pytest.fixture(scope="session")
def half_done(shared):
    """Not to be changed."""
    return once(shared / "half-done", made_world.half_done)


def once(folder, make) -> World:
    before = os.getcwd()
    try:
        return World(tiny.once(folder, make))
    finally:
        os.chdir(before)
