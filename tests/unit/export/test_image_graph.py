"""The graph with the resize inside against Pillow, and pixels of other code against ours."""

import pickle
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from PIL import Image
from torch import nn

from kdpipe.errors import KdpipeError
from kdpipe.export import check_pixels, classifier, image_graph, model_card, onnx_graph

SIDE = 16
SIZES = [(40, 31), (64, 48), (16, 16), (100, 17), (9, 12), (300, 200), (1, 1)]  # width, height


STEPS = {
    "stretch": [{"stretch": SIDE}],
    "crop": [{"shorter": 19}, {"centre": SIDE}],
    "stretch, scale": [{"stretch": 37}, {"scale": SIDE}],
    "crop, scale": [{"shorter": 29}, {"centre": 24}, {"scale": SIDE}],
}


def build(channels, steps=STEPS["stretch"]):
    """An export in memory: a graph, its config and its classifier."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(channels * SIDE**2, 3))
    mean, std = (np.full(channels, value, np.float32) for value in (0.5, 0.25))
    graph = onnx_graph.to_onnx("it", network, mean, std, (channels, SIDE, SIDE))
    config = {
        "classes": ["a", "b", "c"],
        "input": {
            "channels": channels, "height": SIDE, "width": SIDE, "by_mode_alone": False,
            "mean": mean.tolist(), "std": std.tolist(), "steps": steps,
        },
    }  # fmt: skip
    return graph, config, classifier.Classifier(config, classifier.create_session(graph), 1.5)


def write_images(folder: Path, channels: int) -> list[Path]:
    rng = np.random.default_rng(0)
    paths = []
    for i, (width, height) in enumerate(SIZES):
        pixels = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        paths.append(folder / f"{i}.png")
        Image.fromarray(pixels).convert("RGB" if channels == 3 else "L").save(paths[-1])
    return paths


@pytest.mark.parametrize("steps", STEPS.values(), ids=STEPS)
@pytest.mark.parametrize("channels", [3, 1])
def test_its_pixels_are_pillow_s_and_its_probabilities_ours(channels, steps, tmp_path):
    graph, config, classify = build(channels, steps)
    assert image_graph.has_image_graph(config["input"])
    whole = image_graph.build_image_graph(graph, config["input"], 1.5)
    paths = write_images(tmp_path, channels)
    model = onnx.load_from_string(whole)
    pixels = onnx.helper.make_tensor_value_info("pixels", onnx.TensorProto.UINT8, None)
    model.graph.output.append(pixels)
    session = classifier.create_session(model.SerializeToString())
    for path in paths:
        expected = classify.preprocess(path)
        if steps == STEPS["stretch"]:
            with Image.open(path) as picture:
                pillow = np.asarray(picture.resize((SIDE, SIDE), Image.Resampling.BILINEAR))
            pillow = pillow[None] if channels == 1 else pillow.transpose(2, 0, 1)
            assert np.array_equal(expected, pillow)
        with Image.open(path) as picture:
            _, actual = session.run(None, {"image": np.asarray(picture)})
        differences = np.abs(actual[0].astype(int) - expected)
        if "scale" in steps[-1]:  # float64 here, float32 there
            assert differences.max() <= 1 and differences.mean() < 0.01, path
        else:
            assert not differences.any(), path
    facts = image_graph.compare_image_graph(whole, classify, paths)
    assert facts["images"] == len(SIZES) and facts["other_classes"] == 0
    assert facts["apart"] < (0.005 if "scale" in steps[-1] else 1e-6)


def test_images_of_one_size_have_no_such_graph():
    for steps in ([{"as_it_is": [8, 8]}], [{"as_it_is": [8, 8]}, {"scale": 4}], []):
        assert not image_graph.has_image_graph({"steps": steps})


def test_pixels_of_other_code_agree_or_say_by_how_much_they_do_not(tmp_path):
    _, _, classify = build(3)
    paths = write_images(tmp_path, 3)
    ours = np.stack([classify.preprocess(path) for path in paths])
    file = tmp_path / "mine.npy"
    np.save(file, ours)
    assert check_pixels.compare_pixels(classify, paths, file)[1]
    np.save(file, ours.transpose(0, 2, 3, 1))  # as images are stored
    assert check_pixels.compare_pixels(classify, paths, file)[1]
    np.save(file, ((ours / 255 - 0.5) / 0.25).astype(np.float32))  # as a network is given them
    assert check_pixels.compare_pixels(classify, paths, file)[1]
    plain = []  # without antialiasing
    for path in paths:
        with Image.open(path) as picture:
            plain.append(np.asarray(picture.resize((SIDE, SIDE), Image.Resampling.NEAREST)))
    np.save(file, np.stack(plain))
    lines, agrees = check_pixels.compare_pixels(classify, paths, file)
    assert not agrees and "does not agree" in lines[-1]
    assert any("0.png: " in line and "levels apart" in line for line in lines)
    assert not any("2.png: " in line for line in lines)  # it has the size already


def test_an_array_of_another_shape_or_with_objects_is_refused(tmp_path):
    _, _, classify = build(3)
    paths = write_images(tmp_path, 3)
    file = tmp_path / "mine.npy"
    np.save(file, np.zeros((2, 3, SIDE, SIDE), np.uint8))
    with pytest.raises(KdpipeError, match=r"expected \(7, 3, 16, 16\), uint8"):
        check_pixels.compare_pixels(classify, paths, file)
    np.save(file, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(KdpipeError, match="with the pixels of 7 images"):
        check_pixels.compare_pixels(classify, paths, file)
    with open(file, "wb") as stream:
        np.savez(stream, np.zeros((7, 3, SIDE, SIDE), np.uint8))
    with pytest.raises(KdpipeError, match=r"not a \.npy, as numpy.save writes it"):
        check_pixels.compare_pixels(classify, paths, file)
    file.write_bytes(pickle.dumps(0))
    with pytest.raises(KdpipeError, match=r"not a \.npy") as refusal:
        check_pixels.compare_pixels(classify, paths, file)
    assert "pickle" not in str(refusal.value)  # NumPy tells how it could be loaded


@pytest.mark.filterwarnings("error")
def test_an_array_of_numbers_that_are_too_large_is_refused_in_one_line(tmp_path):
    _, _, classify = build(3)
    file = tmp_path / "mine.npy"
    np.save(file, np.full((7, 3, SIDE, SIDE), 1e308))
    with pytest.raises(KdpipeError, match="not finite"):
        check_pixels.compare_pixels(classify, write_images(tmp_path, 3), file)


@pytest.mark.parametrize(
    ("steps", "reason"),
    [
        ([{"shorter": 37}, {"centre": 32}], "were not there."),
        ([{"stretch": 64}, {"scale": 32}], "were not there."),
        ([{"as_it_is": [64, 64]}, {"scale": 32}], "have to have one size."),
        ([{"stretch": 32}], "were not there."),
    ],
)
def test_the_card_says_in_a_line_why_there_is_no_such_graph(steps, reason):
    text = model_card._describe_image_graph({"input": {"steps": steps}, "measured": {}})
    assert text.startswith("\n\nThere is no graph with the resize inside: ")
    assert text.endswith(reason) and text.strip().count("\n") == 0
    nothing = {"input": {"steps": [{"as_it_is": [8, 8]}]}, "measured": {}}
    assert model_card._describe_image_graph(nothing) == ""
