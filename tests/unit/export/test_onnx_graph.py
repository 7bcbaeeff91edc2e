"""Graphs compute what PyTorch computes, on pixels alone, and say nothing of this machine."""

import os
import re

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from torch import nn

from kdpipe.errors import KdpipeError
from kdpipe.export import onnx_graph
from kdpipe.export.classifier import create_session

MEAN, STD = np.array([0.1, 0.4, 0.7]), np.array([0.2, 0.5, 0.3])
SHAPE = (3, 6, 5)


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    layers = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(96, 4)
    result = nn.Sequential(*layers)
    with torch.no_grad():
        result[1].running_mean += 0.3
        result[1].running_var *= 2
    return result.eval()


@pytest.fixture(scope="module")
def built(network):
    return onnx_graph.to_onnx("mine", network, MEAN, STD, SHAPE)


def images(count, seed=0, low=0):
    return np.random.default_rng(seed).integers(low, 256, (count, *SHAPE), np.uint8)


def answers(content, pixels):
    return create_session(content).run(None, {"pixels": pixels})[0]


def test_a_graph_normalises_and_answers_as_pytorch_for_any_batch(network, built):
    for count in (1, 2, 7):
        pixels = images(count, count)
        # Written out, not by kdpipe's own function.
        x = (pixels / 255 - MEAN[:, None, None]) / STD[:, None, None]
        with torch.no_grad():
            reference = network(torch.from_numpy(x).float()).numpy()
        assert np.abs(answers(built, pixels) - reference).max() < 1e-5


def test_pixels_that_somebody_has_normalised_are_refused(built):
    with pytest.raises(Exception, match=r"tensor\(float\)\) , expected: \(tensor\(uint8\)"):
        answers(built, images(2).astype(np.float32) / 255)


def test_a_graph_does_not_say_where_it_was_made(built):
    small = onnx_graph.quantize(built, [images(8)])
    for content in (built, small):
        assert b"/src/" not in content and os.fsencode(os.path.dirname(__file__)) not in content
        assert not re.search(rb"\.py\b", content)
        onnx.checker.check_model(onnx.load_from_string(content), full_check=True)


def test_ranges_of_activations_are_those_of_the_images_given(built):
    """By hand: what comes out of the normalisation is cut into 255 steps from least to most."""
    inputs = [images(4, 1, low=100), images(4, 2, low=100)]
    small = onnx.load_from_string(onnx_graph.quantize(built, inputs))
    values = {one.name: numpy_helper.to_array(one) for one in small.graph.initializer}
    first = next(node for node in small.graph.node if node.op_type == "QuantizeLinear")
    x = np.concatenate(inputs) / 255
    x = (x - MEAN[:, None, None]) / STD[:, None, None]
    steps = (max(x.max(), 0) - min(x.min(), 0)) / 255
    assert float(values[first.input[1]]) == pytest.approx(steps, rel=1e-5)
    # What normalises stays in float: nothing is quantised before it.
    (source,) = (node for node in small.graph.node if first.input[0] in node.output)
    assert source.op_type == "Add"


def test_int8_answers_nearly_as_float(built):
    pixels = images(200, 3)
    small = onnx_graph.quantize(built, [images(64, 4)])
    actual, reference = answers(small, pixels), answers(built, pixels)
    assert 0 < np.abs(actual - reference).mean() < 0.05 * np.abs(reference).mean()
    assert (actual.argmax(1) == reference.argmax(1)).mean() > 0.9


class Branching(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(90, 4)

    def forward(self, x):
        return self.linear(x.flatten(1)) * (2 if float(x.sum()) > 0 else 1)


class OfTwo(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(90, 4)

    def forward(self, x):
        return self.linear(x.reshape(2, 90))


class Conditional(OfTwo):
    """Control flow that torch can export, and kdpipe.load would refuse."""

    def forward(self, x):
        x = x.flatten(1)
        return self.linear(torch.cond(x.sum() > 0, torch.relu, torch.tanh, (x,)))


@pytest.mark.parametrize("network", [Branching(), OfTwo(), Conditional()])
def test_what_cannot_be_a_graph_is_refused_by_its_name(network, capfd):
    with pytest.raises(KdpipeError, match="network odd cannot be exported to ONNX") as refused:
        onnx_graph.to_onnx("odd", network, MEAN, STD, SHAPE)
    assert "\n" not in str(refused.value) and len(str(refused.value)) < 600
    captured = capfd.readouterr()
    assert captured.out == "" and captured.err == ""
