"""Which layers of a graph 8-bit integers harm most, by ONNX Runtime's own debugging tool.

The tool runs the float32 and the int8 graph on the same images and gives the signal-to-noise ratio
of each activation, in decibels. A layer is the more sensitive, the more this ratio falls from its
input to its output: errors that arrive with the input are not its own. To keep a layer in float32,
its input must not be quantized either, so what computes the input and what else reads it stay in
float32 with it.
"""

import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from kdpipe.errors import KdpipeError
from kdpipe.export import onnx_graph
from kdpipe.text import shorten_line

LAYER_TYPES = ("Conv", "Gemm", "MatMul")
# What only changes the values of one tensor, so that a ratio is known before or after it.
POINTWISE_TYPES = ("Relu", "Clip", "BatchNormalization", "HardSwish", "HardSigmoid", "Sigmoid")
MAX_IMAGES = 16  # whose activations are in memory at once


@dataclass(frozen=True)
class KeptLayer:
    """A layer that stays in float32.

    Attributes
    ----------
    name : str
        The name of its node in the graph.
    fall : float
        By how many decibels the signal-to-noise ratio falls from its input to its output.
    nodes : tuple of str
        All nodes that stay in float32 for it.
    """

    name: str
    fall: float
    nodes: tuple[str, ...] = field(repr=False)


def quantize_but_layers(
    graph: bytes, create_batches: Callable[[], Iterable[np.ndarray]], count: int
) -> tuple[bytes, list[KeptLayer]]:
    """Quantize a float32 graph to int8, but for its most sensitive layers.

    Layers are chosen one after the other, each in the graph that keeps the ones before it.

    Parameters
    ----------
    graph : bytes
        The float32 graph.
    create_batches : callable
        Returns the training images on which ranges are measured, each time from the start.
    count : int
        How many layers stay in float32.

    Returns
    -------
    graph : bytes
        The int8 graph.
    layers : list of KeptLayer
        The layers in float32, the most sensitive first; fewer if the graph has no more.

    Raises
    ------
    KdpipeError
        If ONNX Runtime cannot quantize the graph or compare the two.
    """
    kept: list[KeptLayer] = []
    int8_graph = onnx_graph.quantize(graph, create_batches())
    for _ in range(count):
        excluded = [name for layer in kept for name in layer.nodes]
        images = _take_images(create_batches())
        layers = [
            layer
            for layer in rank_layers(graph, int8_graph, images)
            if layer.name not in excluded and layer.fall > 0
        ]
        if not layers:
            break
        kept.append(layers[0])
        int8_graph = onnx_graph.quantize(graph, create_batches(), [*excluded, *layers[0].nodes])
    return int8_graph, kept


def rank_layers(graph: bytes, int8_graph: bytes, images: np.ndarray) -> list[KeptLayer]:
    """Return the layers of a graph, the one first that int8 harms most.

    Parameters
    ----------
    graph, int8_graph : bytes
        The float32 graph, and the same in int8.
    images : ndarray of shape (N, C, H, W)
        Images, uint8.
    """
    import onnx

    with tempfile.TemporaryDirectory(prefix="kdpipe-int8-") as directory:
        float_path, int8_path = Path(directory) / "float", Path(directory) / "int8"
        float_path.write_bytes(onnx_graph.preprocess(graph))
        int8_path.write_bytes(int8_graph)
        try:
            ratios = _measure_ratios(float_path, int8_path, images)
        except Exception as error:  # ONNX Runtime raises many exception types
            raise KdpipeError(
                "ONNX Runtime cannot compare the int8 graph with the float32 graph "
                f"({shorten_line(str(error) or type(error).__name__)})"
            ) from None
        nodes = onnx.load(float_path).graph.node
    producers = {output: node for node in nodes for output in node.output}
    readers: dict[str, list[Any]] = {}
    for node in nodes:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    layers = []
    for node in nodes:
        if node.op_type not in LAYER_TYPES:
            continue
        before = _find_ratio(node.input[0], ratios, lambda name: _step_up(name, producers))
        after = _find_ratio(node.output[0], ratios, lambda name: _step_down(name, readers))
        if before is not None and after is not None:
            group = _find_group(node, producers, readers)
            layers.append(KeptLayer(node.name, before - after, tuple(group)))
    return sorted(layers, key=lambda layer: -layer.fall)


def _take_images(batches: Iterable[np.ndarray]) -> np.ndarray:
    """Return the first few images."""
    return next(iter(batches))[:MAX_IMAGES]


def _measure_ratios(float_path: Path, int8_path: Path, images: np.ndarray) -> dict[str, float]:
    """Return the signal-to-noise ratio of each activation that both graphs have, in decibels."""
    from onnxruntime.quantization import CalibrationDataReader, qdq_loss_debug

    class Reader(CalibrationDataReader):
        def __init__(self):
            self.batches: Iterator[dict] = iter([{onnx_graph.INPUT_NAME: images}])

        def get_next(self):
            return next(self.batches, None)

    activations = []
    for path in (int8_path, float_path):
        saving_path = path.with_name(f"{path.name}-activations")
        qdq_loss_debug.modify_model_output_intermediate_tensors(str(path), str(saving_path))
        activations.append(qdq_loss_debug.collect_activations(str(saving_path), Reader()))
    matching = qdq_loss_debug.create_activation_matching(*activations)
    errors = qdq_loss_debug.compute_activation_error(matching)
    return {name: float(error["xmodel_err"]) for name, error in errors.items()}


def _find_ratio(
    name: str, ratios: dict[str, float], step: Callable[[str], str | None]
) -> float | None:
    """Return the ratio of a tensor, or of the nearest one that pointwise nodes lead to."""
    current: str | None = name
    while current is not None and current not in ratios:
        current = step(current)
    return None if current is None else ratios[current]


def _step_up(name: str, producers: dict) -> str | None:
    """Return the input of the pointwise node that computes a tensor."""
    node = producers.get(name)
    return node.input[0] if node is not None and node.op_type in POINTWISE_TYPES else None


def _step_down(name: str, readers: dict) -> str | None:
    """Return the output of the pointwise node that alone reads a tensor."""
    nodes = readers.get(name, [])
    is_pointwise = len(nodes) == 1 and nodes[0].op_type in POINTWISE_TYPES
    return nodes[0].output[0] if is_pointwise else None


def _find_group(node, producers: dict, readers: dict) -> list[str]:
    """Return the nodes that stay in float32 so that a layer's input is not quantized."""
    group = {node.name: None}
    tensor = node.input[0]
    while (producer := producers.get(tensor)) is not None:
        group[producer.name] = None
        group |= {reader.name: None for reader in readers[tensor]}
        if producer.op_type not in POINTWISE_TYPES:
            break
        tensor = producer.input[0]
    return list(group)
