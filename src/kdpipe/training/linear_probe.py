"""Linear probes: how well a finished network's features classify another data set.

Features are the inputs of its linear classifier, in eval mode on unaugmented images. Pixels are
normalized by the training statistics of the *other* set, as is common: the network was trained on
inputs of mean 0 and standard deviation 1, and with the statistics of its own set a darker set would
count as a worse representation. (A network with its own input normalization uses that.) Multinomial
logistic regression is fitted to these features of the training images of the other set; the network
itself is frozen (Kornblith et al., 2019).
"""

import contextlib
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits
from torch import nn

from kdpipe.data import splits, streaming
from kdpipe.data.batches import ImageBatches
from kdpipe.data.streaming import StreamedBatches
from kdpipe.data.views import IDENTITY_VIEWS
from kdpipe.devices import cuda_errors, determinism
from kdpipe.errors import DivergedError, KdpipeError
from kdpipe.models import factory, layers
from kdpipe.models.pretrained import adapter
from kdpipe.runs import metrics, run_folder, store
from kdpipe.runs.execution_options import CPU_OPTIONS, ExecutionOptions
from kdpipe.runs.files import write_arrays
from kdpipe.runs.spec import ModelSpec, ProbeSpec
from kdpipe.training.teachers import online

# Weight of the L2 penalty per image: mean cross-entropy + strength / 2 * squared weights.
L2_STRENGTHS = (1.0, 1e-1, 1e-2, 1e-3, 1e-4, 1e-5)
MAX_ITER = 1000  # limit of L-BFGS iterations


@dataclass(frozen=True)
class ProbeFit:
    """The chosen classifier, its logits by split, and the results of each strength."""

    strength: float
    logits: dict[str, np.ndarray]  # (N, C)
    sweep: list[dict]

    @property
    def unconverged(self) -> list[float]:
        """Return the strengths at which L-BFGS did not converge."""
        return [entry["strength"] for entry in self.sweep if not entry["converged"]]


@dataclass(frozen=True)
class ProbeData:
    """Features (N, F) and labels (N,) by split, which a classifier is fitted to."""

    features: dict[str, np.ndarray]
    labels: dict[str, np.ndarray]
    classes: int


def extract_probe_data(
    spec: ProbeSpec, store: store.Store, options: ExecutionOptions = CPU_OPTIONS
) -> ProbeData:
    """Compute the features of a probe, the only part that needs the device.

    Raises
    ------
    DivergedError
        If a feature is not finite.
    KdpipeError
        If inputs are damaged, or the network cannot be probed.
    """
    network = spec.network
    torch.set_num_threads(spec.threads)
    device = determinism.prepare_torch_device(options.device, options.kernels)
    split = splits.load_split(spec.data, store)
    parts = {"train": split.train, "val": split.val, "test": split.test}
    labels = {part: np.array(each.labels) for part, each in parts.items()}
    (parent,) = spec.members
    _, model = online.load_member(parent, network, store, options.code)
    adapter.set_normalization(model, split.mean, split.std)
    model = model.to(device)
    features_by_part = {
        part: extract_features(
            model,
            network,
            streaming.create_batches(each, IDENTITY_VIEWS, split, device, options.workers),
        )
        for part, each in parts.items()
    }
    return ProbeData(features_by_part, labels, split.classes)


def run_probe(spec: ProbeSpec, digest: str, folder: Path, data: ProbeData) -> dict:
    """Fit a probe, write its outputs to its folder, and return the fields of its record."""
    if torch.cuda.is_initialized():  # frees the network's memory for other runs
        torch.cuda.empty_cache()
    labels = data.labels
    with threadpool_limits(spec.threads):
        probe_fit = fit_classifier(data.features, labels, data.classes)
    arrays = {}
    for part in ("val", "test"):
        arrays |= {f"{part}_logits": probe_fit.logits[part], f"{part}_labels": labels[part]}
    header = {"run": digest, "epoch": spec.epoch}
    write_arrays(run_folder.outputs_path(folder), arrays, header)
    results = {
        part: metrics.compute_metrics(probe_fit.logits[part], labels[part]) for part in labels
    }
    unconverged = ", ".join(f"{strength:g}" for strength in probe_fit.unconverged)
    return {
        "reason": f"L-BFGS stopped after {MAX_ITER} rounds at strength {unconverged}"
        if unconverged
        else None,
        "features": data.features["train"].shape[1],
        "strength": probe_fit.strength,
        "converged": probe_fit.strength not in probe_fit.unconverged,
        "sweep": probe_fit.sweep,
        "last": {"epoch": spec.epoch, **results},
    }


def extract_features(
    model: nn.Module, network: ModelSpec, images: ImageBatches | StreamedBatches
) -> np.ndarray:
    """Return the inputs of a network's linear classifier, (N, F) float32, on unaugmented images.

    Parameters
    ----------
    model : nn.Module
    network : ModelSpec
        The network of its run.
    images : ImageBatches or StreamedBatches

    Raises
    ------
    KdpipeError
        If the network does not end in its classifier.
    DivergedError
        If a feature is not finite.
    """
    layout = factory.get_memory_format(network)

    def run_batches(size: int) -> torch.Tensor:
        batch_size = min(size, adapter.CPU_BATCH_SIZE) if network.input else size
        with (
            layers.record_head_input(model, network.classes, network.name) as get_input,
            contextlib.closing(images.unaugmented_batches(batch_size)) as batches,
        ):
            return torch.cat([get_input(x.contiguous(memory_format=layout)).cpu() for x in batches])

    outputs = cuda_errors.retry_halving_batch(images, run_batches)
    if not bool(torch.isfinite(outputs).all()):
        raise DivergedError("the features are not finite")
    return outputs.numpy()


def fit_classifier(
    inputs: dict[str, np.ndarray], labels: dict[str, np.ndarray], classes: int
) -> ProbeFit:
    """Fit logistic regression on standardized features, and choose its strength on validation.

    It is fitted to train only and not refitted with validation: the chosen classifier is the one
    that is tested. The lowest validation error wins, then the lowest cross-entropy.

    Parameters
    ----------
    inputs : dict of array of shape (N, F)
        The features of train, val and test.
    labels : dict of array of shape (N,)
    classes : int

    Raises
    ------
    KdpipeError
        If a class has no training image.
    """
    missing = np.setdiff1d(np.arange(classes), labels["train"])
    if len(missing):
        raise KdpipeError(
            f"class {missing[0]} has no training image for the probe: increase train_size, or hold "
            "out fewer images for validation"
        )
    scaler = StandardScaler().fit(inputs["train"].astype(np.float64))
    scaled = {
        split: np.asarray(scaler.transform(each.astype(np.float64)))
        for split, each in inputs.items()
    }
    best, sweep = None, []
    for strength in L2_STRENGTHS:
        # scikit-learn's C weights the sum over images against half of the squared weights.
        model = LogisticRegression(C=1 / (strength * len(scaled["train"])), max_iter=MAX_ITER)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            model.fit(scaled["train"], labels["train"])
        val_metrics = metrics.compute_metrics(_decision_logits(model, scaled["val"]), labels["val"])
        sweep.append(
            {
                "strength": strength,
                "val_accuracy": val_metrics["accuracy"],
                "val_nll": val_metrics["nll"],
                "rounds": int(np.max(model.n_iter_)),
                "converged": not any(issubclass(w.category, ConvergenceWarning) for w in caught),
            }
        )
        rank = (-val_metrics["accuracy"], val_metrics["nll"])
        if best is None or rank < best[0]:
            best = rank, strength, model
    assert best is not None
    _, strength, model = best
    logits = {split: _decision_logits(model, each) for split, each in scaled.items()}
    return ProbeFit(strength, logits, sweep)


def _decision_logits(model: LogisticRegression, scaled: np.ndarray) -> np.ndarray:
    """Return logits (N, C) float32; for two classes scikit-learn returns one score alone."""
    scores = model.decision_function(scaled)
    if scores.ndim == 1:
        scores = np.stack([np.zeros_like(scores), scores], axis=1)
    return scores.astype(np.float32)
