"""Each field of whatever is kept as JSON changed alone, under every verb that only reads it.

With its seal as it was the change is found. Sealed again, as by somebody who knows how, it is said
what is wrong, or a number of the record is shown as it stands there: nothing ends in a traceback.
"""

import hashlib
import json
import sys

import pytest
from helpers import every_file
from helpers.fault_tally import FULL, Tally

from kdpipe import hashing
from kdpipe.cli.main import main
from kdpipe.report import render
from kdpipe.runs import ownership, records

SAMPLE = 15  # of each kind of file
LOST = type("LOST", (), {})
OTHERS = [
    LOST,
    None,
    True,
    -1,
    0,
    7,
    1.5,
    10**400,
    "",
    "x",
    "../..",
    [],
    [None],
    {},
    {"a": 1},
    [[]],
]
VERBS = [["status", "study.yaml"], ["plan", "study.yaml"], ["verify"], ["prune", "study.yaml"]]
REPORTS = [["report", "study.yaml"], ["archive", "study.yaml", "--to", "again"]]


@pytest.fixture
def world(finished, tmp_path, monkeypatch):
    copy = finished.copied(tmp_path / "world")
    monkeypatch.chdir(copy.folder)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    return copy


def fields(value: object, path: tuple = ()) -> list[tuple]:
    """The path of every value below one."""
    below = value.items() if isinstance(value, dict) else ()
    if isinstance(value, list):
        below = list(enumerate(value))[:1]
    actual = [path] if path else []
    for key, each in below:
        actual += fields(each, (*path, key))
    return actual


def changed(value, path: tuple, other: object):
    """A copy of a JSON value with another one in one place, or with none there."""
    copy = json.loads(json.dumps(value))
    store = copy
    for key in path[:-1]:
        store = store[key]
    if other is LOST:
        del store[path[-1]]
    else:
        store[path[-1]] = other
    return copy


def cases(value: object, name: str, tally: Tally) -> list[tuple[tuple, object]]:
    every = [(path, other) for path in fields(value) for other in OTHERS]
    return tally.choose(every, SAMPLE, name)


def sealed(record: dict) -> bytes:
    body = json.dumps(record, indent=1).removesuffix("\n}").encode()
    return body + records.RECORD_SEAL + hashlib.sha256(body).hexdigest().encode() + b'"\n}\n'


@pytest.mark.parametrize("kind", ["runs/wrn10-0.5-from", "runs/wrn10-1", "ensembles/", "probes/"])
def test_of_a_record(kind, world, capsys, monkeypatch, tally):
    folder = next(world.store.root.glob(f"{kind}*"))
    paths = [folder / records.RECORD_FILE, folder / records.RECORD_COPY_FILE]
    record = records.read_record(folder, None)
    seal = paths[0].read_bytes().rpartition(records.RECORD_SEAL)[2]
    rendered, seen = 0, set()
    for path, other in cases(record, kind, tally):
        if changed(record, path, other) == record:
            continue
        new = sealed(changed(record, path, other))
        if path not in seen:  # a seal is over bytes, whatever they say
            body = new.rpartition(records.RECORD_SEAL)[0]
            with tally.trying(("by hand", path, other)):
                for each in paths:
                    each.write_bytes(body + records.RECORD_SEAL + seal)
                assert main(["verify"]) == 2
                assert folder.name in capsys.readouterr().out
            seen.add(path)
        for each in paths:  # by hand, and sealed again
            each.write_bytes(new)
        verbs = list(VERBS)
        # What is refused for its form is one fault to a report, and a spec is not looked into.
        displayed = (
            not any(records.find_schema_errors(changed(record, path, other))) and path[0] != "spec"
        )
        if rendered < 1 or (FULL and displayed):
            verbs += REPORTS
            rendered += 1
        for command in verbs:
            with tally.trying((command[0], path, other)):
                code = main(command)
                captured = capsys.readouterr()
                assert code in (0, 2) and (code == 0 or captured.err or captured.out)
        if rendered == 1:  # figures show the frame that they have just been drawn from
            monkeypatch.setattr(render, "submit_figures", lambda *_, **__: {})
    tally.check()


@pytest.mark.parametrize("name", ["mine.card", "small-1x8x8-4.network", "own_code.TERM.term"])
def test_of_a_card(name, world, capsys, tally):
    path = world.folder / f"{name}.json"
    card = json.loads(path.read_text())
    for field, other in cases(card, name, tally):
        new = changed(card, field, other)
        if new == card and repr(new) == repr(card):
            continue
        with tally.trying((field, other)):
            path.write_text(json.dumps(new))  # by hand
            assert main(["plan", "study.yaml"]) == 2
            assert path.name in capsys.readouterr().err
            path.write_text(json.dumps(hashing.add_checksum(new)))  # and sealed again
            assert main(["plan", "study.yaml"]) in (0, 2)
            assert main(["status", "study.yaml"]) in (0, 2)
        capsys.readouterr()
    tally.check()


def test_of_the_list_of_images_beside_a_card(world, capsys, tally):
    """Sizes and times are no fact of the data: where they are wrong, the images are read again."""
    path = world.folder / "mine.card.files.json"
    whole = json.loads(path.read_text())
    for field, other in cases(whole, path.name, tally):
        with tally.trying((field, other)):
            path.write_text(json.dumps(changed(whole, field, other)))
            assert main(["check", "study.yaml"]) == 0, capsys.readouterr()
            assert json.loads(path.read_text()) == whole
    capsys.readouterr()
    tally.check()


def test_of_a_teacher_table(half_done, tmp_path, monkeypatch, capsys, tally):
    """Whatever its facts say instead, a student does not learn from it, and is told why."""
    copy = half_done.copied(tmp_path / "world")
    monkeypatch.chdir(copy.folder)
    plan = copy.plan()
    tables = {run.logit_caches[0].name: run for run in plan.runs.values() if run.logit_caches}
    path = next(copy.store.root.glob(f"tables/[!.]*/{ownership.CACHE_INFO_FILE}"))
    whole = json.loads(path.read_text())
    student = every_file.train(tables[path.parent.name], plan)
    for field, other in cases(whole, "about", tally):
        with tally.trying((field, other)):
            path.write_text(json.dumps(changed(whole, field, other)))
            assert main(["verify"]) == 2
            assert f"{path.parent.relative_to(copy.folder)}: " in capsys.readouterr().out
            assert main(student) == 2
            assert path.parent.name in capsys.readouterr().err
    tally.check()
