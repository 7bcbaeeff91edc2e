"""What several test modules start from."""

import os
import resource
import signal
import tempfile
from pathlib import Path

import pytest
from helpers import tiny_study
from helpers.forkserver import Warm
from helpers.layers import LAYER

from kdpipe.plan import estimate

TESTS = Path(__file__).parent


def pytest_configure(config):
    """What the user has measured of this machine is not for tests, nor theirs for the user."""
    if estimate.CACHE_ENV not in os.environ:  # the workers of pytest-xdist have the same
        folder = tempfile.TemporaryDirectory(prefix="kdpipe-tests-", ignore_cleanup_errors=True)
        os.environ[estimate.CACHE_ENV] = folder.name
        config.add_cleanup(folder.cleanup)
    # Arrays that are mapped keep their files open, of hundreds of results folders.
    now, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    expected = 8192 if most == resource.RLIM_INFINITY else min(most, 8192)
    if now != resource.RLIM_INFINITY:
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(now, expected), most))
    # Under nohup, or in the background of a script, every command would inherit that they are
    # ignored, and no test of signals could be one.
    for number, usual in (
        (signal.SIGHUP, signal.SIG_DFL),
        (signal.SIGINT, signal.default_int_handler),
    ):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, usual)


def pytest_collection_modifyitems(items):
    """Mark what is slow, and order the tests by the layers of the package, bottom up.

    What stands above breaks with what is broken below, so the first failure is the one to read.
    Whole studies, faults and the tests of single units that take long are marked `slow`.
    """
    for item in items:
        if item.path.relative_to(TESTS).parts[0] in ("workflow", "faults"):
            item.add_marker("slow")
    items.sort(key=_rank)  # stable: within a package the order of the files stays


def _rank(item) -> tuple[bool, bool, int]:
    kind, package, *_ = item.path.relative_to(TESTS).parts
    is_whole = kind != "unit" or "warm" in item.fixturenames
    return item.get_closest_marker("cluster") is not None, is_whole, LAYER.get(package, len(LAYER))


@pytest.fixture
def content():
    """The content of a small valid study file, to be changed at will."""
    return tiny_study.study()


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


@pytest.fixture(autouse=True)
def own_environment():
    """What a study that is loaded in this process leaves for its jobs is not for the next test."""
    before = set(os.environ)
    yield
    for name in set(os.environ) - before:
        if name.startswith("KDPIPE_"):
            del os.environ[name]


@pytest.fixture
def store(tmp_path, shared):
    """A results folder with the data set prepared."""
    return tiny_study.results(tmp_path, shared)
