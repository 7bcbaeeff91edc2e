"""Teachers that run beside the student: a forward pass in eval mode, without gradient.

A teacher is one trained network at one epoch, or several whose probabilities are averaged. Its
weights are looked up by the digest of the run that made them and verified before use.
"""

import contextlib
import hashlib
from pathlib import Path

import numpy as np
import torch

from kdpipe.data import splits, streaming
from kdpipe.data.batches import ImageBatches, choose_eval_batch_size, limit_batch_size
from kdpipe.data.streaming import StreamedBatches
from kdpipe.data.views import IDENTITY_VIEWS
from kdpipe.devices import cuda_errors
from kdpipe.errors import StoreError
from kdpipe.losses import method
from kdpipe.losses.base import ModelOutput
from kdpipe.models import factory
from kdpipe.models.pretrained.adapter import forward_in_chunks
from kdpipe.runs import store, upstream
from kdpipe.runs.spec import Member, ModelSpec, RunSpec
from kdpipe.training.forward import FeatureExtractor, ensemble_logits

N_COMPARED = 16  # stored outputs of a custom network that are compared with its code


class OnlineTeacher:
    """Networks whose outputs are computed for each batch.

    Parameters
    ----------
    members : list of (torch.memory_format, nn.Module)
        The networks, each with the memory format that it runs in.
    temperature : float
        Where their probabilities are averaged.
    extractor : FeatureExtractor, optional
        Of the one network, where terms look at more than logits.
    """

    def __init__(
        self,
        members: list[tuple[torch.memory_format, factory.Classifier]],
        temperature: float = 1.0,
        extractor: FeatureExtractor | None = None,
    ):
        self.members = members
        self.temperature = temperature
        self.extractor = extractor

    def logits(self, x: torch.Tensor, index: torch.Tensor, view: torch.Tensor) -> torch.Tensor:
        """Return logits (B, C) of normalised images (B, channels, H, W), whichever they are."""
        return self.forward(x)

    def forward(self, x: torch.Tensor, max_batch=choose_eval_batch_size) -> torch.Tensor:
        """Return logits (B, C) of normalised images (B, channels, H, W).

        `max_batch` limits the images of a forward pass, see `adapter.forward_in_chunks`.
        """
        with torch.no_grad():
            outputs = [
                forward_in_chunks(model, x.contiguous(memory_format=layout), max_batch)
                for layout, model in self.members
            ]
            if len(outputs) == 1:
                return outputs[0]
            return ensemble_logits(torch.stack(outputs), temperature=self.temperature)

    def forward_outputs(self, x: torch.Tensor) -> ModelOutput:
        """Return all that terms look at, of the one network that this teacher is."""
        assert self.extractor is not None
        ((layout, _),) = self.members
        with torch.no_grad():
            return self.extractor(x.contiguous(memory_format=layout))

    def predict_split(self, split: str, images: ImageBatches | StreamedBatches) -> np.ndarray:
        """Return logits (N, C) of the unaugmented images of a split."""

        def run_batches(size: int) -> torch.Tensor:
            max_batch = limit_batch_size(images)
            return torch.cat(
                [self.forward(x, max_batch).cpu() for x in images.unaugmented_batches(size)]
            )

        return cuda_errors.retry_halving_batch(images, run_batches).numpy()

    def digest(self) -> str:
        """Return the SHA-256 of all parameters and buffers: of what must not change."""
        total = hashlib.sha256()
        for _, model in self.members:
            for value in model.state_dict().values():
                total.update(value.contiguous().cpu().numpy().tobytes())
        return total.hexdigest()


def load_online_teacher(
    spec: RunSpec,
    store: store.Store,
    device: torch.device | str = "cpu",
    code: Path | None = None,
) -> OnlineTeacher:
    """Return the live teacher of a run.

    Parameters
    ----------
    spec : RunSpec
    store : Store
    device : torch.device or str
    code : Path, optional
        The folder of custom code.

    Raises
    ------
    StoreError
        If its weights are missing, damaged, or another run's.
    """
    members, extractor = [], None
    assert spec.method is not None
    needs = method.required_features(spec.method)
    for member in spec.members:
        network = upstream.load_parent_spec(member, store).network
        layout, model = load_member(member, network, store, code)
        members.append((layout, model.to(device)))
        if needs:
            modules = spec.method.get("teacher_modules", [])
            extractor = FeatureExtractor(members[0][1], network, needs, modules)
    return OnlineTeacher(members, average_temperature(spec), extractor)


def average_temperature(spec: RunSpec) -> float:
    """Return the temperature at which the probabilities of an ensemble teacher are averaged."""
    assert spec.teacher is not None and spec.method is not None
    at_temperature = spec.teacher.average_at == "temperature"
    return spec.method["temperature"] if at_temperature else 1.0


def load_member(
    parent: Member, network: ModelSpec, store: store.Store, code: Path | None = None
) -> tuple[torch.memory_format, factory.Classifier]:
    """Return a trained network in eval mode and without gradient, with its memory format.

    Parameters
    ----------
    parent : Member
        The run that it is of, and the epoch after which its weights are taken.
    network : ModelSpec
        That of the spec of the run.
    store : Store
    code : Path, optional
        The folder of custom code.

    Raises
    ------
    StoreError
        For weights that are missing or damaged, and for a custom network whose code computes
        something else than when the run ended.
    """
    arrays = upstream.load_weights(parent, store)
    model = factory.build_model(network, code)
    factory.load_state(model, {key: torch.from_numpy(value) for key, value in arrays.items()})
    model.eval().requires_grad_(False)
    if network.build:
        _check_stored_outputs(model, parent, network, store)
    return factory.get_memory_format(network), model


def _check_stored_outputs(
    model: factory.Classifier, parent: Member, network: ModelSpec, store: store.Store
) -> None:
    """Raise StoreError if a custom network's code computes other outputs than are stored.

    Parameters of the same shapes may be those of another computation. The images are those that
    the parent was evaluated on, which therefore must be there.
    """
    split = splits.load_split(upstream.load_parent_spec(parent, store).data, store)
    name, part = ("val", split.val) if len(split.val) else ("test", split.test)
    order = torch.arange(min(N_COMPARED, len(part)))
    images = streaming.create_batches(part, IDENTITY_VIEWS, split)
    with contextlib.closing(images.batches(order, torch.zeros_like(order), N_COMPARED)) as batches:
        ((_, _, x),) = batches
    stored = torch.from_numpy(upstream.load_outputs(parent, store)[f"{name}_logits"][: len(order)])
    with torch.no_grad():
        outputs = model(x.contiguous(memory_format=factory.get_memory_format(network)))
    # Wider than what two kinds of device differ by, of which one may multiply in TF32.
    tolerance = 1e-3 + 1e-2 * float(stored.abs().max())
    if outputs.shape != stored.shape or not torch.allclose(outputs, stored, rtol=0, atol=tolerance):
        raise StoreError(
            f"{network.name}: {network.build} computes something else than when run "
            f"{parent.run[:12]} ended, with the same parameters: put its code back, or raise "
            f"networks.{network.name}.revision in the study and type: kdpipe network STUDY"
        )
