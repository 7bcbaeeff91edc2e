"""Images that are replaced after their card was made are found out, cheaply and by content."""

import json
import os

import pytest
import yaml
from helpers import synthetic_data, tiny_study
from PIL import Image

from kdpipe import hashing
from kdpipe.cli.main import main
from kdpipe.data import cards
from kdpipe.data.imagefolder import custom_card
from kdpipe.data.imagefolder.custom_card import make_card
from kdpipe.workflow.load import load_rule_context

SHAPE = (3, 12, 12)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = synthetic_data.class_folders(
        tmp_path / "mine", synthetic_data.arrays(SHAPE, 4, 48, 16)
    )
    make_card(folder, None, None)
    return folder


def get_message(folder):
    store = cards.get_card_path(folder)
    return custom_card.diff_card(store, cards.read_card(store), folder)


def replace(file):
    """By another image of the same size and time."""
    Image.new("RGB", SHAPE[1:], "red").save(file)


def test_files_that_are_as_they_were_are_not_read(folder, monkeypatch):
    monkeypatch.setattr(custom_card, "_reread_images", lambda *_: pytest.fail("it was read"))
    assert get_message(folder) is None


def test_a_replaced_image_is_named(folder):
    replace(folder / "train" / "class-1" / "00005.png")
    message = get_message(folder)
    assert "1 changed: train/class-1/00005.png" in message
    assert f"kdpipe data {folder} --name mine" in message


def test_images_that_came_and_went_are_counted(folder):
    replace(folder / "train" / "class-1" / "new.png")
    (folder / "train" / "class-0" / "00000.png").unlink()
    message = get_message(folder)
    assert "1 came, 1 went: train/class-0/00000.png, train/class-1/new.png" in message


def test_a_copy_with_other_times_is_read_once(folder, monkeypatch):
    for file in folder.rglob("*.png"):
        os.utime(file, (1, 1))
    assert get_message(folder) is None
    monkeypatch.setattr(custom_card, "_reread_images", lambda *_: pytest.fail("it was read again"))
    assert get_message(folder) is None


def test_a_card_from_before_is_compared_by_content(folder):
    custom_card.get_snapshot_path(cards.get_card_path(folder)).unlink()
    assert get_message(folder) is None
    custom_card.get_snapshot_path(cards.get_card_path(folder)).unlink()
    replace(folder / "train" / "class-1" / "00005.png")
    assert "do not match its card, and finished" in get_message(folder)


def test_a_folder_that_is_gone_is_not_missed(folder, tmp_path):
    folder.rename(tmp_path / "away")
    assert get_message(folder) is None


def test_of_images_that_stream_times_are_said(folder):
    make_card(folder, None, None, stream=16)
    assert get_message(folder) is None
    file = folder / "train" / "class-1" / "00005.png"
    os.utime(file, (1, 1))
    assert "pixels of streamed images are not compared" in get_message(folder)
    replace(file)
    assert "do not match its card" in get_message(folder)


def test_check_status_and_a_start_say_it(folder, tmp_path, capsys):
    content = tiny_study.study(device="cpu")
    content["data"] = {"name": "mine", "path": "mine", "validation": 8}
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(content))
    assert main(["check", "study.yaml"]) == 0
    replace(folder / "train" / "class-1" / "00005.png")
    capsys.readouterr()
    assert main(["check", "study.yaml"]) == 2
    assert "study.yaml: 1 error\n  data.path: the images in" in capsys.readouterr().err
    assert main(["status", "study.yaml"]) == 0
    assert "data.path: the images in" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        load_rule_context({}, [], tmp_path / "study.yaml", is_head=True)
    assert "data.path: the images in" in capsys.readouterr().err
    assert load_rule_context(
        {}, [], tmp_path / "study.yaml", is_head=False
    )  # a job plans again and looks at none


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("test", 17),
        ("train", 47),
        ("classes", 5),
        ("counts", [11, 13, 12, 12]),
        ("class_names", ["a", "b", "c", "d"]),
        ("mean", [0.1, 0.2, 0.3]),
        ("std", [0.1, 0.2, 0.3]),
    ],
)
def test_a_card_that_is_changed_and_sealed_again_is_compared_with_its_images(folder, key, value):
    store = cards.get_card_path(folder)
    facts = json.loads(store.read_bytes()) | {key: value}
    if key in ("train", "classes"):  # else the card does not agree with itself
        facts |= {"counts": [], "class_names": []}
    store.write_text(json.dumps(hashing.add_checksum(facts)))
    message = get_message(folder)
    assert message is not None and f"{store} has {key} " in message
    assert "its checksum updated" in message and f"kdpipe data {folder} --name mine" in message


def test_a_list_of_files_from_before_cards_were_noted_in_it_costs_one_reading(folder, monkeypatch):
    path = custom_card.get_snapshot_path(cards.get_card_path(folder))
    noted = json.loads(path.read_bytes())
    path.write_text(json.dumps({key: noted[key] for key in ("card", "files")}))
    assert get_message(folder) is None
    assert json.loads(path.read_bytes()) == noted
