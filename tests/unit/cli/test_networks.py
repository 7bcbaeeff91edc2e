"""`kdpipe networks`: the names that there are, at the price of a plan."""

import pytest
from helpers import tiny_study

from kdpipe.cli.main import main
from kdpipe.models import registry
from kdpipe.models.families import torchvision

OWN = """from torch import nn


def tiny(num_classes, in_channels):
    layers = (nn.Conv2d(in_channels, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return nn.Sequential(*layers, nn.Linear(4, num_classes))
"""


def get_message(capsys, *arguments):
    assert main(["networks", *arguments]) == 0
    return capsys.readouterr().out


def row(name, cost):
    return [name, f"{cost.parameters:,}", "parameters", f"{cost.multiply_adds:,}", "mult-adds"]


@pytest.mark.parametrize("name", ["wrn10-0.5", "wrn16-2", "densenet-bc40-12", "resnet8x4"])
def test_prices_are_those_of_the_images_of_the_study(name, tmp_path, capsys):
    study = str(tiny_study.write(tmp_path / "study.yaml", tiny_study.study()))
    for arguments, shape in (((study,), (1, 8, 8)), ((), (3, 32, 32))):
        lines = [line.split()[:5] for line in get_message(capsys, *arguments).splitlines()]
        assert row(name, registry.compute_cost(name, shape, 10)) in lines


def test_every_name_of_torchvision_is_there_and_why_it_does_not_fit(capsys):
    text = get_message(capsys)
    assert set(torchvision.load_table()) <= set(text.replace(",", " ").split())
    assert "is torchvision's for 3 x 224 x 224" in text


def test_at_224_they_have_prices_and_those_without_a_linear_end_are_marked(monkeypatch, capsys):
    monkeypatch.setattr("kdpipe.cli.commands.networks.SHAPE", (3, 224, 224))
    lines = {
        line.split()[0]: line for line in get_message(capsys).splitlines() if "mult-adds  " in line
    }
    assert "no linear classifier" in lines["squeezenet1_0"] and "resnet18" not in lines
    assert f"{registry.compute_cost('resnet18', (3, 224, 224), 10).multiply_adds:,}" in get_message(
        capsys
    )


def test_ones_own_has_the_price_of_its_card_or_says_how_to_get_one(tmp_path, capsys):
    (tmp_path / "priced.py").write_text(OWN)  # another test may have imported a "mine"
    content = tiny_study.study(networks={"tiny": {"build": "priced.tiny"}})
    study = str(tiny_study.write(tmp_path / "study.yaml", content))
    assert f"it has no card yet at {tmp_path}" in get_message(capsys, study)
    assert main(["network", study]) == 0
    assert f"{4 * 9 + 4 + 10 * 5} parameters" in get_message(capsys, study)
