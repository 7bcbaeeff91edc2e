"""Every kind of kept file, damaged in every way, under every verb.

What comes out is what comes out of the whole file, or it is said what is wrong, in one message.
Nothing ends in a traceback, and nothing damaged is taken for whole.
"""

import itertools
import json
import os
import random
import re
import shutil
import sys
from pathlib import Path

import pytest
from helpers import every_file, tiny_study
from helpers.every_file import World, commands
from helpers.fault_tally import FAULTS, FULL, SEED, Tally
from helpers.hanging import end_within

from kdpipe.cli.main import main
from kdpipe.plan import estimate
from kdpipe.report import render

# How many cases are drawn of 31,500 (KDPIPE_FAULTS); `each`: one of each kind of file, damage and
# verb; or `all`.
SAMPLE = int(FAULTS) if FAULTS.isdecimal() else 60


def delete(data: bytes) -> None:
    return None


def truncate(data: bytes) -> bytes:
    return data[: len(data) // 2]


def empty(data: bytes) -> bytes:
    return b""


def zero(data: bytes) -> bytes:
    return bytes(len(data))


def flip(data: bytes) -> bytes:
    """One bit in the middle."""
    if not data:
        return b"x"
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 4]) + data[middle + 1 :]


def head_of(store: int, value: int):
    def header(data: bytes) -> bytes:
        """One byte of what a reader looks at first."""
        if not data:
            return b"x"
        at = min(store, len(data) - 1)
        return data[:at] + bytes([data[at] ^ value]) + data[at + 1 :]

    return header


def mark(data: bytes) -> bytes:
    """What stands for a length or a magic number is as large as can be."""
    return b"\xff" * 8 + data[8:]


def foreign(data: bytes) -> bytes:
    """JSON, but of something else; of lines, a line of something else."""
    return b"[1, null]\n"


def fifo(data: bytes) -> bytes:
    """A FIFO lies in its place, which nobody writes to: see `put_damaged`."""
    return data


DAMAGES = {
    **{each.__name__: each for each in (delete, truncate, empty, zero, flip, mark, foreign, fifo)},
    # The lengths and texts in which .npy, safetensors, JSON and gzip begin.
    **{f"header {at}": head_of(at, value) for at, value in ((0, 1), (8, 1), (9, 64), (20, 8))},
    **{
        f"header {at}": head_of(at, value) for at, value in ((11, 1), (24, 0x55), (40, 16), (61, 2))
    },
}
CURVES = "curves"  # where `track` mirrors them
# What lies there once, however often: names are made of digests, epochs and classes.
NAMES = re.compile(r"-[0-9a-f]{12}|[0-9a-f]{12}-\d+|\d+")


@pytest.fixture(autouse=True)
def forgotten(monkeypatch):
    """The module of the study is imported again, as in a new process."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.setenv(estimate.CACHE_ENV, every_file.CACHE)
    monkeypatch.chdir("/")  # and back, whatever happens
    yield
    sys.modules.pop("own_code", None)


def remaining(world: World) -> dict[str, str]:
    """By kind one file of each; of a report one of each form."""
    actual = {}
    for path in world.files():
        folder = path.split("/")[0]
        if folder == "reports":
            actual.setdefault(folder + Path(path).suffix, path)
        elif folder in ("results", "published") or "json" in path:
            actual.setdefault(NAMES.sub("", path), path)
    return actual


def verbs(world: World) -> dict[str, list[str]]:
    """Every command that reads what is kept, by a name."""
    by = commands(world.plan())
    requests = {
        verb: [verb, "study.yaml"]
        for verb in ("check", "plan", "status", "prune", "report", "network", "term", "register")
    }
    requests["track"] = ["track", "study.yaml", "--to", "tensorboard", "--folder", CURVES]
    requests |= {"plan --json": ["plan", "study.yaml", "--json"], "verify": ["verify"]}
    requests |= {"prune --yes": ["prune", "study.yaml", "--yes"], "archive": by["archive"][0]}
    requests |= {
        f"{verb} of an archive": [*command, "--results", "published"]
        for verb, command in requests.items()
        if verb in ("status", "report", "verify", "plan")
    }
    for verb in ("data", "prepare", "train", "tabulate", "score", "probe"):
        requests |= {f"{verb} {number}": each for number, each in enumerate(by[verb])}
    return requests


def put_damaged(path: Path, damage: str) -> None:
    damaged = DAMAGES[damage](path.read_bytes())
    if damage == "fifo" or damaged is None:
        path.unlink()
        if damaged is not None:
            os.mkfifo(path)
    else:
        path.write_bytes(damaged)


def outcome(world: World, command: list[str], capsys) -> tuple[int, str, dict]:
    """What a command says, and the files that it leaves. Raises what is no clear error."""
    sys.modules.pop("own_code", None)
    os.chdir(world.folder)
    with end_within(120):
        code = main(command)
    captured = capsys.readouterr()
    return (
        code,
        captured.out + captured.err,
        {
            path: plain(path, data)
            for path, data in world.files().items()
            if not path.startswith(CURVES)  # with times in their names
        },
    )


def plain(path: str, data: bytes) -> object:
    """The content of a file without what another machine or minute would make otherwise."""
    if path.endswith("record.json"):
        try:
            record = json.loads(data)
        except ValueError:
            return data
        if not isinstance(record, dict):
            return data
        for key in ("started", "seconds", "images_per_second", "versions", "sha256"):
            record.pop(key, None)
        return record
    return data


def complaint(before, now, path: str) -> str | None:
    """What is wrong with the outcome of a command after damage to a file; None if nothing is."""
    (code_before, said_before, files_before), (code, message, files) = before, now
    folder = Path(path).parent.name or path
    if code == 2:
        named = folder in message or Path(path).name in message
        same = (code, message) == (code_before, said_before)
        return None if named or same else f"says nothing of it: {message[:300]}"
    if code != 0:
        return f"ends with {code}"
    text = message + "".join(
        files[name].decode(errors="replace")
        for name in files
        if name.endswith(("index.md", "results.csv"))
    )
    words = r"damaged|is no|missing|altered|cut off|cannot be read|not a regular"
    if folder in text and re.search(words, text):
        return None
    other = [
        name
        for name in files.keys() | files_before.keys()
        if name != path and files.get(name) != files_before.get(name)
    ]
    if other:
        return f"leaves other files, and says nothing of it: {other}"
    return None


def chosen(every: list[tuple[str, str, str]], tally: Tally) -> list[tuple[str, str, str]]:
    """The cases to look at: of runs that leave the same files, and students that are trained by
    the same verb, one will do."""
    if FAULTS != "each":
        return tally.choose(every, SAMPLE)
    random.Random(SEED).shuffle(every)
    return list(
        {
            (alike(path), what, verb.rstrip(" 0123456789")): (path, what, verb)
            for path, what, verb in every
        }.values()
    )


def alike(path: str) -> str:
    """What files of several folders of one kind have in common."""
    return re.sub("(?<=/runs/)[^/]+|(?<=/data/)[^/]+", "", NAMES.sub("", path))


def test_a_damaged_file_is_said_or_does_not_matter(half_done, tmp_path, capsys, monkeypatch, tally):
    if not FULL:  # figures show the frame and the curves that are read, and take ten times as long
        monkeypatch.setattr(render, "submit_figures", lambda *_, **__: {})
    commands_of = verbs(half_done)
    every = list(itertools.product(remaining(half_done).values(), DAMAGES, commands_of))
    whole: dict[str, tuple] = {}
    for path, damage, verb in sorted(chosen(every, tally), key=lambda case: case[2]):
        if verb not in whole:
            whole[verb] = run(half_done, commands_of[verb], tmp_path / "world", capsys)
        with tally.trying(f"{path}, {damage}, {verb}"):
            now = run(half_done, commands_of[verb], tmp_path / "world", capsys, path, damage)
            why = complaint(whole[verb], now, path)
            assert why is None, why
    tally.check()


def test_a_damaged_registration_is_said(shared, tmp_path, capsys, tally):
    """Of a study that is registered, and of which nothing was run."""
    world = World(tiny_study.once(shared / "registered", every_file.registered))
    (path,) = [name for name in world.files() if name.endswith("registration.json")]
    requests = {verb: [verb, "study.yaml"] for verb in ("check", "plan", "status", "register")}
    every = list(itertools.product(DAMAGES, requests))
    for damage, verb in tally.choose(every, len(every) if FAULTS == "each" else 8):
        command = requests[verb]
        with tally.trying(f"{damage}, {verb}"):
            whole = run(world, command, tmp_path / "world", capsys)
            now = run(world, command, tmp_path / "world", capsys, path, damage)
            why = complaint(whole, now, path)
            assert why is None, why
    tally.check()


def run(
    world: World, command: list[str], folder: Path, capsys, path: str = "", damage: str = ""
) -> tuple[int, str, dict]:
    """The outcome of a command in a copy of the world, with one file damaged."""
    copy = world.copied(folder)
    try:
        if path:
            put_damaged(copy.folder / path, damage)
        return outcome(copy, command, capsys)
    except Exception as error:
        raise AssertionError(f"{path}, {damage}, {command[:2]}: {error!r}") from error
    finally:
        os.chdir(world.folder)
        shutil.rmtree(folder)
