"""Verification of exported graphs: their logits on whole splits, and their latency.

The graphs get raw pixels, as in use; PyTorch gets pixels that kdpipe has normalized, as in training
and evaluation; and the run has stored its outputs at its end. A graph with another normalization
agrees with neither.
"""

import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax
from torch import nn

from kdpipe.data import streaming
from kdpipe.data.batches import choose_eval_batch_size, compute_scale_and_shift, normalize
from kdpipe.data.splits import Split, Subset
from kdpipe.errors import KdpipeError, StoreError
from kdpipe.export import onnx_graph
from kdpipe.export.classifier import create_session
from kdpipe.export.measured_files import LatencySummary
from kdpipe.export.trained_run import TrainedRun
from kdpipe.models import factory
from kdpipe.models.pretrained.adapter import forward_in_chunks
from kdpipe.runs import records
from kdpipe.runs.class_metrics import compute_decision_metric
from kdpipe.runs.decision_metric import DecisionMetric
from kdpipe.runs.files import read_arrays
from kdpipe.runs.spec import ModelSpec
from kdpipe.stats.proportions import (
    ProportionEstimate,
    estimate_paired_difference,
    estimate_proportion,
)

# Allowed difference of logits relative to the largest: float32 is summed in another order, and a
# GPU may have used TF32.
TOLERANCE = 1e-4
GPU_TOLERANCE = 1e-2
MAX_CALIBRATION_IMAGES = 512  # training images
MAX_TEMPERATURE = 20.0  # and the least is 1 / MAX_TEMPERATURE
BATCH_SIZES = (1, 64)
WARM_UP_ROUNDS = 3
MIN_ROUNDS, MAX_ROUNDS = 5, 200  # after the warm-up
MEASURE_SECONDS = 3.0  # no round starts after it, once there were MIN_ROUNDS
Predictor = Callable[[np.ndarray], np.ndarray]  # logits (B, classes) of pixels (B, C, H, W) uint8


def create_torch_predictor(spec: ModelSpec, network: nn.Module, split: Split) -> Predictor:
    """Return a predictor that runs a network in PyTorch and normalizes as training does.

    Parameters
    ----------
    spec : dict
        The part `network` of the run's spec.
    network : Module
        The network.
    split : Split
        The split, for mean and standard deviation.
    """
    scale, shift = compute_scale_and_shift(split.mean, split.std, "cpu")
    layout = factory.get_memory_format(spec)

    def predict(pixels: np.ndarray) -> np.ndarray:
        """Return the logits of pixels."""
        x = normalize(torch.from_numpy(pixels).permute(0, 2, 3, 1), scale, shift)
        with torch.inference_mode():
            return forward_in_chunks(
                network, x.contiguous(memory_format=layout), choose_eval_batch_size
            ).numpy()

    return predict


def create_onnx_predictor(content: bytes, threads: int) -> Predictor:
    """Return a predictor that runs a graph in ONNX Runtime."""
    onnx_session = create_session(content, threads)
    return lambda pixels: onnx_session.run(
        [onnx_graph.OUTPUT_NAME], {onnx_graph.INPUT_NAME: pixels}
    )[0]


def predict_all(
    predictors: Mapping[str, Predictor], part: Subset, shape: tuple[int, int, int], workers: int = 0
) -> dict[str, np.ndarray]:
    """Return the logits of several predictors on all images of a split, which are read once.

    Parameters
    ----------
    predictors : mapping of str to callable
        The predictors by name.
    part : Subset
        The images.
    shape : tuple of int
        Channels, height and width of an image.
    workers : int
        The number of processes that read files.

    Returns
    -------
    dict of str to ndarray of shape (N, classes)
    """
    logits: dict[str, list[np.ndarray]] = {name: [] for name in predictors}
    for batch in streaming.iterate_pixels(
        part, choose_eval_batch_size(*shape[1:], torch.device("cpu")), workers
    ):
        batch = np.array(batch)  # a copy: the batch may be a memory-mapped file
        for name, predict in predictors.items():
            logits[name].append(predict(batch))
    return {name: np.concatenate(batches) for name, batches in logits.items()}


def iterate_calibration_batches(split: Split, workers: int = 0) -> Iterator[np.ndarray]:
    """Yield batches of pixels of training images, evenly spread over the split."""
    indices = np.unique(
        np.linspace(0, len(split.train) - 1, MAX_CALIBRATION_IMAGES).round().astype(int)
    )
    images = split.train.images
    if isinstance(images, np.ndarray):
        selected = images[indices]
    else:
        selected = dataclasses.replace(images, indices=images.indices[indices])
    yield from streaming.iterate_pixels(Subset(selected, split.train.labels[indices]), 32, workers)


def check_agreement(name: str, onnx_logits: np.ndarray, torch_logits: np.ndarray) -> None:
    """Raise KdpipeError if the logits of a graph differ from those of PyTorch."""
    max_diff, largest = _max_difference(onnx_logits, torch_logits)
    if not max_diff <= TOLERANCE * largest:
        raise KdpipeError(
            f"network {name} cannot be exported to ONNX: on the {len(onnx_logits):,} test images "
            f"the logits of its graph differ from PyTorch's by up to {max_diff:.3g}, where the "
            f"largest is {largest:.3g} (allowed: {TOLERANCE:g} of it)"
        )


def load_stored_outputs(trained_run: TrainedRun) -> dict:
    """Return the stored outputs of a run; raise StoreError if there are none."""
    if trained_run.outputs is None:
        raise StoreError(
            f"run {trained_run.run.name} has no stored outputs at the evaluation point "
            f"{trained_run.reading}"
        )
    return read_arrays(
        trained_run.outputs,
        records.find_file_info(trained_run.record, trained_run.folder, trained_run.outputs),
    )[0]


def check_stored(
    record: dict, stored_outputs: dict, torch_logits: np.ndarray, labels: np.ndarray
) -> None:
    """Raise StoreError if a network's logits on test differ from those that its run stored.

    Parameters
    ----------
    record : dict
        The record of the run.
    stored_outputs : dict of str to ndarray
        Its stored outputs.
    torch_logits : ndarray of shape (N, classes)
        The present logits of the test images.
    labels : ndarray of shape (N,)
        Their present labels.
    """
    on_cpu = (record.get("device") or {}).get("type") == "cpu"
    max_diff, largest = _max_difference(torch_logits, stored_outputs["test_logits"])
    allowed = TOLERANCE if on_cpu else GPU_TOLERANCE
    if (
        not np.array_equal(labels, stored_outputs["test_labels"])
        or not max_diff <= allowed * largest
    ):
        raise StoreError(
            f"the logits of run {record['name']} on the test images differ from those stored at "
            f"its end by up to {max_diff:.3g}, where the largest is {largest:.3g} (allowed: "
            f"{allowed:g} of it): the images, their normalization or the network's code have "
            "changed since; restore them, or train the run again (remove its folder)"
        )


def _max_difference(a: np.ndarray, b: np.ndarray) -> tuple[float, float]:
    """Return the largest difference, infinite for other shapes, and the largest value."""
    if a.shape != b.shape:
        return float("inf"), 0.0
    return float(np.abs(a - b).max()), float(np.abs(b).max())


def compute_error(logits: np.ndarray, labels: np.ndarray, metric: DecisionMetric = "top1") -> float:
    """Return the error by a study's metric in percentage points; nan without images."""
    if metric == "top1":
        return 100 * float((logits.argmax(1) != labels).mean()) if len(labels) else float("nan")
    return 100 * (1 - compute_decision_metric(logits.argmax(1), labels, metric))


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """Fit the temperature by which logits are divided to minimize their NLL.

    Parameters
    ----------
    logits : ndarray of shape (N, C)
        Logits of validation images.
    labels : ndarray of shape (N,)
        Their classes.

    Returns
    -------
    float
        Between 1/20 and 20.

    References
    ----------
    Guo et al., 2017, section 4.2, temperature scaling.
    """

    def nll(log_t: float) -> float:
        """Return the mean negative log-likelihood at a temperature."""
        return float(-log_softmax(logits / np.exp(log_t), axis=1)[rows, labels].mean())

    rows, logits = np.arange(len(labels)), logits.astype(np.float64)
    log_bound = float(np.log(MAX_TEMPERATURE))
    result: Any = minimize_scalar(nll, bounds=(-log_bound, log_bound), method="bounded")
    return float(np.exp(result.x))


def compare_accuracy(
    logits: np.ndarray, float_logits: np.ndarray, labels: np.ndarray
) -> tuple[ProportionEstimate, ProportionEstimate, ProportionEstimate]:
    """Compare a graph with the float32 graph on the same images.

    Parameters
    ----------
    logits, float_logits : ndarray of shape (N, C)
        Logits of the graph, and of the float32 graph.
    labels : ndarray of shape (N,)
        The classes of the images.

    Returns
    -------
    accuracy, difference, agreement : ProportionEstimate
        The accuracy, its difference from that of the float32 graph, and the share of images on
        which both agree; in percentage points, with intervals over the images.
    """
    predictions, float_predictions = logits.argmax(1), float_logits.argmax(1)
    gap = estimate_paired_difference(predictions == labels, float_predictions == labels)
    return (
        estimate_proportion(predictions == labels),
        gap,
        estimate_proportion(predictions == float_predictions),
    )


# --- latency


def measure_latency(
    predictors: Mapping[str, Callable[[np.ndarray], object]], shape: tuple[int, int, int]
) -> dict[str, dict[int, LatencySummary]]:
    """Measure the latency of graphs for a batch, on this machine.

    In every round each graph runs each batch size once, in rotating order, so that other load on
    the machine affects all alike. The first rounds are not counted.

    Parameters
    ----------
    predictors : mapping of str to callable
        The predictor of each graph for pixels (B, C, H, W) uint8.
    shape : tuple of int
        Channels, height and width of an image.

    Returns
    -------
    dict
        A `LatencySummary` by name and batch size.
    """
    rng = np.random.default_rng(0)
    pixels = {size: rng.integers(0, 256, (size, *shape), np.uint8) for size in BATCH_SIZES}
    turns = [(name, size) for name in predictors for size in BATCH_SIZES]
    seconds: dict[tuple[str, int], list[float]] = {turn: [] for turn in turns}
    start_time, round_ = time.perf_counter(), -WARM_UP_ROUNDS
    while round_ < MIN_ROUNDS or (
        round_ < MAX_ROUNDS and time.perf_counter() - start_time < MEASURE_SECONDS
    ):
        if round_ == 0:
            start_time = time.perf_counter()
        first = round_ % len(turns)
        for name, size in turns[first:] + turns[:first]:
            start = time.perf_counter()
            predictors[name](pixels[size])
            if round_ >= 0:
                seconds[name, size].append(time.perf_counter() - start)
        round_ += 1
    summaries: dict[str, dict[int, LatencySummary]] = {name: {} for name in predictors}
    for (name, size), durations in seconds.items():
        low, median, high = (1000 * float(x) for x in np.quantile(durations, (0.25, 0.5, 0.75)))
        summaries[name][size] = LatencySummary(median, low, high, len(durations))
    return summaries
