"""Each field of a record and of a card changed alone, under every verb that only reads.

With its seal as it was the change is found. Sealed again, as by somebody who knows how, it is said
what is wrong, or a number of the record is shown as it stands there: nothing ends in a traceback.
"""

import hashlib
import json
import os
import random
import sys

import pytest

from kdpipe import identity
from kdpipe.cli.main import main
from kdpipe.results import records

FULL = os.environ.get("KDPIPE_FAULTS") == "all"
SAMPLE = 15  # of each kind of file
LOST = object()
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
    found = [path] if path else []
    for key, each in below:
        found += fields(each, (*path, key))
    return found


def changed(value, path: tuple, other: object):
    """A copy of a JSON value with another one in one place, or with none there."""
    copy = json.loads(json.dumps(value))
    place = copy
    for key in path[:-1]:
        place = place[key]
    if other is LOST:
        del place[path[-1]]
    else:
        place[path[-1]] = other
    return copy


def cases(value: object, name: str) -> list[tuple[tuple, object]]:
    every = [(path, other) for path in fields(value) for other in OTHERS]
    return every if FULL else random.Random(name).sample(every, min(SAMPLE, len(every)))


def sealed(record: dict) -> bytes:
    body = json.dumps(record, indent=1).removesuffix("\n}").encode()
    return body + records.SEAL + hashlib.sha256(body).hexdigest().encode() + b'"\n}\n'


@pytest.mark.parametrize("kind", ["runs/wrn10-0.5-from", "runs/wrn10-1", "ensembles/", "probes/"])
def test_of_a_record(kind, world, capsys):
    folder = next(world.place.root.glob(f"{kind}*"))
    paths = [folder / records.RECORD, folder / records.KEPT_RECORD]
    record = records.read(folder, None)
    seal = paths[0].read_bytes().rpartition(records.SEAL)[2]
    for number, (path, other) in enumerate(cases(record, kind)):
        new = sealed(changed(record, path, other))
        if changed(record, path, other) == record:
            continue
        body = new.rpartition(records.SEAL)[0]
        for each in paths:  # by hand
            each.write_bytes(body + records.SEAL + seal)
        assert main(["verify"]) == 2, (path, other)
        assert folder.name in capsys.readouterr().out, (path, other)
        for each in paths:  # by hand, and sealed again
            each.write_bytes(new)
        verbs = [*VERBS, *(REPORTS if FULL or number < 1 else [])]
        for command in verbs:
            try:
                code = main(command)
            except Exception as error:
                raise AssertionError(f"{command[0]} of {path}: {other!r}: {error!r}") from error
            said = capsys.readouterr()
            assert code in (0, 2) and (code == 0 or said.err or said.out), (path, other, command)


@pytest.mark.parametrize("name", ["mine.card", "small-1x8x8-4.network", "own_code.TERM.term"])
def test_of_a_card(name, world, capsys):
    path = world.folder / f"{name}.json"
    card = json.loads(path.read_text())
    for field, other in cases(card, name):
        new = changed(card, field, other)
        if new == card and repr(new) == repr(card):
            continue
        path.write_text(json.dumps(new))  # by hand
        assert main(["plan", "study.yaml"]) == 2, (field, other)
        assert path.name in capsys.readouterr().err, (field, other)
        path.write_text(json.dumps(identity.sealed(new)))  # and sealed again
        for command in (["plan", "study.yaml"], ["status", "study.yaml"]):
            try:
                code = main(command)
            except Exception as error:
                raise AssertionError(f"{command[0]} of {field}: {other!r}: {error!r}") from error
            assert code in (0, 2), (field, other, command)
        capsys.readouterr()
