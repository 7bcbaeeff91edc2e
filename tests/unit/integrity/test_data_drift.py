"""What a study names beside its file is compared: cards that were changed, images that are gone."""

import json
import shutil
import sys

import pytest
from helpers import every_file

from kdpipe import hashing
from kdpipe.cli.main import main


@pytest.fixture
def world(tmp_path, monkeypatch):
    """The study with its cards, its images prepared; nothing was trained."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    result = every_file.carded(tmp_path / "world")
    yield result
    sys.modules.pop("own_code", None)


def prepare(world) -> None:
    for command in every_file.commands(world.plan())["prepare"]:
        every_file.kdpipe(*command)


def reseal(world, **keys) -> None:
    path = world.folder / "mine.card.json"
    path.write_text(json.dumps(hashing.add_checksum(json.loads(path.read_bytes()) | keys)))


CLASSES = ["a", "b", "c", "d"]


@pytest.mark.parametrize("command", [["check"], ["plan"], ["report"], ["archive"]])
@pytest.mark.parametrize(
    ("keys", "message"),
    [({"test": 19}, "test 19, "), ({"class_names": CLASSES}, "class_names ")],
)
def test_a_card_that_is_sealed_again_is_refused(world, capsys, command, keys, message):
    prepare(world)
    reseal(world, **keys)
    if command[0] in ("report", "archive"):  # where there may be no images
        shutil.rmtree(world.folder / "mine")
    assert main([*command, "study.yaml"]) == 2
    error = capsys.readouterr().err
    assert "mine.card.json " in error and message in error
    assert f"kdpipe data {world.folder}" in error


def test_a_class_that_is_called_otherwise_than_in_finished_runs_is_said_by_check(world, capsys):
    """Not by the report alone, at the end of everything."""
    prepare(world)
    for part in ("train", "test"):
        folder = world.folder / "mine" / part
        (folder / "class-0").rename(folder / "aaa")
    every_file.kdpipe("data", "mine")
    capsys.readouterr()
    assert main(["check", "study.yaml"]) == 2
    message = capsys.readouterr().err
    assert message.startswith("kdpipe: study.yaml: 1 error") and "aaa" in message


def test_a_card_of_which_less_was_known_is_none_that_was_changed(world, capsys):
    prepare(world)
    (path,) = world.store.root.glob("data/mine-*/card.json")
    noted = json.loads(path.read_bytes())
    path.write_text(json.dumps(hashing.add_checksum(noted | {"counts": [], "class_names": []})))
    assert main(["report", "study.yaml"]) == 2
    assert "says of its images" not in capsys.readouterr().err


@pytest.mark.parametrize("verb", ["check", "plan"])
def test_images_that_are_gone_and_not_prepared_are_said(world, capsys, verb):
    folder = world.folder / "mine"
    gone = f"data.path: there is no {folder}, and its images are not prepared in results"
    assert main([verb, "study.yaml"]) == 0 and gone not in capsys.readouterr().out
    prepare(world)
    folder.rename(world.folder / "elsewhere")
    assert main([verb, "study.yaml"]) == 0 and gone not in capsys.readouterr().out
    shutil.rmtree(next(world.store.root.glob("data/mine-*")))
    assert main([verb, "study.yaml"]) == 0 and gone in capsys.readouterr().out


@pytest.mark.parametrize("damage", [None, b"", b"{}"])
def test_the_card_of_prepared_images_is_not_made_by_kdpipe_data(world, capsys, damage):
    prepare(world)
    (path,) = world.store.root.glob("data/mine-*/card.json")
    path.unlink()
    if damage is not None:
        path.write_bytes(damage)
    train = every_file.commands(world.plan())["train"][0]
    assert main(train) == 2
    error = capsys.readouterr().err
    assert f"{path.relative_to(world.folder)} is missing or damaged: remove the folder" in error
    assert "kdpipe data" not in error
    shutil.rmtree(path.parent)  # as it advises, and what a start then does
    prepare(world)
    assert main(train) == 0
