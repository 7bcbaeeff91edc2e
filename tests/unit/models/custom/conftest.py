"""A folder with networks of one's own, whose modules are imported anew for each test."""

import sys

import pytest
from helpers.custom_networks import Folder, forget


@pytest.fixture(autouse=True)
def path(monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # times of files have whole seconds
    yield
    forget()


@pytest.fixture
def folder(tmp_path):
    """A study whose networks have their cards."""
    folder = Folder(tmp_path)
    assert folder.kdpipe("network") == 0
    return folder
