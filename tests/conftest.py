"""What several test modules start from."""

import os
import resource
import signal
import tempfile
from pathlib import Path

import pytest
import tiny
from house import FLOOR
from warm import Warm

from kdpipe.plan.cost import speeds


def pytest_configure():
    """What the user has measured of this machine is not for tests, nor theirs for the user."""
    os.environ.setdefault(speeds.CACHE, tempfile.mkdtemp(prefix="kdpipe-tests-"))
    # Arrays that are mapped keep their files open, of hundreds of results folders.
    now, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 8192 if most == resource.RLIM_INFINITY else min(most, 8192)
    if now != resource.RLIM_INFINITY:
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(now, wanted), most))
    # Under nohup, or in the background of a script, every command would inherit that they are
    # ignored, and no test of signals could be one.
    for number, usual in (
        (signal.SIGHUP, signal.SIG_DFL),
        (signal.SIGINT, signal.default_int_handler),
    ):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, usual)


def pytest_collection_modifyitems(items):
    """Orders the tests by the floors of the house, bottom up, and the workflow's last.

    What stands above breaks with what is broken below, so the first failure is the one to read.
    Tests that start whole commands or Snakemake come after those of one unit, whatever their room.
    """
    items.sort(key=_place)  # stable: within a room the order of the files stays


def _place(item) -> tuple[bool, bool, int]:
    room = item.path.relative_to(Path(__file__).parent).parts[0]
    whole = room == "workflow" or "warm" in item.fixturenames
    floor = FLOOR.get(room, len(FLOOR))  # tests of the house itself, after those of its rooms
    return item.get_closest_marker("cluster") is not None, whole, floor


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
