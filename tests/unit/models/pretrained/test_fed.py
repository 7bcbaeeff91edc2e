"""What a teacher with weights is fed: by its keys and its card, and said by check and plan."""

import hashlib
import json

import pytest
import torch
import yaml
from helpers import tiny_study
from safetensors.torch import save_file
from torchvision.models import get_model_weights

from kdpipe import hashing
from kdpipe.cli.main import main
from kdpipe.config import load
from kdpipe.errors import KdpipeError, StudyError
from kdpipe.jobs import validate
from kdpipe.models.config import PretrainedTeacher
from kdpipe.models.factory import build_named_model
from kdpipe.models.families import torchvision
from kdpipe.models.pretrained import input_transform, weights_info
from kdpipe.plan import planner

DATA = input_transform.DataShape((1, 8, 8), 10)
GIVEN = {"mean": [0.5], "std": [0.25], "size": 16}


@pytest.fixture
def weights(tmp_path):
    """A file of a network of twelve classes, and its SHA-256."""
    model = build_named_model("wrn10-1", num_classes=12, in_channels=1)
    save_file(model.state_dict(), tmp_path / "w.safetensors")
    return hashlib.sha256((tmp_path / "w.safetensors").read_bytes()).hexdigest()


def study(tmp_path, sha256, **source):
    of_file = {"network": "wrn10-1", "path": str(tmp_path / "w.safetensors"), "sha256": sha256}
    return tiny_study.study(pretrained={"mine": of_file | source}, main={"teachers": ["mine"]})


TEN = {"outputs": 12, "classes": [*range(9), 11]}


def test_torchvisions_own_transforms_are_what_its_cards_say():
    for name in torchvision.load_table():
        for weights in get_model_weights(name):
            if weights.name not in torchvision.load_table()[name].weights:
                continue
            card = weights_info.load_weights_info(
                PretrainedTeacher(network=name, weights=weights.name)
            )
            message = weights.transforms()
            assert card is not None and card.classes == tuple(weights.meta["categories"])
            assert card.size == (*message.crop_size, *message.crop_size)
            assert (list(card.mean), list(card.std)) == (message.mean, message.std)
            assert (card.interpolation, [card.resize]) == (
                message.interpolation.value,
                message.resize_size,
            )


def test_numbers_of_a_card_and_of_the_file():
    source = {"network": "efficientnet_b1", "weights": "IMAGENET1K_V1", "input": {"card": True}}
    names = ["tench", "goldfish", "great white shark"]
    seen = input_transform.DataShape((3, 32, 32), 3, names)
    inputs = input_transform.resolve_input(
        PretrainedTeacher.model_validate(source | {"classes": "by-name"}), seen
    )
    assert inputs is not None
    assert (inputs.shape, inputs.classes, inputs.class_indices) == ((3, 240, 240), 1000, (0, 1, 2))
    assert (inputs.interpolation, inputs.resize, inputs.card_resize) == ("bicubic", None, 256)
    source["input"] |= {"resize": 256, "interpolation": "bilinear"}
    inputs = input_transform.resolve_input(
        PretrainedTeacher.model_validate(source | {"classes": [3, "tench", 5]}), seen
    )
    assert inputs is not None and inputs.class_indices == (3, 0, 5)
    assert (inputs.resize, inputs.interpolation) == (256, "bilinear")
    assert (
        input_transform.resolve_input(
            PretrainedTeacher(network="resnet18", weights="IMAGENET1K_V1"), seen
        )
        is None
    )


def test_it_is_in_the_spec_and_nothing_else_is_renamed(tmp_path, weights):
    plain = {"weights": None, "sha256": weights}
    plan = planner.build_plan(load.validate_study(study(tmp_path, weights), "s"))
    (run,) = (run for run in plan.runs.values() if run.spec.pretrained)
    assert run.spec.network.to_dict().keys() == {"name", "revision", "classes", "channels"}
    assert run.spec.pretrained.to_dict() == plain
    content = study(tmp_path, weights, input=GIVEN, **TEN)
    (other,) = (
        run
        for run in planner.build_plan(load.validate_study(content, "s")).runs.values()
        if run.spec.pretrained
    )
    network = other.spec.network
    assert (network.classes, network.channels) == (10, 1)
    assert network.input.size == [16, 16] and network.input.classes == 12
    validate.validate_spec(other.spec)
    # Twice the side: four times the operations, but for the classifier.
    assert other.cost.multiply_adds == pytest.approx(4 * run.cost.multiply_adds, rel=0.01)
    report = json.loads(hashing.canonical_json(other.spec))
    assert validate.read_spec("run", report).name == other.name
    broken = other.spec.to_dict()
    broken["network"]["input"]["picked"] = [99] * 10
    with pytest.raises(KdpipeError, match="no valid input of a network"):
        validate.validate_spec(validate.read_spec("run", broken))


def get_message(tmp_path, sha256, **source):
    with pytest.raises(StudyError) as error:
        load.validate_study(study(tmp_path, sha256, **source), "s")
    return str(error.value)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({"input": {"mean": [0.5]}}, "give both mean and std"),
        ({"input": {"size": 16}}, "give the mean and std with which the network was trained"),
        ({"input": {"mean": [0.5, 0.5], "std": [0.5, 0.5]}}, "one number per channel"),
        (
            {"input": {"card": True}},
            "mine.input.card: only named weights of torchvision and the Hub",
        ),
        (
            {"input": GIVEN | {"resize": 12}},
            "mine.input.resize: 12 is less than the size of the center crop, 16",
        ),
        ({"outputs": 12}, "mine.outputs: it has 12 classes, but the data have 10"),
        ({"classes": list(range(10))}, "mine.outputs: missing required key"),
        (TEN | {"classes": [0, 1]}, "mine.classes: 2 entries for the 10 classes of the data"),
        (TEN | {"classes": [*range(9), 12]}, "mine.classes: 12 is out of range"),
        (TEN | {"classes": [*range(9), 0]}, "two classes of the data are mapped to its class 0"),
        (TEN | {"classes": [*range(9), "cat"]}, "no metadata with class names; give indices"),
        (TEN | {"input": GIVEN | {"sice": 3}}, "sice"),
        (
            {"network": "resnet18", "input": GIVEN | {"size": 100}},
            "mine.input: network 'resnet18' is torchvision's for 3 x 224 x 224, the images are "
            "1 x 100 x 100",
        ),
    ],
)
def test_what_cannot_be_is_refused_with_its_key(source, message, tmp_path, weights):
    assert message in get_message(tmp_path, weights, **source)


def test_classes_of_torchvision_by_a_wrong_name():
    source = {"network": "resnet18", "weights": "IMAGENET1K_V1"}
    for classes, message in (
        (["tensh"], "no class 'tensh'; did you mean tench"),
        ("by-name", "the card of the data has no class names"),
        ([1000], "1000 is out of range"),
    ):
        with pytest.raises(KdpipeError, match=message):
            input_transform.resolve_input(
                PretrainedTeacher.model_validate(source | {"classes": classes}),
                input_transform.DataShape((3, 9, 9), 1),
            )
    with pytest.raises(KdpipeError, match="outputs: 999, and torchvision's IMAGENET1K_V1 has 1000"):
        input_transform.resolve_input(
            PretrainedTeacher.model_validate(source | {"outputs": 999}),
            input_transform.DataShape((3, 9, 9), 999),
        )


def test_check_and_plan_say_what_it_is_fed(tmp_path, weights, capsys):
    path = tmp_path / "study.yaml"
    for command in (["check"], ["plan", "--results", str(tmp_path / "r")]):
        path.write_text(yaml.safe_dump(study(tmp_path, weights, input=GIVEN, **TEN)))
        assert main([command[0], str(path), *command[1:]]) == 0
        out = capsys.readouterr().out
        assert (
            "pretrained.mine is fed the crop scaled to 16 x 16 (bilinear, antialiased), grey, mean "
            "0.5, std 0.25 (the study); 10 of its 12 classes are asked for"
        ) in out
        assert "nothing says" not in out
    path.write_text(yaml.safe_dump(study(tmp_path, weights)))
    assert main(["plan", str(path), "--results", str(tmp_path / "r")]) == 0
    message = capsys.readouterr().out
    assert "note: pretrained.mine: its weights do not specify their input" in message
    assert "so it gets the students' images" in message


def test_a_network_of_ones_own_is_built_for_its_teachers_images_alone(tmp_path, capsys):
    """One that takes no others is never shown the study's, unless it is named for them."""
    (tmp_path / "far_sighted.py").write_text(
        "from torch import nn\n\n\n"
        "def large(num_classes, in_channels):\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(in_channels * 256, num_classes))\n"
    )
    state = {"1.weight": torch.randn(12, 3 * 256), "1.bias": torch.zeros(12)}
    save_file(state, tmp_path / "w.safetensors")
    sha256 = hashlib.sha256((tmp_path / "w.safetensors").read_bytes()).hexdigest()
    inputs = GIVEN | {"mean": [0.5] * 3, "std": [0.25] * 3}
    content = study(tmp_path, sha256, network="large", input=inputs, **TEN)
    content["networks"] = {"large": {"build": "far_sighted.large"}}
    path = tiny_study.write(tmp_path / "study.yaml", content)
    assert main(["check", str(path)]) == 2
    assert "large-3x16x16-12.network.json" in capsys.readouterr().err
    assert main(["network", str(path)]) == 0
    assert [card.name for card in tmp_path.glob("*.network.json")] == [
        "large-3x16x16-12.network.json"
    ]
    assert main(["check", str(path)]) == 0
    content["experiments"][0]["students"].append("large")
    tiny_study.write(path, content)
    capsys.readouterr()
    assert main(["check", str(path)]) == 2
    assert "large-1x8x8-10.network.json" in capsys.readouterr().err


def test_a_network_of_ones_own_that_is_trained_from_weights_is_built_for_its_own_images(
    tmp_path, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "near_sighted.py").write_text(
        "from torch import nn\n\n\n"
        "def large(num_classes, in_channels):\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(in_channels * 256, num_classes))\n"
    )
    state = {"1.weight": torch.randn(12, 3 * 256), "1.bias": torch.zeros(12)}
    save_file(state, tmp_path / "w.safetensors")
    sha256 = hashlib.sha256((tmp_path / "w.safetensors").read_bytes()).hexdigest()
    start = {"network": "large", "path": "w.safetensors", "sha256": sha256, "new": ["1.*"]}
    start["input"] = GIVEN | {"mean": [0.5] * 3, "std": [0.25] * 3}
    content = tiny_study.study(
        starts={"warm": start},
        networks={"large": {"build": "near_sighted.large"}},
        main={"teachers": ["warm"]},
        code=".",
    )
    path = tiny_study.write(tmp_path / "study.yaml", content)
    assert main(["network", str(path)]) == 0
    cards = [card.name for card in tmp_path.glob("*.network.json")]
    assert cards == ["large-3x16x16-10.network.json"]
    assert main(["check", str(path)]) == 0
    assert "starts.warm is fed the crop scaled to 16 x 16" in capsys.readouterr().out
    content["experiments"][0]["students"].append("large")
    tiny_study.write(path, content)
    assert main(["check", str(path)]) == 2
    assert "large-1x8x8-10.network.json" in capsys.readouterr().err


def test_an_ensemble_of_pretrained_teachers_has_one_of_each(tmp_path, weights):
    content = study(tmp_path, weights, input=GIVEN, **TEN)
    content["ensembles"] = {"both": {"networks": ["mine"], "copies": 2}}
    with pytest.raises(StudyError, match="mine is pretrained, so it has only the stop full and no"):
        load.validate_study(content, "s")
    feeding = input_transform.resolve_inputs({}, DATA)
    assert input_transform.list_custom_inputs(["a"], feeding, [], DATA) == [("a", (1, 8, 8), 10)]
