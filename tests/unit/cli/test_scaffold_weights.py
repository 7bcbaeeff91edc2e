"""`kdpipe init` beside weights: a second study that begins from them, and the first by its size."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from helpers import synthetic_data
from PIL import Image
from safetensors.torch import save_file
from torchvision.models import get_model

from kdpipe.cli import scaffold, scaffold_weights
from kdpipe.cli.main import main
from kdpipe.config import load
from kdpipe.data.cards import DatasetCard
from kdpipe.models import factory
from kdpipe.models.pretrained import local_weights
from kdpipe.plan import estimate, planner
from kdpipe.report import page
from kdpipe.workflow import machine_benchmark


@pytest.fixture(autouse=True)
def machine(tmp_path, monkeypatch):
    """Two cores that take a millisecond a step, caches without weights, and photographs."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(scaffold, "time_step", lambda *_: 0.001)
    monkeypatch.setattr(scaffold_weights, "time_weights_step", lambda *_: 0.1)
    monkeypatch.setattr(estimate, "count_cores", lambda: 2)
    monkeypatch.setattr(machine_benchmark, "measure_missing", lambda *_: None)
    monkeypatch.setenv(estimate.CACHE_ENV, str(tmp_path / "cache"))
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    monkeypatch.setattr(local_weights, "list_caches", lambda: [tmp_path / "hub", tmp_path / "hf"])
    synthetic_data.photographs(Path("pets"), ["cat", "dog"], 40, 10)


def test_without_weights_init_says_what_to_fetch(capsys):
    assert main(["init", "pets"]) == 0
    out = capsys.readouterr().out
    assert (
        "usually much better with as few as 40 training images, but this machine has no weights"
        in out
    )
    assert not Path("pets-weights.yaml").exists()


def test_a_file_is_recognized_and_gets_a_study_of_its_own(capsys):
    torch.save(
        factory.build_named_model("wrn10-1", num_classes=7, in_channels=3).state_dict(), "mine.pt"
    )
    for path in sorted(Path("pets/train/dog").iterdir())[6:]:
        path.unlink()
    assert main(["init", "pets", "--weights", "mine.pt"]) == 0
    out = capsys.readouterr().out
    for name in ("pets.yaml", "pets-weights.yaml"):  # a class has three times the other's images
        assert load.load_study(name).metric == "balanced"
    assert "wrn10-1 (mine.pt, " in out and "100 ms for a step of 32" in out
    assert "next: kdpipe run pets-weights.yaml" in out and "or:   kdpipe run pets.yaml" in out
    study = load.load_study("pets-weights.yaml")
    assert study.starts["wrn10-1-tuned"].network == "wrn10-1"
    kinds = {run.spec.network.name for run in planner.build_plan(study).runs.values()}
    assert kinds == {"wrn10-1-tuned"}
    assert main(["check", "pets-weights.yaml"]) == 0  # its card is there, of its own size
    assert "new, at random" in capsys.readouterr().out


@pytest.mark.parametrize("kind", ["digits", "grey", "npz"])
def test_images_that_are_no_color_folder_are_scaled_by_the_network_itself(kind, capsys):
    """A resnet18 of torchvision's names has no metadata: ImageNet's mean and std are its own."""
    save_file(get_model("resnet18").state_dict(), "some.safetensors")
    what = kind
    if kind == "grey":
        for file in Path("pets").rglob("*.*"):
            Image.open(file).convert("L").save(file)
        what = "pets"
    if kind == "npz":
        what, random = "small.npz", np.random.default_rng(0)
        np.savez(
            what,
            **{
                f"{part}_{name}": values
                for part, count in (("train", 60), ("test", 20))
                for name, values in (
                    ("images", random.integers(0, 256, (count, 16, 16, 3), dtype=np.uint8)),
                    ("labels", np.arange(count) % 2),
                )
            },
        )
    assert main(["init", what, "--weights", "some.safetensors"]) == 0
    stem = Path(what).stem
    assert f"next: kdpipe run {stem}-weights.yaml" in capsys.readouterr().out
    study, scratch = (load.load_study(f"{stem}{end}.yaml") for end in ("-weights", ""))
    assert study.starts["resnet18-tuned"].input.size == 224
    if kind == "grey":  # stored in the size of the weights, since there is more to see in them
        assert (study.data.card_options.resize, scratch.data.card_options.resize) == (224, 28)
    else:
        assert study.data == scratch.data
    assert main(["check", f"{stem}-weights.yaml"]) == 0
    out = capsys.readouterr().out
    assert "is fed the crop scaled to 224 x 224 (bilinear, antialiased)" in out
    assert "mean 0.485 0.456 0.406, std 0.229 0.224 0.225" in out and "fc.weight" in out


def write_resnet18():
    """Write weights of a network whose normalization is known, and return its file."""
    save_file(get_model("resnet18").state_dict(), "some.safetensors")
    return "some.safetensors"


def test_large_images_of_an_array_are_not_made_smaller_before_the_network_scales_them():
    """From scratch they are, or it takes too long; weights are for 224 pixels."""
    arrays, random = {}, np.random.default_rng(0)
    for part, count in (("train", 60), ("test", 20)):
        arrays[f"{part}_images"] = random.integers(0, 256, (count, 96, 96, 3), np.uint8)
        arrays[f"{part}_labels"] = np.arange(count) % 2
    np.savez("large.npz", **arrays)
    assert main(["init", "large.npz", "--weights", write_resnet18()]) == 0
    study, scratch = (load.load_study(f"large{end}.yaml") for end in ("-weights", ""))
    assert scratch.data.resize is not None and scratch.data.resize < 96
    assert study.data.resize is None and study.data.pad == 12


def test_the_time_is_that_of_the_images_that_the_study_trains_on(capsys, monkeypatch):
    monkeypatch.setattr(scaffold, "time_step", lambda *_: 0.02)
    assert main(["init", "fashion-mnist", "--weights", write_resnet18()]) == 0
    study = load.load_study("fashion-mnist-weights.yaml")
    size = study.data.train_size
    assert isinstance(size, int) and size < 55_000
    steps = study.recipe.epochs * -(-size // 32)
    assert study.recipe.epochs == min(max(-(-300 // -(-size // 32)), 5), 30)
    # 3 seeds on 2 cores: on labels, and taught, with a third of a step for the teacher.
    seconds = 1.5 * (steps * (0.1 + 0.1 + 0.1 / 3) + 2 * scaffold.STARTUP_SECONDS)
    text = f"{seconds / 60:,.0f} minutes" if seconds < 7200 else f"{seconds / 3600:,.1f} hours"
    assert f"taught by resnet18: about {text}" in capsys.readouterr().out


def test_weights_of_unknown_normalization_get_no_study_of_such_images(capsys):
    torch.save(
        factory.build_named_model("wrn10-1", num_classes=7, in_channels=3).state_dict(), "mine.pt"
    )
    assert main(["init", "digits", "--weights", "mine.pt"]) == 0
    out = capsys.readouterr().out
    assert "weights: the mean and std that wrn10-1 was trained with are not known" in out
    assert not Path("digits-weights.yaml").exists()


def test_a_file_of_another_network_is_refused_before_anything_is_written(capsys):
    torch.save({"weight": torch.zeros(3, 3)}, "other.pt")
    assert main(["init", "pets", "--weights", "other.pt"]) == 2
    assert "its arrays fit no known network" in capsys.readouterr().err
    assert not list(Path().glob("pets*.yaml"))


def test_weights_in_torchvision_s_cache_are_known_by_the_digits_of_their_name(tmp_path):
    (tmp_path / "hub" / "checkpoints").mkdir(parents=True)
    for name in ("mobilenet_v3_small-047dcff4.pth", "mine-00000000.pth", "other.pth"):
        (tmp_path / "hub" / "checkpoints" / name).write_bytes(b"0")
    (found,) = local_weights.find_local_weights()
    assert (found.network, found.weights, found.side) == (
        "mobilenet_v3_small",
        "IMAGENET1K_V1",
        224,
    )


def test_a_folder_in_timm_s_format_gives_builder_size_and_normalization(tmp_path):
    folder = tmp_path / "tuned"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(b"0")
    config = {"input_size": [3, 160, 160], "mean": [0.5] * 3, "std": [0.5] * 3, "num_classes": 10}
    config |= {"interpolation": "bilinear", "crop_pct": 0.95}
    text = json.dumps({"architecture": "test_resnet", "num_classes": 10, "pretrained_cfg": config})
    (folder / "config.json").write_text(text)
    found = local_weights.recognize_weights(folder)
    assert (found.build, found.side) == ("timm.models.test_resnet", 160)
    card = DatasetCard("pets", "", "pets", (3, 32, 32), 2, 40, 10, "ab" * 32, made={"resize": 32})
    source = scaffold.DataSource("pets", Path("pets"))
    text = scaffold_weights.format_study(source, Path("w.yaml"), card, found, found)
    content = yaml.safe_load(text)
    assert content["networks"] == {"test-resnet-timm": {"build": "timm.models.test_resnet"}}
    assert content["data"]["card_options"] == {"resize": 160} and content["data"]["pad"] == 16
    assert content["data"]["mean"] == [0.5, 0.5, 0.5]


def test_the_largest_that_fits_the_time_teaches_the_cheapest():
    a, b, c = (scaffold_weights.Candidate(None, seconds) for seconds in (0.1, 0.2, 9.0))  # pyright: ignore
    assert scaffold_weights._choose_pair([c, a, b], 34, 5) == (b, a)
    assert scaffold_weights._choose_pair([c], 34, 0.1) == (c, c)


def test_the_size_is_named_as_a_choice_with_the_line_that_makes_it_larger(capsys, monkeypatch):
    monkeypatch.setattr(scaffold, "IMAGE_SIDES", (24,))
    assert main(["init", "pets", "--minutes", "1"]) == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("size: ")]
    assert "scaled to 24 x 24; init chose this size to fit the time" in line
    command = line.rpartition(": ")[2].split()
    assert command[:4] == ["kdpipe", "init", "pets", "--side"]
    assert main(command[1:]) == 0
    assert load.load_study(command[-1]).data.card.endswith(f"pets-{command[4]}.card.json")


def test_a_study_from_scratch_on_few_photographs_says_so_on_its_page(capsys):
    assert main(["init", "pets"]) == 0
    plan = planner.build_plan(load.load_study("pets.yaml"))
    assert "started at random, on 34 training images" in page.describe_scratch(plan)
