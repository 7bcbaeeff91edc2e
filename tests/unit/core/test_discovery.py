"""A listed folder: what lies there is what there is."""

import sys

import pytest

from kdpipe import registry
from kdpipe.errors import KdpipeError


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A listed folder with two files, on the path."""
    things = tmp_path / "listed_things"
    things.mkdir()
    (things / "__init__.py").touch()
    (things / "one.py").write_text("THING = 1\n")
    (things / "two.py").write_text("THING = 2\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield things
    for name in [name for name in sys.modules if name.startswith("listed_things")]:
        del sys.modules[name]
    registry.list_names.cache_clear()
    registry.load_all_objects.cache_clear()


def test_what_lies_there_is_found_by_the_name_of_its_file(folder):
    assert registry.list_names("listed_things") == ("one", "two")
    assert registry.load_all_objects("listed_things", "THING", int) == {"one": 1, "two": 2}
    assert registry.load_object("listed_things", "two", "THING", int) == 2


def test_listing_imports_nothing(folder):
    (folder / "broken.py").write_text("raise RuntimeError('imported')\n")
    assert "broken" in registry.list_names("listed_things")
    assert not any(name.startswith("listed_things.") for name in sys.modules)


@pytest.mark.parametrize("content", ["", "THING = 'text'\n"])
def test_a_file_that_lacks_its_object_stops_everything(folder, content):
    (folder / "odd.py").write_text(content)
    with pytest.raises(KdpipeError, match=r"odd\.py: every file in listed_things/ defines THING"):
        registry.load_all_objects("listed_things", "THING", int)
