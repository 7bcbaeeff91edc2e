"""What the tests of exports start from."""

import pytest
from helpers import exported_study


@pytest.fixture
def built(shared):
    """A folder with a study that was run, and its export; to be read."""
    return exported_study.once(shared)


@pytest.fixture
def copied(shared, tmp_path, monkeypatch):
    """The same to be spoilt, and the place where commands are typed."""
    folder = exported_study.copy(shared, tmp_path)
    monkeypatch.chdir(folder)
    return folder
