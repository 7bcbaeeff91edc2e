"""A finished and a half done study, each made once for all tests of what faults do to them."""

import os

import pytest
from helpers import every_file, tiny_study
from helpers.every_file import World
from helpers.fault_tally import Tally

from kdpipe.training.checkpoint import SAVE_ENV


@pytest.fixture(autouse=True)
def saves_after_every_epoch(monkeypatch):
    """So that a kill can strike between any two epochs, of which a test has seconds."""
    monkeypatch.setenv(SAVE_ENV, "0")


@pytest.fixture(scope="session")
def finished(shared):
    return once(shared / "finished", every_file.finished)


@pytest.fixture(scope="session")
def half_done(shared):
    """Not to be changed."""
    return once(shared / "half-done", every_file.half_done)


@pytest.fixture
def tally(request):
    """Chooses and counts the cases of a test."""
    return Tally(request.node.name, request.config)


def once(folder, make) -> World:
    before = os.getcwd()
    try:
        return World(tiny_study.once(folder, make))
    finally:
        os.chdir(before)
