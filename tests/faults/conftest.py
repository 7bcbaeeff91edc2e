"""A finished and a half done study, each made once for all tests of what faults do to them."""

import os

import pytest
from helpers import every_file, tiny_study
from helpers.every_file import World


@pytest.fixture(scope="session")
def finished(shared):
    return once(shared / "finished", every_file.finished)


@pytest.fixture(scope="session")
def half_done(shared):
    """Not to be changed."""
    return once(shared / "half-done", every_file.half_done)


def once(folder, make) -> World:
    before = os.getcwd()
    try:
        return World(tiny_study.once(folder, make))
    finally:
        os.chdir(before)
