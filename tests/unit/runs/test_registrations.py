"""Which runs of a results folder are sealed, by the names in its registrations."""

import pytest

from kdpipe.errors import KdpipeError
from kdpipe.runs import registrations
from kdpipe.runs.files import write_bytes
from kdpipe.runs.store import Store


def registered(store: Store, study: str, **looks: list[str]) -> None:
    """looks: by how many seeds it is at, `at3`, the names that it adds."""
    counts = [int(key.removeprefix("at")) for key in looks]
    known = {"format": 2, "study": study, "looks": counts, "names": list(looks.values())}
    write_bytes(
        registrations.registration_path(study, store), registrations.encode_registration(known)
    )


@pytest.fixture
def store(tmp_path, monkeypatch):
    """A results folder in which what is in `there` has a record."""
    monkeypatch.setattr(Store, "load_records", lambda self, kind: {name: {} for name in there})
    there.clear()
    return Store(tmp_path)


there: set[str] = set()


def test_a_look_is_reached_when_all_of_it_and_of_those_before_is_there(store):
    registered(store, "one", at3=["a", "b"], at5=["c"])
    first, second = ("one", 3), ("one", 5)
    for names, sealed in {
        "": {"a": first, "b": first, "c": second},
        "ac": {"a": first, "b": first, "c": second},
        "ab": {"c": second},
        "abc": {},
    }.items():
        there.clear()
        there.update(names)
        assert registrations.find_sealed_names(store) == sealed


def test_what_one_study_has_reached_another_does_not_seal(store):
    registered(store, "one", at3=["a", "b"])
    registered(store, "two", at3=["b", "c"])
    there.update("ab")
    assert registrations.find_sealed_names(store) == {"c": ("two", 3)}


def test_without_registrations_nothing_is_sealed_and_no_record_read(tmp_path, monkeypatch):
    monkeypatch.setattr(Store, "load_records", None)
    assert registrations.find_sealed_names(Store(tmp_path)) == {}


def test_one_that_was_altered_or_renamed_is_said(store):
    registered(store, "one", at3=["a"])
    path = registrations.registration_path("one", store)
    assert list(registrations.find_registration_errors(store)) == []
    path.rename(path.with_name("two.json"))
    (line,) = registrations.find_registration_errors(store)
    assert line.endswith("two.json: the registration of the study one: rename it back")
    path.write_bytes(path.with_name("two.json").read_bytes().replace(b'"a"', b'"b"'))
    line, _ = registrations.find_registration_errors(store)
    assert "is not what kdpipe register has written" in line
    with pytest.raises(KdpipeError, match=r"one\.json is not what kdpipe register has written"):
        registrations.find_sealed_names(store)
