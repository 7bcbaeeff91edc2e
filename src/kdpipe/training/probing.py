"""A linear probe: what a finished network sees in the images of another data set.

Its features are what its linear classifier is given, in eval mode, of the images as they are.
Pixels are normalised by the *other* set's own training statistics, as is common: the network was
trained on inputs of mean 0 and deviation 1, and with its own set's numbers a darker set would count
as a worse representation. (One with an input of its own is fed with that.) On these features
multinomial logistic regression is fitted to the training images of the other set; the network
itself learns nothing (Kornblith et al., 2019).
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

from kdpipe.data import splits, streams
from kdpipe.data.images import Images
from kdpipe.data.streams import Streams
from kdpipe.data.views import PLAIN
from kdpipe.devices import exact, memory
from kdpipe.errors import Diverged, KdpipeError
from kdpipe.networks import last_layer, models
from kdpipe.networks.brought import adapted
from kdpipe.results import metrics, run_folder, store
from kdpipe.results.files import write_arrays
from kdpipe.specs.equipment import CPU, Means
from kdpipe.training.teachers import live

# Weight of the L2 penalty, by image: mean cross-entropy + strength / 2 * the squared weights.
STRENGTHS = (1.0, 1e-1, 1e-2, 1e-3, 1e-4, 1e-5)
ROUNDS = 1000  # of L-BFGS, at most


@dataclass(frozen=True)
class Fitted:
    """The chosen classifier, its logits by split, and what each strength came to."""

    strength: float
    logits: dict[str, np.ndarray]  # (N, C)
    sweep: list[dict]

    @property
    def unconverged(self) -> list[float]:
        """The strengths at which L-BFGS was stopped before it had converged."""
        return [one["strength"] for one in self.sweep if not one["converged"]]


@dataclass(frozen=True)
class Given:
    """What a classifier is fitted to, by split: features (N, F) and labels (N,)."""

    features: dict[str, np.ndarray]
    labels: dict[str, np.ndarray]
    classes: int


def given(spec: dict, place: store.Store, means: Means = CPU) -> Given:
    """The features of a probe, taken on the device: all that it needs one for.

    Raises Diverged, or a KdpipeError for damaged inputs and networks that cannot be probed.
    """
    network = spec["network"]
    torch.set_num_threads(spec["threads"])
    where = exact.torch_device(means.device, means.kernels)
    split = splits.load(spec["data"], place)
    parts = {"train": split.train, "val": split.val, "test": split.test}
    labels = {part: np.array(each.labels) for part, each in parts.items()}
    parent = {"run": spec["run"], "epoch": spec["epoch"]}
    _, model = live.member(parent, network, place, means.code)
    adapted.normalised_by(model, split.mean, split.std)
    model = model.to(where)
    found = {
        part: features(model, network, streams.images(each, PLAIN, split, where, means.workers))
        for part, each in parts.items()
    }
    return Given(found, labels, split.classes)


def probe(spec: dict, digest: str, folder: Path, seen: Given) -> dict:
    """What the record of a probe says; its outputs on val and test are written into the folder."""
    if torch.cuda.is_initialized():  # the network is gone: another run may have its memory
        torch.cuda.empty_cache()
    labels = seen.labels
    with threadpool_limits(spec["threads"]):
        fitted = fit(seen.features, labels, seen.classes)
    arrays = {}
    for part in ("val", "test"):
        arrays |= {f"{part}_logits": fitted.logits[part], f"{part}_labels": labels[part]}
    about = {"run": digest, "epoch": spec["epoch"]}
    write_arrays(run_folder.outputs(folder), arrays, about)
    found = {part: metrics.of(fitted.logits[part], labels[part]) for part in labels}
    stopped = ", ".join(f"{strength:g}" for strength in fitted.unconverged)
    return {
        "reason": f"L-BFGS stopped after {ROUNDS} rounds at strength {stopped}"
        if stopped
        else None,
        "features": seen.features["train"].shape[1],
        "strength": fitted.strength,
        "converged": fitted.strength not in fitted.unconverged,
        "sweep": fitted.sweep,
        "last": {"epoch": spec["epoch"], **found},
    }


def features(model: nn.Module, network: dict, images: Images | Streams) -> np.ndarray:
    """What the classifier of a network is given: (N, F) float32, of the images as they are.

    `network` is what the spec of its run says of it.
    Raises KdpipeError if the network does not end in its classifier, Diverged if a feature is not
    finite.
    """
    layout = models.layout(network)

    def ask(size: int) -> torch.Tensor:
        at_once = min(size, adapted.AT_ONCE) if "input" in network else size
        with (
            last_layer.heard(model, network["classes"], network["name"]) as given,
            contextlib.closing(images.centres(at_once)) as centres,
        ):
            return torch.cat([given(x.contiguous(memory_format=layout)).cpu() for x in centres])

    found = memory.halved(images, ask)
    if not bool(torch.isfinite(found).all()):
        raise Diverged("the features are not finite")
    return found.numpy()


def fit(given: dict[str, np.ndarray], labels: dict[str, np.ndarray], classes: int) -> Fitted:
    """Logistic regression on standardised features, its strength chosen on validation.

    given: (N, F) and labels: (N,) of train, val and test. It is fitted to train alone, and not
    once more with validation: what is chosen is what is tested. The lowest validation error wins,
    then the lowest cross-entropy.
    """
    missing = np.setdiff1d(np.arange(classes), labels["train"])
    if len(missing):
        raise KdpipeError(
            f"class {missing[0]} has no training image left for the probe: raise train_size or "
            "hold fewer images out for validation"
        )
    scaler = StandardScaler().fit(given["train"].astype(np.float64))
    scaled = {
        split: np.asarray(scaler.transform(each.astype(np.float64)))
        for split, each in given.items()
    }
    best, sweep = None, []
    for strength in STRENGTHS:
        # scikit-learn's C weighs the sum over images against half of the squared weights.
        model = LogisticRegression(C=1 / (strength * len(scaled["train"])), max_iter=ROUNDS)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            model.fit(scaled["train"], labels["train"])
        found = metrics.of(_logits(model, scaled["val"]), labels["val"])
        sweep.append(
            {
                "strength": strength,
                "val_accuracy": found["accuracy"],
                "val_nll": found["nll"],
                "rounds": int(np.max(model.n_iter_)),
                "converged": not any(issubclass(w.category, ConvergenceWarning) for w in caught),
            }
        )
        rank = (-found["accuracy"], found["nll"])
        if best is None or rank < best[0]:
            best = rank, strength, model
    assert best is not None
    _, strength, model = best
    logits = {split: _logits(model, each) for split, each in scaled.items()}
    return Fitted(strength, logits, sweep)


def _logits(model: LogisticRegression, scaled: np.ndarray) -> np.ndarray:
    """(N, C) float32; of two classes scikit-learn gives the score of the second alone."""
    scores = model.decision_function(scaled)
    if scores.ndim == 1:
        scores = np.stack([np.zeros_like(scores), scores], axis=1)
    return scores.astype(np.float32)
