"""The programs of docs/how-to/ship.md, as they stand there, give what `kdpipe.load` gives."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from helpers.snakemake_sandbox import ROOT
from onnx import version_converter
from PIL import Image

import kdpipe
from kdpipe import hashing
from kdpipe.export import exporter

PAGE = ROOT / "docs/how-to/ship.md"
HEADERS = {"classify.cpp": "onnxruntime_cxx_api.h", "opencv.cpp": "opencv2/dnn.hpp"}
LIBRARIES = {
    "classify.cpp": ["-lonnxruntime"],
    "opencv.cpp": ["-lopencv_dnn", "-lopencv_imgcodecs", "-lopencv_core"],
}
COMPILE = ["g++", "-std=c++17", "-I/usr/include/opencv4"]


def program(name: str, folder: Path) -> Path:
    """A file that the page shows, its first line its name."""
    blocks = re.findall(r"^```\w+\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    (text,) = [text for text in blocks if re.match(rf"(#|//) {re.escape(name)}\n", text)]
    path = folder / name
    path.write_text(text)
    return path


def run(*command: object, cwd: Path) -> list[str]:
    """What a program prints."""
    process = subprocess.run(list(map(str, command)), cwd=cwd, capture_output=True, text=True)
    assert process.returncode == 0, process.stdout + process.stderr
    return process.stdout.split()


@pytest.fixture
def image(tmp_path):
    """A gray image of 8 x 8 pixels."""
    rng = np.random.default_rng(3)
    path = tmp_path / "image.png"
    Image.fromarray(rng.integers(0, 256, (8, 8), np.uint8)).save(path)
    return path


def top(folder: Path, image: Path, model: str | None = None) -> tuple[str, float]:
    """The most probable class, and its probability."""
    return next(iter(kdpipe.load(folder, model)(image).items()))


def test_in_python(copied, image, tmp_path):
    """As it is, and a larger one that has to be scaled."""
    path = program("classify.py", tmp_path)
    name, probability = run(sys.executable, path, copied / "export", image, cwd=tmp_path)
    expected = top(copied / "export", image)
    assert (name, float(probability)) == (expected[0], pytest.approx(expected[1], abs=1e-6))
    config = json.loads((copied / "export/config.json").read_text())
    config["input"]["steps"] = [{"stretch": 8}]
    (copied / "export/config.json").write_bytes(
        exporter.to_json_bytes(hashing.add_checksum(config))
    )
    Image.open(image).resize((31, 17), Image.Resampling.NEAREST).save(image)
    name, probability = run(sys.executable, path, copied / "export", image, cwd=tmp_path)
    expected = top(copied / "export", image)
    assert (name, float(probability)) == (expected[0], pytest.approx(expected[1], abs=1e-6))


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("npm") is None, reason="npm is not installed")
def test_in_javascript(built, image, tmp_path):
    install = ["npm", "install", "--no-audit", "--no-fund", "--prefix", tmp_path, "onnxruntime-web"]
    if subprocess.run(list(map(str, install)), capture_output=True, cwd=tmp_path).returncode:
        pytest.skip("npm cannot install onnxruntime-web")
    rgba = tmp_path / "image.rgba"
    rgba.write_bytes(Image.open(image).convert("RGBA").tobytes())
    path = program("classify.mjs", tmp_path)
    name, probability = run("node", path, built / "export", rgba, cwd=tmp_path)
    expected = top(built / "export", image)
    assert (name, float(probability)) == (expected[0], pytest.approx(expected[1], abs=1e-5))


@pytest.mark.slow
@pytest.mark.parametrize("name", HEADERS)
def test_in_cpp(name, built, image, tmp_path):
    if shutil.which("g++") is None:
        pytest.skip("there is no C++ compiler")
    probe = subprocess.run(
        [*COMPILE, "-E", "-x", "c++", "-"],
        input=f"#include <{HEADERS[name]}>",
        capture_output=True,
        text=True,
    )
    if probe.returncode:
        pytest.skip(f"{HEADERS[name]} is not installed")
    path = program(name, tmp_path)
    run(*COMPILE, path, *LIBRARIES[name], "-o", tmp_path / "classify", cwd=tmp_path)
    arguments: list[object] = [built / "export/model.onnx"]
    if name == "opencv.cpp":
        graph = version_converter.convert_version(onnx.load(built / "export/model.onnx"), 17)
        onnx.save(graph, tmp_path / "model17.onnx")
        arguments = [tmp_path / "model17.onnx", image]
    else:
        (tmp_path / "pixels").write_bytes(Image.open(image).tobytes())
        arguments += [tmp_path / "pixels", 1, 8, 8]
    (index,) = run(tmp_path / "classify", *arguments, cwd=tmp_path)
    config = json.loads((built / "export/config.json").read_text())
    assert config["classes"][int(index)] == top(built / "export", image, "float")[0]


def test_the_fields_of_the_config_are_in_the_table(built):
    """All that are written, and none that is not."""
    text = PAGE.read_text().split("## config.json, field by field\n")[1]
    rows = re.findall(r"^\| (`[^|]*) \|", text, re.MULTILINE)
    named = {name for row in rows for name in re.findall(r"`(.*?)`", row)} - {"input.steps"}
    config = json.loads((built / "export/config.json").read_text())
    assert named == {*config, "metric", "temperature", "float_layers"}
