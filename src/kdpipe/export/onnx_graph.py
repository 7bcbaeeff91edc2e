"""Networks as ONNX graphs, in float32 and in int8.

A graph takes unnormalized pixels, (batch, C, H, W) uint8, and normalizes them itself, so that
nobody can normalize them differently; it returns logits (batch, classes) float32. It contains
nothing about the machine that it was made on.

The int8 graph comes from ONNX Runtime's static quantization: int8 weights with a scale for each
channel, uint8 activations whose ranges are measured on training images. Normalization stays in
float32.
"""

import contextlib
import io
import logging
import tempfile
import warnings
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from kdpipe.data.batches import compute_scale_and_shift
from kdpipe.errors import KdpipeError
from kdpipe.export import graph_scan
from kdpipe.text import shorten_line

EXPORT_HINT = "torch.export has to trace it: no Python branches on values, and no fixed batch size"
INPUT_NAME, OUTPUT_NAME = "pixels", "logits"


class _NormalizedNetwork(nn.Module):
    """A network preceded by the normalization of its pixels."""

    scale: torch.Tensor
    shift: torch.Tensor

    def __init__(self, network: nn.Module, mean: np.ndarray, std: np.ndarray):
        super().__init__()
        self.network = network
        scale, shift = compute_scale_and_shift(mean, std, "cpu")
        self.register_buffer("scale", scale[:, None, None])
        self.register_buffer("shift", shift[:, None, None])

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return the logits for pixels from 0 to 255."""
        return self.network(pixels.float() * self.scale + self.shift)


def require_onnx() -> None:
    """Raise KdpipeError if a package for making graphs is not installed."""
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise KdpipeError(
            f"kdpipe export needs onnx, onnxscript and onnxruntime, and {error.name} is not "
            "installed here: pip install 'kdpipe[export]', in a clone pip install -c "
            "requirements.lock -e '.[export]'"
        ) from None


def to_onnx(
    name: str, network: nn.Module, mean: np.ndarray, std: np.ndarray, shape: tuple[int, int, int]
) -> bytes:
    """Export a network in eval mode to a float32 graph.

    Parameters
    ----------
    name : str
        The name of the network in messages.
    network : Module
        The network.
    mean, std : ndarray of shape (C,)
        Mean and standard deviation of pixels in [0, 1].
    shape : tuple of int
        Channels, height and width of an image.

    Returns
    -------
    bytes
        The graph.

    Raises
    ------
    KdpipeError
        If torch cannot export the network.
    """
    module = _NormalizedNetwork(network, mean, std).eval()
    pixels = torch.zeros(2, *shape, dtype=torch.uint8)
    with _silence_exporters():
        try:
            program = torch.onnx.export(
                module,
                (pixels,),
                dynamo=True,
                input_names=[INPUT_NAME],
                output_names=[OUTPUT_NAME],
                dynamic_shapes={"pixels": {0: torch.export.Dim("batch")}},
                verbose=False,
            )
        except Exception as error:  # from the network's code, torch.export or the exporter
            cause = error.__cause__ or error
            reason = shorten_line(str(cause) or type(cause).__name__)
            raise KdpipeError(
                f"network {name} cannot be exported to ONNX ({reason}); {EXPORT_HINT}"
            ) from None
    assert program is not None
    graph = program.model_proto.graph
    if not all(_has_dynamic_batch(value) for value in (*graph.input, *graph.output)):
        raise KdpipeError(
            f"network {name} cannot be exported to ONNX: its graph has a fixed batch size of "
            f"{len(pixels)}, that of the trial; {EXPORT_HINT}"
        )
    content = _strip_metadata(program.model_proto)
    try:
        graph_scan.check_graph(content)
    except KdpipeError as error:
        raise KdpipeError(
            f"network {name} cannot be exported to ONNX: {error}, which kdpipe.load refuses; "
            f"{EXPORT_HINT}"
        ) from None
    return content


def _has_dynamic_batch(value) -> bool:
    """Return whether an input or output of a graph has a variable batch size."""
    return bool(value.type.tensor_type.shape.dim[0].dim_param)


def quantize(graph: bytes, images: Iterable[np.ndarray], float_nodes: Sequence[str] = ()) -> bytes:
    """Quantize a float32 graph to int8.

    Parameters
    ----------
    graph : bytes
        The graph.
    images : iterable of ndarray of shape (B, C, H, W)
        Training images, uint8, on which the ranges of activations are measured.
    float_nodes : sequence of str
        Nodes that stay in float32, by their names after `preprocess`.

    Returns
    -------
    bytes
        The int8 graph.

    Raises
    ------
    KdpipeError
        If ONNX Runtime cannot quantize the graph.
    """
    import onnx
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with tempfile.TemporaryDirectory(prefix="kdpipe-int8-") as directory, _silence_exporters():
        float_path, preprocessed_path, int8_path = (
            Path(directory) / name for name in ("float", "preprocessed", "int8")
        )
        float_path.write_bytes(graph)
        reader: Any = _CalibrationReader(images)
        try:
            quant_pre_process(float_path, preprocessed_path, skip_symbolic_shape=True)
            quantize_static(
                preprocessed_path,
                int8_path,
                reader,
                quant_format=QuantFormat.QDQ,
                per_channel=True,
                weight_type=QuantType.QInt8,
                activation_type=QuantType.QUInt8,
                nodes_to_exclude=[
                    *_find_normalization_nodes(onnx.load(preprocessed_path)),
                    *float_nodes,
                ],
            )
        except Exception as error:  # ONNX Runtime raises many exception types
            reason = shorten_line(str(error) or type(error).__name__)
            raise KdpipeError(f"ONNX Runtime cannot quantize the graph ({reason})") from None
        return _strip_metadata(onnx.load(int8_path))


def preprocess(graph: bytes) -> bytes:
    """Return a float32 graph as `quantize` sees it: with shapes, and nodes fused."""
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with tempfile.TemporaryDirectory(prefix="kdpipe-int8-") as directory, _silence_exporters():
        float_path, preprocessed_path = (Path(directory) / name for name in ("in", "out"))
        float_path.write_bytes(graph)
        quant_pre_process(float_path, preprocessed_path, skip_symbolic_shape=True)
        return preprocessed_path.read_bytes()


class _CalibrationReader:
    """The source of batches for ONNX Runtime's calibration."""

    def __init__(self, images: Iterable[np.ndarray]):
        self.images = iter(images)

    def get_next(self) -> dict[str, np.ndarray] | None:
        """Return the next batch, None after the last."""
        batch = next(self.images, None)
        return None if batch is None else {INPUT_NAME: batch}


def _find_normalization_nodes(model) -> list[str]:
    """Return the nodes between the pixels and the network: those that use one of its buffers."""
    return [
        node.name for node in model.graph.node if {"scale", "shift"} & set(map(str, node.input))
    ]


def _strip_metadata(model) -> bytes:
    """Return a graph without exporters' metadata: the source file and line of each node."""
    graph = model.graph
    for node in (graph, *graph.node, *graph.input, *graph.output, *graph.value_info):
        del node.metadata_props[:]
        node.doc_string = ""
    for node in (model, *graph.initializer, *model.functions):
        del node.metadata_props[:]
        node.doc_string = ""
    return model.SerializeToString(deterministic=True)


@contextlib.contextmanager
def _silence_exporters() -> Iterator[None]:
    """Suppress the output of torch and ONNX Runtime, which is for their developers."""
    previous_level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(previous_level)
