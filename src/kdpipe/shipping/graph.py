"""Networks as ONNX graphs: in float32, and in 8-bit integers.

The graph is given pixels as they are, (batch, C, H, W) uint8, and normalises them itself, so that
no one who runs it can normalise otherwise; it gives logits (batch, classes) float32. It says
nothing of the machine that it was made on.

The one in 8 bits is ONNX Runtime's static quantisation: weights int8 with a scale for each channel,
activations uint8 with ranges seen on training images. What normalises stays in float32.
"""

import contextlib
import io
import logging
import tempfile
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from kdpipe.data.images import normalisation
from kdpipe.errors import KdpipeError
from kdpipe.wording import one_line

CURE = "torch.export has to follow it: no Python branches on values, and no fixed number of images"
PIXELS, LOGITS = "pixels", "logits"  # the names of what goes in and what comes out


class _Shipped(nn.Module):
    """A network behind the normalisation of its pixels."""

    scale: torch.Tensor
    shift: torch.Tensor

    def __init__(self, network: nn.Module, mean: np.ndarray, std: np.ndarray):
        super().__init__()
        self.network = network
        scale, shift = normalisation(mean, std, "cpu")
        self.register_buffer("scale", scale[:, None, None])
        self.register_buffer("shift", shift[:, None, None])

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.network(pixels.float() * self.scale + self.shift)


def refuse_without() -> None:
    """Raise KdpipeError where what makes graphs is not installed."""
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


def of(
    name: str, network: nn.Module, mean: np.ndarray, std: np.ndarray, shape: tuple[int, int, int]
) -> bytes:
    """The graph of a network in eval mode; mean, std: (C,) of pixels in [0, 1].

    Raises KdpipeError, with the name of the network, for one that torch cannot export.
    """
    shipped = _Shipped(network, mean, std).eval()
    pixels = torch.zeros(2, *shape, dtype=torch.uint8)
    with _quiet():
        try:
            made = torch.onnx.export(
                shipped,
                (pixels,),
                dynamo=True,
                input_names=[PIXELS],
                output_names=[LOGITS],
                dynamic_shapes={"pixels": {0: torch.export.Dim("batch")}},
                verbose=False,
            )
        except Exception as error:  # of the network's code, of torch.export, of the exporter
            cause = error.__cause__ or error
            said = one_line(str(cause) or type(cause).__name__)
            raise KdpipeError(
                f"network {name} cannot be exported to ONNX ({said}); {CURE}"
            ) from None
    assert made is not None
    made_graph = made.model_proto.graph
    if not all(_any_number(one) for one in (*made_graph.input, *made_graph.output)):
        raise KdpipeError(
            f"network {name} cannot be exported to ONNX: its graph is for {len(pixels)} images at "
            f"a time, as many as it was tried with; {CURE}"
        )
    return _anonymous(made.model_proto)


def _any_number(value) -> bool:
    """Whether what goes in or out of a graph may be of any number of images."""
    return bool(value.type.tensor_type.shape.dim[0].dim_param)


def quantised(graph: bytes, images: Iterable[np.ndarray]) -> bytes:
    """The graph in 8-bit integers.

    images: batches (B, C, H, W) uint8 of training images, by which the ranges of activations are
    set. Raises KdpipeError for a graph that ONNX Runtime cannot quantise.
    """
    import onnx
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with tempfile.TemporaryDirectory(prefix="kdpipe-int8-") as place, _quiet():
        given, ready, made = (Path(place) / name for name in ("given", "ready", "made"))
        given.write_bytes(graph)
        reader: Any = _Images(images)
        try:
            quant_pre_process(given, ready, skip_symbolic_shape=True)
            quantize_static(
                ready,
                made,
                reader,
                quant_format=QuantFormat.QDQ,
                per_channel=True,
                weight_type=QuantType.QInt8,
                activation_type=QuantType.QUInt8,
                nodes_to_exclude=_normalising(onnx.load(ready)),
            )
        except Exception as error:  # ONNX Runtime has many of its own
            said = one_line(str(error) or type(error).__name__)
            raise KdpipeError(f"ONNX Runtime cannot quantise the graph ({said})") from None
        return _anonymous(onnx.load(made))


class _Images:
    """What ONNX Runtime's calibration asks for batches."""

    def __init__(self, images: Iterable[np.ndarray]):
        self.images = iter(images)

    def get_next(self) -> dict[str, np.ndarray] | None:
        batch = next(self.images, None)
        return None if batch is None else {PIXELS: batch}


def _normalising(model) -> list[str]:
    """The nodes between the pixels and the network: those that a buffer of ours goes into."""
    return [
        node.name for node in model.graph.node if {"scale", "shift"} & set(map(str, node.input))
    ]


def _anonymous(model) -> bytes:
    """A graph without what exporters note beside it: where in whose files each node was made."""
    graph = model.graph
    for one in (graph, *graph.node, *graph.input, *graph.output, *graph.value_info):
        del one.metadata_props[:]
        one.doc_string = ""
    for one in (model, *graph.initializer, *model.functions):
        del one.metadata_props[:]
        one.doc_string = ""
    return model.SerializeToString(deterministic=True)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without what torch and ONNX Runtime say while they work, which is for their authors."""
    before = logging.root.manager.disable
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
        logging.disable(before)
