"""What the tests of exports start from."""

import exported
import pytest


@pytest.fixture
def made(shared):
    """A folder with a study that was run, and its export; to be read."""
    return exported.once(shared)


@pytest.fixture
def copied(shared, tmp_path, monkeypatch):
    """The same to be spoilt, and the place where commands are typed."""
    folder = exported.copy(shared, tmp_path)
    monkeypatch.chdir(folder)
    return folder
