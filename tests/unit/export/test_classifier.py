"""An export answers, with what a fresh environment has, and only if it is whole."""

import json
import os
import re
import subprocess
import sys
import venv
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import exported_study
from helpers.snakemake_sandbox import ROOT
from PIL import Image
from safetensors.torch import load_file

import kdpipe
from kdpipe import hashing
from kdpipe.cli.main import main
from kdpipe.data import cards
from kdpipe.data.cache import load_arrays
from kdpipe.errors import DataError, KdpipeError
from kdpipe.models import factory
from kdpipe.runs.store import Store

# All that is there besides kdpipe itself: what ONNX Runtime names as its needs, and pillow.
FRESH = ("onnxruntime", "numpy", "pillow", "flatbuffers", "protobuf", "packaging")


@pytest.fixture(scope="module")
def digits(shared):
    """(images (N, 8, 8) uint8, labels) of the test part."""
    card = cards.load_known_card("digits")
    arrays = load_arrays(card, Store(exported_study.once(shared) / "results"))
    return np.array(arrays["test_images"][:, 0]), arrays["test_labels"]


def by_hand(result: Path, images: np.ndarray) -> np.ndarray:
    """Probabilities by PyTorch, from the files and the words of the config."""
    config = json.loads((result / "export" / "config.json").read_text())
    name, inputs = config["network"]["name"], config["input"]
    network = factory.build_named_model(name, num_classes=10, in_channels=1).eval()
    network.load_state_dict(load_file(result / "export" / "model.safetensors"))
    x = (images[:, None] / 255 - inputs["mean"][0]) / inputs["std"][0]
    with torch.no_grad():
        return network(torch.from_numpy(x).float()).softmax(1).numpy()


def test_it_gives_the_probabilities_that_pytorch_gives(built, digits):
    images, _ = digits
    actual = kdpipe.load(built / "export", "float")(list(images[:40]))
    reference = by_hand(built, images[:40])
    assert isinstance(actual, list)
    for shares, row in zip(actual, reference, strict=True):
        assert list(shares.values()) == sorted(shares.values(), reverse=True)
        assert [shares[str(label)] for label in range(10)] == pytest.approx(list(row), abs=1e-5)


def test_a_path_a_picture_and_an_array_are_one_image(built, digits, tmp_path):
    image = digits[0][0]
    Image.fromarray(image).save(tmp_path / "one.png")
    classify = kdpipe.load(str(built / "export"), "float")
    actual = classify(image)
    assert isinstance(actual, dict)
    picture = Image.open(tmp_path / "one.png")
    for same in (tmp_path / "one.png", str(tmp_path / "one.png"), picture, picture.convert("RGB")):
        assert classify(same) == actual
    assert classify(image[:, :, None]) == actual
    for several in ([image, picture], np.stack([image, image])[..., None]):
        answers = classify(several)
        assert len(answers) == 2 and all(one == pytest.approx(actual) for one in answers)
    assert classify([]) == []


@pytest.mark.parametrize(
    "spoilt",
    [lambda x: x / np.float32(255), lambda x: x.astype(int), lambda x: x[None, :, :, None, None]],
)
def test_an_array_that_may_be_normalised_is_refused(built, digits, spoilt):
    with pytest.raises(DataError, match=r"as uint8, .* not normalized"):
        kdpipe.load(built / "export")(spoilt(digits[0][0]))


def test_int8_is_another_graph(built, digits):
    one, other = (kdpipe.load(built / "export", model)(digits[0][0]) for model in ("float", "int8"))
    assert one != other and one == kdpipe.load(built / "export", "float", threads=2)(digits[0][0])
    with pytest.raises(KdpipeError, match="model 'int4': float, int8"):
        kdpipe.load(built / "export", "int4")


# --- damage


def test_a_config_that_somebody_changed_is_refused(copied):
    """A mean that is not the graph's would be taken for the truth by who uses the weights."""
    path = copied / "export" / "config.json"
    config = json.loads(path.read_text())
    config["input"]["mean"] = [0.5]
    path.write_text(json.dumps(config))
    with pytest.raises(KdpipeError, match=r"config.json is not as kdpipe export has written it"):
        kdpipe.load("export")
    for text in ("", "[]", "{}", json.dumps(hashing.add_checksum({"format": 2}))):
        path.write_text(text)
        with pytest.raises(KdpipeError, match="is not as kdpipe export has written it"):
            kdpipe.load("export")
    path.unlink()
    with pytest.raises(KdpipeError, match=r"export is not an export: it has no config.json"):
        kdpipe.load("export")


def test_a_graph_that_is_another_one_is_refused(copied):
    folder = copied / "export"
    (folder / "model.onnx").write_bytes((folder / "model.int8.onnx").read_bytes())
    with pytest.raises(KdpipeError, match=r"model.onnx is not the file that config.json beside it"):
        kdpipe.load(folder)
    (folder / "model.onnx").unlink()
    with pytest.raises(KdpipeError, match=r"model.onnx cannot be read"):
        kdpipe.load(folder)


# --- elsewhere


@pytest.fixture(scope="module")
def fresh(tmp_path_factory):
    """The python of an environment with kdpipe and nothing that it needs but FRESH."""
    folder = tmp_path_factory.mktemp("fresh")
    venv.create(folder / "env", with_pip=False)
    (site,) = (folder / "env" / "lib").glob("python*/site-packages")
    for name in FRESH:
        files = metadata.distribution(name).files
        assert files is not None
        for top in {file.parts[0] for file in files} - {"..", "__pycache__"}:
            if not (site / top).exists():
                (site / top).symlink_to(metadata.distribution(name).locate_file(top))
    (site / "kdpipe.pth").write_text(f"{ROOT / 'src'}\n")
    return folder / "env" / "bin" / "python"


def ran(python: Path, *command: str, cwd: Path) -> subprocess.CompletedProcess:
    env = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    return subprocess.run(
        [str(python), *command], cwd=cwd, env=env, capture_output=True, text=True, check=False
    )


def test_the_three_lines_of_the_card_run_where_there_is_no_torch(fresh, copied, digits):
    image = digits[0][0]
    Image.fromarray(image).save(copied / "export" / "image.jpg", quality=100, subsampling=0)
    (snippet,) = re.findall(r"```python\n(.*?)```", (copied / "export/README.md").read_text(), re.S)
    assert len([line for line in snippet.splitlines() if line]) == 3
    snippet += "import sys; print(*sys.modules)"
    process = ran(fresh, "-c", snippet, cwd=copied / "export")
    assert process.returncode == 0, process.stderr
    message, modules = process.stdout.splitlines()
    here = kdpipe.load("export")(copied / "export" / "image.jpg")
    assert message == str(here) and len(here) == 10
    assert not {"torch", "snakemake", "pandas", "pydantic", "onnx"} & set(modules.split())
    assert ran(fresh, "-c", "import torch", cwd=copied).returncode == 1


def test_predict_runs_there_too(fresh, copied, digits, capsys):
    Image.fromarray(digits[0][0]).save(copied / "one.png")
    process = ran(fresh, "-m", "kdpipe", "predict", "export", "one.png", cwd=copied)
    assert process.returncode == 0, process.stderr
    assert main(["predict", "export", "one.png"]) == 0
    assert process.stdout == capsys.readouterr().out


# --- the command


def test_predict_says_classes_of_files_and_folders(copied, digits, capsys):
    images, _ = digits
    (copied / "some" / "more").mkdir(parents=True)
    names = ["some/a.png", "some/b.jpg", "some/more/c.png"]
    for name, image in zip(names, images[:3], strict=True):
        Image.fromarray(image).save(copied / name, quality=100)
    (copied / "some" / "notes.txt").write_text("no picture")
    classify = kdpipe.load("export")
    assert main(["predict", "export", "some", "some/a.png", "--json"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["image"] for line in lines] == [*names, "some/a.png"]
    for line in lines:
        assert line["shares"] == classify(line["image"])
        assert line["class"] == max(line["shares"], key=line["shares"].get)
    assert main(["predict", "export", "some", "--model", "int8"]) == 0
    first = capsys.readouterr().out.splitlines()[0]
    best = list(kdpipe.load("export", "int8")("some/a.png").items())[:3]
    assert first == "some/a.png  " + "  ".join(f"{name} {share:.4f}" for name, share in best)


def test_predict_goes_on_after_a_picture_that_it_cannot_use(copied, digits, capsys):
    (copied / "some").mkdir()
    Image.fromarray(digits[0][0]).save(copied / "some" / "good.png")
    Image.fromarray(np.zeros((9, 8), np.uint8)).save(copied / "some" / "large.png")
    (copied / "some" / "bad.png").write_text("no picture")
    assert main(["predict", "export", "some"]) == 2
    captured = capsys.readouterr()
    assert captured.out.startswith("some/good.png  ") and captured.out.count("\n") == 1
    assert "some/bad.png cannot be decoded" in captured.err
    assert "some/large.png has 8 x 9 pixels, and the network was trained on" in captured.err
    assert "Traceback" not in captured.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none", "a.png"], "none is not an export"),
        (["export", "a.png"], "there is no image file or folder a.png"),
        (["export", "results"], "results has no image files"),
    ],
)
def test_predict_says_what_is_wrong(copied, capsys, arguments, message):
    assert main(["predict", *arguments]) == 2
    assert message in capsys.readouterr().err


def test_without_onnxruntime_it_says_what_to_install(built, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert main(["predict", str(built / "export"), "a.png"]) == 2
    assert "pip install onnxruntime" in capsys.readouterr().err
