"""What several test modules start from."""

import pytest
import tiny
from warm import Warm


@pytest.fixture
def content():
    """The content of a small valid study file, to be changed at will."""
    return tiny.study()


@pytest.fixture(scope="session")
def shared(tmp_path_factory):
    """A folder that all test processes of a session share."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if base.name.startswith("popen-") else base


@pytest.fixture(scope="session")
def warm(tmp_path_factory):
    server = Warm(tmp_path_factory.mktemp("warm"))
    yield server
    server.close()


@pytest.fixture
def place(tmp_path, shared):
    """A results folder with the data set prepared."""
    return tiny.results(tmp_path, shared)
