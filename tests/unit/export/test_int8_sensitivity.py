"""Layers that 8-bit integers harm are found, and stay in float32.

In a graph one channel of an activation is made much larger and the weights of the next layer as
much smaller: in float32 nothing changes, and in int8 all other channels have no levels left.
"""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from helpers import exported_study
from onnx import numpy_helper
from torch import nn

from kdpipe.cli.main import main
from kdpipe.config import load
from kdpipe.export import int8_sensitivity, measured_files, onnx_graph, select
from kdpipe.export.classifier import create_session
from kdpipe.export.select import ExportFile, describe_int8_cost
from kdpipe.plan import planner
from kdpipe.report.format import escape_markdown
from kdpipe.runs.store import Store

SHAPE = (1, 8, 8)
IMAGES = np.random.default_rng(0).integers(0, 256, (64, *SHAPE), np.uint8)


def enlarge(graph: bytes, number: int, factor: float = 1000.0) -> tuple[bytes, str, str]:
    """A graph with a large channel between one convolution and the next; the names of both."""
    model = onnx.load_from_string(graph)
    values = {value.name: value for value in model.graph.initializer}
    convs = [node for node in model.graph.node if node.op_type == "Conv"][number : number + 2]

    def scale(name: str, part: tuple, by: float) -> None:
        array = numpy_helper.to_array(values[name]).copy()
        array[part] *= by
        values[name].CopyFrom(numpy_helper.from_array(array, name))

    scale(convs[0].input[1], (3,), factor)
    scale(convs[0].input[2], (3,), factor)
    scale(convs[1].input[1], (slice(None), 3), 1 / factor)
    return model.SerializeToString(), convs[0].name, convs[1].name


@pytest.fixture(scope="module")
def graph():
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for channels in (1, 8, 8, 8):
        layers += [nn.Conv2d(channels, 8, 3, padding=1), nn.ReLU()]
    network = nn.Sequential(*layers, nn.Flatten(), nn.Linear(512, 4)).eval()
    return onnx_graph.to_onnx("mine", network, np.array([0.3]), np.array([0.3]), SHAPE)


def answer(content: bytes) -> np.ndarray:
    return create_session(content).run(None, {"pixels": IMAGES})[0]


def distance(content: bytes, reference: bytes) -> float:
    return float(np.abs(answer(content) - answer(reference)).mean())


@pytest.mark.parametrize("number", [0, 1, 2])
def test_the_layer_behind_a_large_channel_is_found_and_kept(graph, number):
    spoilt, before, behind = enlarge(graph, number)
    assert distance(spoilt, graph) < 1e-4
    small, none = int8_sensitivity.quantize_but_layers(spoilt, lambda: [IMAGES], 0)
    assert not none and small == onnx_graph.quantize(spoilt, [IMAGES])
    mended, (layer,) = int8_sensitivity.quantize_but_layers(spoilt, lambda: [IMAGES], 1)
    assert layer.name == behind and before in layer.nodes and layer.fall > 10
    usual = distance(onnx_graph.quantize(graph, [IMAGES]), graph)
    assert distance(mended, spoilt) < 2 * usual < distance(small, spoilt) / 3
    kept = {node.name: node for node in onnx.load_from_string(mended).graph.node}
    assert not any("DequantizeLinear" in value for value in kept[behind].input)


def test_layers_are_chosen_one_after_the_other(graph):
    """Of two that are spoilt both are found; and there are no more than there are layers."""
    spoilt, _, first = enlarge(graph, 0)
    spoilt, _, second = enlarge(spoilt, 2)
    _, layers = int8_sensitivity.quantize_but_layers(spoilt, lambda: [IMAGES], 2)
    assert {layer.name for layer in layers} == {first, second}
    _, layers = int8_sensitivity.quantize_but_layers(graph, lambda: [IMAGES], 50)
    assert len(layers) <= 5


def test_a_cost_above_the_smallest_effect_is_said():
    def files(cost: float) -> list[ExportFile]:
        names = ("model.onnx", 4.0), ("model.int8.onnx", 4.0 + cost)
        return [ExportFile(0, name, error, 900, 2.0) for name, error in names]

    assert describe_int8_cost(files(0.5), 0.5, 0) == ""
    assert describe_int8_cost(files(float("nan")), 0.5, 0) == ""
    assert describe_int8_cost(files(9.0)[:1], 0.5, 0) == ""
    text = describe_int8_cost(files(1.25), 0.5, 0)
    assert text.startswith("model.int8.onnx costs 1.25 points on validation, more than the")
    assert "--keep-float 1 to keep its most sensitive layer in float32" in text
    text = describe_int8_cost(files(1.25), 0.5, 2)
    assert "although its 2 most sensitive layers stayed" in text and "--keep-float 3" in text


def test_an_export_keeps_a_layer_and_names_it(copied, monkeypatch, capsys):
    spoilt, _, behind = enlarge(Path("export/model.onnx").read_bytes(), 1)
    monkeypatch.setattr(onnx_graph, "to_onnx", lambda *_: spoilt)
    for count, name in ((0, "bad"), (1, "good")):
        options = ["--keep-float", str(count)] if count else []
        assert main(["export", "study.yaml", "--to", name, *options]) == 0
    configs = [json.loads(Path(name, "config.json").read_text()) for name in ("bad", "good")]
    agreement = [c["measured"]["files"]["model.int8.onnx"]["agreement"][0] for c in configs]
    assert agreement[1] > agreement[0] + 10
    assert "float_layers" not in configs[0]
    (layer,) = configs[1]["float_layers"]
    assert layer["name"] == behind
    assert configs[1]["commands"][1].endswith("--keep-float 1")
    escaped = escape_markdown(behind)
    assert f"these layers stay in float32, with what computes their inputs: {escaped} (" in (
        Path("good/README.md").read_text()
    )
    for wrong in ("0", "-1", "x", "101"):
        with pytest.raises(SystemExit):
            main(["export", "study.yaml", f"--keep-float={wrong}", "--to", "none"])
        assert "write a whole number from 1 to 100" in capsys.readouterr().err


def test_measurements_are_kept_apart(built):
    """Of a graph with a layer in float32, and of one without."""
    plan = planner.build_plan(load.load_study(built / "study.yaml"))
    store = Store(built / "results")
    (candidate,) = select.find_candidates(plan, store, None, select.ExportBudget())
    keys = [measured_files.make_key(candidate, plan, store, count) for count in (0, 1, 2)]
    assert len(set(keys)) == 3
    assert keys[0] == measured_files.make_key(candidate, plan, store)
    assert exported_study.STUDY["study"] == plan.study.study
