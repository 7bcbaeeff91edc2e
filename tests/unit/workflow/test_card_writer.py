"""`kdpipe check STUDY --write` writes all cards, as the commands of each kind do."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from helpers import synthetic_data, tiny_study
from PIL import Image

from kdpipe.cli.main import main

NETWORK = """
from torch import nn

def small(num_classes, in_channels):
    return nn.Sequential(nn.Conv2d(in_channels, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
                         nn.Linear(4, num_classes))
"""
TERM = """
from kdpipe.losses.base import LossTerm, to_float32
from kdpipe.pydantic_base import StrictModel

class Keys(StrictModel):
    power: int = 2

def loss(student, teacher, labels, keys):
    gap = to_float32(student.logits) - to_float32(teacher.logits).detach()
    return gap.abs().pow(keys["power"]).mean()

TERM = LossTerm(title="gap", short_title="G", part="gap", revision=1, keys=Keys, loss=loss)
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A study of one's own images, network and term, without any card."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    for part, count in (("train", 30), ("test", 12)):
        pixels, labels = synthetic_data.images(count, 3, (1, 12, 12), count)
        for i, (image, label) in enumerate(zip(pixels, labels, strict=True)):
            path = Path("mine", part, f"class-{label}", f"{i}.png")
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image[0]).save(path)
    Path("nets39.py").write_text(NETWORK)
    Path("terms39.py").write_text(TERM)
    content = tiny_study.study(
        networks={"small": {"build": "nets39.small"}},
        methods={"mine": {"term": "terms39.TERM", "term_weight": 0.5, "kd_weight": 0.0,
                          "ce_weight": 1.0}},
        main={"students": ["small"], "methods": ["mine"]},
    )  # fmt: skip
    content["data"] = {"name": "mine", "path": "mine", "validation": 6, "pad": 1}
    Path("study.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    yield tmp_path
    forget_modules()


def forget_modules() -> None:
    """Let the study's modules be imported again, as in a new process."""
    for name in ("nets39", "terms39"):
        sys.modules.pop(name, None)


def cards() -> dict[str, bytes]:
    paths = [path for path in Path().glob("*.json") if "files.json" not in path.name]
    return {path.name: path.read_bytes() for path in paths}


def test_one_command_writes_what_three_do(folder, capsys):
    assert main(["check", "study.yaml"]) == 2
    message = capsys.readouterr().err
    assert "kdpipe check STUDY --write" in message and not cards()
    assert main(["check", "study.yaml", "--write"]) == 0
    report = capsys.readouterr().out
    assert "mine.card.json: 30 training and 12 test images" in report
    assert "nets39.small for 1 x 12 x 12 in 3 classes" in report and "gap, column gap" in report
    assert "study.yaml: no errors; 3 runs" in report
    written = cards()
    assert len(written) == 3
    for path in written:
        Path(path).unlink()
    for command in (["data", "mine"], ["network", "study.yaml"], ["term", "study.yaml"]):
        forget_modules()
        assert main(command) == 0
    assert cards() == written
    forget_modules()
    capsys.readouterr()
    assert main(["check", "study.yaml", "--write"]) == 0
    assert "mine.card.json: unchanged" in capsys.readouterr().out and cards() == written


def test_images_that_have_changed_get_a_card_with_the_options_of_the_old_one(folder, capsys):
    assert main(["data", "mine", "--resize", "8"]) == 0
    noise = np.full((12, 12), 7, np.uint8)
    Image.fromarray(noise).save("mine/train/class-0/new.png")
    assert main(["check", "study.yaml", "--write"]) == 0
    assert "31 training and 12 test images of 1 x 8 x 8" in capsys.readouterr().out
    assert json.loads(Path("mine.card.json").read_text())["made"]["resize"] == 8


def test_without_a_card_to_write_it_only_checks(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    tiny_study.write(Path("study.yaml"), tiny_study.STUDY)
    assert main(["check", "study.yaml", "--write"]) == 0
    assert capsys.readouterr().out.startswith("study.yaml: no errors; ")


@pytest.mark.parametrize("data", [{"name": "my data", "path": "x"}, {"name": "x", "path": ""}])
def test_a_wrong_section_is_one_message(tmp_path, monkeypatch, capsys, data):
    monkeypatch.chdir(tmp_path)
    Path("study.yaml").write_text(yaml.safe_dump({"study": "mine", "data": data}))
    assert main(["check", "study.yaml", "--write"]) == 2
    assert "data" in capsys.readouterr().err


def test_options_of_a_card_stand_in_the_study(tmp_path, monkeypatch, capsys):
    """Every message that asks for the card repeats them, and a card of other ones is refused."""
    monkeypatch.chdir(tmp_path)
    synthetic_data.photographs(Path("all"), ["cat", "dog"], 30, 10)
    Path("all/train").rename("pets")
    content = tiny_study.study()
    options = {"resize": 16, "test_share": 0.3}
    content["data"] = {"name": "pets", "path": "pets", "validation": 4, "card_options": options}
    Path("study.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    assert main(["check", "study.yaml"]) == 2
    assert "--resize 16 --test-share 0.3" in capsys.readouterr().err
    assert main(["check", "study.yaml", "--write"]) == 0
    made = json.loads(Path("pets.card.json").read_text())["made"]
    assert (made["resize"], made["test_share"]) == (16, 0.3)
    content["data"]["card_options"] = options | {"resize": 24}
    Path("study.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    assert main(["check", "study.yaml"]) == 2
    assert "made with resize 16, not 24 as in `card_options`" in capsys.readouterr().err
    assert main(["check", "study.yaml", "--write"]) == 0
    assert json.loads(Path("pets.card.json").read_text())["made"]["resize"] == 24


def test_a_copied_study_says_in_one_message_what_it_lacks(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    content = tiny_study.study()
    content["data"] = {"name": "pets", "path": "pets", "validation": 4}
    content["starts"] = {"tuned": {"network": "wrn10-0.5", "path": "w.safetensors",
                                   "sha256": "ab" * 32}}  # fmt: skip
    Path("study.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    assert main(["check", "study.yaml"]) == 2
    message = capsys.readouterr().err
    assert "the images of 'pets' and their card are not there" in message
    assert "also not there, as of a copied study: starts.tuned.path" in message
