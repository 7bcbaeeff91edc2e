"""An export is there whole or not at all, whenever its process is killed."""

import os
from pathlib import Path

import pytest
from helpers import killing

from kdpipe.errors import KdpipeError
from kdpipe.export import exporter

FILES = {"one": b"1", "two": b"22", "three": b"333"}


def whole(target: Path) -> bool:
    return {path.name: path.read_bytes() for path in target.iterdir()} == FILES


def written(target: Path, environment: dict[str, str]) -> int:
    """The exit status of a process that writes it, armed to be killed."""
    if (child := os.fork()) == 0:
        killing.arm(environment)
        exporter.write_folder(target, FILES)
        os._exit(0)
    return os.waitpid(child, 0)[1]


def test_killed_at_any_moment_it_leaves_nothing_half(tmp_path):
    report = tmp_path / "calls"
    assert written(tmp_path / "seen" / "out", {killing.TO: str(report)}) == 0
    calls = report.read_text().splitlines()
    assert sum(line.startswith("rename ") for line in calls) == 1 and len(calls) >= 8
    seen = {True: 0, False: 0}
    for number in range(len(calls)):
        for when in ("before", "after"):
            target = tmp_path / f"{number}-{when}" / "out"
            assert written(target, {killing.AT: f"{number} {when}"}) != 0
            there = target.exists()
            seen[there] += 1
            assert not there or whole(target)
            if not there:
                exporter.write_folder(target, FILES)
                assert whole(target)
                assert [path.name for path in target.parent.iterdir()] == ["out"]
    assert seen[True] and seen[False]


def test_what_is_there_stays(tmp_path):
    target = tmp_path / "out"
    target.mkdir()
    (target / "mine").write_text("mine")
    with pytest.raises(KdpipeError, match="out exists already: remove it, or export to another"):
        exporter.write_folder(target, FILES)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert (target / "mine").read_text() == "mine"


def test_the_folder_of_a_process_at_work_is_left_alone(tmp_path):
    target = tmp_path / "out"
    with exporter._temporary_folder(target) as held:
        (held / "one").write_text("1")
        exporter.write_folder(tmp_path / "out", FILES)
        assert held.exists() and whole(target)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
