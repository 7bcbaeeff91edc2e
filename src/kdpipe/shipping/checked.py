"""What exported graphs say of whole parts of the data, and whether it is what the run said.

The graphs are given pixels, as whoever ships them gives them; PyTorch is given what training and
evaluation have: pixels that kdpipe has normalised. And the run has stored what it said when it
ended. A graph that normalises otherwise agrees with neither.
"""

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax
from torch import nn

from kdpipe.data import streams
from kdpipe.data.images import forward_size, normalisation, normalised
from kdpipe.data.splits import Part, Split
from kdpipe.errors import KdpipeError, StoreError
from kdpipe.networks import models
from kdpipe.networks.brought.adapted import in_parts
from kdpipe.results import records
from kdpipe.results.files import read_arrays
from kdpipe.shipping import graph
from kdpipe.shipping.classifier import session
from kdpipe.shipping.trained import Trained
from kdpipe.statistics.proportions import Estimate, difference, share

# Logits may be so far apart, as a share of the largest: float32, summed in another order.
TOLERANCE = 1e-4
# A GPU may multiply in TF32: so far apart are what it has stored and what a CPU says.
TOLERANCE_OF_GPU = 1e-2
CALIBRATED = 512  # training images, at most
MOST_SCALED = 20.0  # a temperature, or one by it

Answers = Callable[[np.ndarray], np.ndarray]  # logits (B, classes) of pixels (B, C, H, W) uint8


def answers(spec: dict, network: nn.Module, split: Split) -> Answers:
    """PyTorch with the network of a run, normalising as training does.

    spec: what that of the run says of its network.
    """
    scale, shift = normalisation(split.mean, split.std, "cpu")
    layout = models.layout(spec)

    def said(pixels: np.ndarray) -> np.ndarray:
        given = normalised(torch.from_numpy(pixels).permute(0, 2, 3, 1), scale, shift)
        with torch.inference_mode():
            return in_parts(network, given.contiguous(memory_format=layout), forward_size).numpy()

    return said


def of_graph(content: bytes, threads: int) -> Answers:
    """A graph at work in ONNX Runtime."""
    running = session(content, threads)
    return lambda pixels: running.run([graph.LOGITS], {graph.PIXELS: pixels})[0]


def asked(
    who: Mapping[str, Answers], part: Part, shape: tuple[int, int, int], workers: int = 0
) -> dict[str, np.ndarray]:
    """The logits (N, classes) of each on all images of a part, which are read once."""
    found: dict[str, list[np.ndarray]] = {name: [] for name in who}
    for batch in streams.pixels(part, forward_size(*shape[1:], torch.device("cpu")), workers):
        batch = np.array(batch)  # theirs may be a mapped file
        for name, say in who.items():
            found[name].append(say(batch))
    return {name: np.concatenate(batches) for name, batches in found.items()}


def calibration(split: Split, workers: int = 0) -> Iterator[np.ndarray]:
    """Batches of pixels of training images, evenly spread over the part: never of test."""
    chosen = np.unique(np.linspace(0, len(split.train) - 1, CALIBRATED).round().astype(int))
    images = split.train.images
    if isinstance(images, np.ndarray):
        taken = images[chosen]
    else:
        taken = dataclasses.replace(images, chosen=images.chosen[chosen])
    yield from streams.pixels(Part(taken, split.train.labels[chosen]), 32, workers)


def refuse_apart(name: str, graph_says: np.ndarray, torch_says: np.ndarray) -> None:
    """Raise KdpipeError if a graph's logits are not PyTorch's."""
    apart, largest = _apart(graph_says, torch_says)
    if not apart <= TOLERANCE * largest:
        raise KdpipeError(
            f"network {name} cannot be exported to ONNX: on the {len(graph_says):,} test images "
            f"its graph says other logits than PyTorch, by up to {apart:.3g} where the largest is "
            f"{largest:.3g} (allowed: {TOLERANCE:g} of it)"
        )


def stored(one: Trained) -> dict:
    """What a run has stored of what it says. Raises StoreError if there is nothing."""
    if one.outputs is None:
        raise StoreError(f"run {one.run.name} has stored no outputs of its {one.reading} reading")
    return read_arrays(one.outputs, records.facts(one.record, one.folder, one.outputs))[0]


def refuse_other(record: dict, outputs: dict, torch_says: np.ndarray, labels: np.ndarray) -> None:
    """Raise StoreError if a run has stored other logits of test than its network has now.

    outputs: what the run with that record has stored; labels: of the test images now.
    """
    on_cpu = (record.get("device") or {}).get("type") == "cpu"
    apart, largest = _apart(torch_says, outputs["test_logits"])
    allowed = TOLERANCE if on_cpu else TOLERANCE_OF_GPU
    if not np.array_equal(labels, outputs["test_labels"]) or not apart <= allowed * largest:
        raise StoreError(
            f"run {record['name']} said other logits of the test images when it ended, by up to "
            f"{apart:.3g} where the largest is {largest:.3g} (allowed: {allowed:g} of it): the "
            "images, their normalisation or the network's code have changed since; put them back, "
            "or train the run again (remove its folder)"
        )


def _apart(a: np.ndarray, b: np.ndarray) -> tuple[float, float]:
    """The largest difference of two, and the largest value; infinite for other shapes."""
    if a.shape != b.shape:
        return float("inf"), 0.0
    return float(np.abs(a - b).max()), float(np.abs(b).max())


def error(logits: np.ndarray, labels: np.ndarray) -> float:
    """The top-1 error in points; nan without images."""
    return 100 * float((logits.argmax(1) != labels).mean()) if len(labels) else float("nan")


def temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """By what logits (N, C) of validation are divided so that their NLL is least.

    Guo et al. 2017, section 4.2, temperature scaling; between 1/20 and 20.
    """

    def nll(log_t: float) -> float:
        return float(-log_softmax(logits / np.exp(log_t), axis=1)[rows, labels].mean())

    rows, logits = np.arange(len(labels)), logits.astype(np.float64)
    edge = float(np.log(MOST_SCALED))
    found: Any = minimize_scalar(nll, bounds=(-edge, edge), method="bounded")
    return float(np.exp(found.x))


def accuracy(
    logits: np.ndarray, of_float: np.ndarray, labels: np.ndarray
) -> tuple[Estimate, Estimate, Estimate]:
    """Accuracy, its difference to that of the float, and the share of images on which both agree,
    all in points with their intervals over the images."""
    ours, theirs = logits.argmax(1), of_float.argmax(1)
    gap = difference(ours == labels, theirs == labels)
    return share(ours == labels), gap, share(ours == theirs)
