"""What a look showed is noted when it is first rendered, and later changes of it are named."""

import subprocess
from pathlib import Path

import pytest

from kdpipe import version
from kdpipe.errors import KdpipeError
from kdpipe.runs import looks, registrations
from kdpipe.runs.files import write_bytes
from kdpipe.runs.store import Store

there: dict[str, dict] = {}


def registered(store: Store, study: str, **names_by_look: list[str]) -> dict:
    counts = [int(key.removeprefix("at")) for key in names_by_look]
    content = {"format": 2, "study": study, "looks": counts, "names": [*names_by_look.values()]}
    path = registrations.registration_path(study, store)
    write_bytes(path, registrations.encode_registration(content))
    return content


def finish(*names: str, **facts) -> None:
    there.update({name: {"name": name, "status": "done", **facts} for name in names})


def deviations(registration: dict, store: Store) -> list[str]:
    return list(looks.find_deviations(registration, store))


@pytest.fixture
def store(tmp_path, monkeypatch):
    """A results folder in which what is in `there` has a record."""
    there.clear()
    monkeypatch.setattr(
        Store, "load_records", lambda self, kind: dict(there) if kind == "runs" else {}
    )
    return Store(tmp_path / "results")


def test_a_look_is_noted_once_it_is_reached_and_stays_as_it_was_first(store):
    one = registered(store, "one", at3=["a", "b"], at5=["c"])
    finish("a")
    looks.note_looks(one, store, None)
    assert looks.read_looks("one", store) is None
    finish("b")
    looks.note_looks(one, store, "2026-01-02T03:04:05+00:00")
    log = looks.read_looks("one", store)
    assert log["committed"] == "2026-01-02T03:04:05+00:00"
    assert list(log["looks"]) == ["3"] and set(log["looks"]["3"]["records"]) == {"a", "b"}
    finish("b", best=1)  # trained again
    finish("c")
    looks.note_looks(one, store, None)
    later = looks.read_looks("one", store)
    assert later["looks"]["3"] == log["looks"]["3"] and set(later["looks"]["5"]["records"]) == set(
        "abc"
    )
    (line,) = deviations(one, store)
    assert line.startswith("1 of 2 records of the look at 3 seeds were replaced or removed")
    assert line.endswith(": b.")


def test_a_record_that_was_removed_after_a_look_is_named_and_one_that_is_the_same_is_not(store):
    one = registered(store, "one", at3=["a", "b"])
    finish("a", "b")
    looks.note_looks(one, store, None)
    assert deviations(one, store) == []
    del there["a"]
    (line,) = deviations(one, store)
    assert line.startswith("1 of 2 records") and line.endswith(": a.")


def test_a_run_of_a_reached_look_without_a_result_is_named(store):
    one = registered(store, "one", at3=["a", "b"], at5=["c"])
    finish("a")
    finish("b", status="diverged")
    (line,) = deviations(one, store)
    assert line == (
        "1 of the 2 runs and ensembles registered for the look at 3 seeds have no result: b."
    )


def test_another_registration_of_the_same_runs_is_named_also_when_its_copy_has_gone(store):
    one = registered(store, "one", at3=["a", "b"])
    two = registered(store, "two", at1=["a"])
    registered(store, "three", at3=["x"])
    finish("a", "b")
    (line,) = deviations(one, store)
    assert line.startswith("1 of its runs and ensembles are also registered by the study two (sha")
    assert line.endswith("looks after 1 seeds).")
    looks.note_looks(one, store, None)
    registrations.registration_path("two", store).unlink()
    assert deviations(one, store) == [line]
    assert deviations(two, store)[0].startswith("1 of its runs and ensembles")


def test_a_log_that_was_altered_or_is_of_another_registration_is_named(store):
    one = registered(store, "one", at3=["a"])
    finish("a")
    looks.note_looks(one, store, None)
    path = looks.looks_path("one", store)
    assert list(looks.find_log_errors(store)) == []
    # Nor is it taken for a registration.
    assert [p.name for p in registrations.list_registrations(store)] == ["one.json"]
    whole = path.read_text()
    path.write_text(whole.replace('"a": "', '"a": "0'))
    (line,) = looks.find_log_errors(store)
    assert "is not the log of looks that kdpipe wrote" in line
    with pytest.raises(KdpipeError, match="not the log of looks"):
        deviations(one, store)
    path.write_text(whole)
    again = registered(store, "one", at3=["a", "b"])
    looks.note_looks(again, store, None)
    assert path.read_text() == whole
    assert deviations(again, store)[0].startswith("The looks rendered here are those of another")


def test_an_archive_takes_the_log_and_keeps_the_first_rendering_of_each_look(store, tmp_path):
    one, target = registered(store, "one", at3=["a"], at5=["b"]), Store(tmp_path / "archive")
    finish("a")
    looks.note_looks(one, store, None)
    looks.copy_looks("one", store, target)
    assert looks.read_looks("one", target) == looks.read_looks("one", store)
    first = looks.read_looks("one", target)["looks"]["3"]
    looks.looks_path("one", store).unlink()  # and rendered again, from another record
    finish("a", best=1)
    finish("b")
    looks.note_looks(one, store, None)
    looks.copy_looks("one", store, target)
    kept = looks.read_looks("one", target)["looks"]
    assert kept["3"] == first and set(kept["5"]["records"]) == {"a", "b"}


def test_the_date_is_that_of_the_commit_that_added_the_file(tmp_path):
    path = tmp_path / "study.registration.json"
    path.write_text("{}")
    assert version.find_commit_date(path) is None
    identity = ["-c", "user.name=x", "-c", "user.email=x@example.org"]

    def git(*arguments: str) -> str:
        command = ["git", *identity, *arguments]
        return subprocess.run(
            command, cwd=tmp_path, check=True, capture_output=True, text=True
        ).stdout.strip()

    git("init", "-q")
    git("add", path.name)
    git("commit", "-qm", "registered", "--date", "2026-01-02T03:04:05+00:00")
    added = git("log", "-1", "--format=%cI")
    path.write_text("{ }")
    git("commit", "-qam", "altered")
    assert version.find_commit_date(path) == added
    assert version.find_commit_date(Path(tmp_path / "none")) is None
