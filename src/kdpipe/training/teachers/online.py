"""Online teachers: a forward pass in eval mode, without gradients, for each batch.

A teacher is one trained network at one epoch, or several whose probabilities are averaged. Its
weights are found by the digest of the run that trained them and verified before use.
"""

import contextlib
import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from kdpipe.data import splits, streaming
from kdpipe.data.batches import ImageBatches, choose_eval_batch_size, limit_batch_size
from kdpipe.data.streaming import StreamedBatches
from kdpipe.data.views import IDENTITY_VIEWS
from kdpipe.devices import cuda_errors
from kdpipe.errors import StoreError
from kdpipe.losses import method
from kdpipe.losses.base import ModelOutput, to_float32
from kdpipe.models import factory
from kdpipe.models.pretrained.adapter import forward_in_chunks
from kdpipe.runs import store, upstream
from kdpipe.runs.files import Arrays
from kdpipe.runs.spec import DataSpec, Member, ModelSpec, RunSpec
from kdpipe.training.forward import FeatureExtractor, ensemble_logits
from kdpipe.training.teachers import bfloat16

N_COMPARED = 16  # stored outputs of a custom network that its code is compared with


class OnlineTeacher:
    """Networks whose outputs are computed for each batch.

    Parameters
    ----------
    members : list of (torch.memory_format, nn.Module)
        The networks, each with its memory format.
    temperature : float
        The temperature at which their probabilities are averaged.
    extractor : FeatureExtractor, optional
        That of a single network, if terms use more than logits.
    renormalizations : list of Renormalization or None, optional
        For each network, the map from its students' pixels to those that it was trained on; None
        where both are the same, the default.
    stored : callable, optional
        Of networks that were converted to bfloat16 (`bfloat16.convert_model`): returns the stored
        float32 outputs of each, with which validation and test are evaluated.
    """

    def __init__(
        self,
        members: list[tuple[torch.memory_format, factory.Classifier]],
        temperature: float = 1.0,
        extractor: FeatureExtractor | None = None,
        renormalizations: "Sequence[Renormalization | None] | None" = None,
        stored: Callable[[], list[Arrays]] | None = None,
    ):
        self.members = members
        self.temperature = temperature
        self.extractor = extractor
        self.renormalizations = renormalizations or [None] * len(members)
        self.stored = stored

    def logits(self, x: torch.Tensor, index: torch.Tensor, view: torch.Tensor) -> torch.Tensor:
        """Return logits (B, C) of normalized images (B, channels, H, W), ignoring their indices."""
        return self.forward(x)

    def forward(self, x: torch.Tensor, max_batch=choose_eval_batch_size) -> torch.Tensor:
        """Return logits (B, C) of normalized images (B, channels, H, W).

        `max_batch` limits the images of a forward pass, see `adapter.forward_in_chunks`.
        """
        with torch.no_grad(), bfloat16.autocast(x, self.stored is not None):
            outputs = [
                forward_in_chunks(
                    model, _renormalize(x, each).contiguous(memory_format=layout), max_batch
                )
                for (layout, model), each in zip(self.members, self.renormalizations, strict=True)
            ]
        with torch.no_grad():
            outputs = [to_float32(logits) for logits in outputs]
            return average_logits(outputs, self.temperature)

    def forward_outputs(self, x: torch.Tensor) -> ModelOutput:
        """Return logits and features of this teacher's single network."""
        assert self.extractor is not None
        ((layout, _),) = self.members
        (renormalization,) = self.renormalizations
        with torch.no_grad(), bfloat16.autocast(x, self.stored is not None):
            x = _renormalize(x, renormalization)
            output = self.extractor(x.contiguous(memory_format=layout))
        return bfloat16.to_float32_output(output)

    def predict_split(self, split: str, images: ImageBatches | StreamedBatches) -> np.ndarray:
        """Return logits (N, C) of the unaugmented images of a split.

        Of a teacher that answers in bfloat16, those of validation and test are the stored ones.
        """
        if self.stored is not None and split != "train":
            members = [torch.from_numpy(each[f"{split}_logits"]) for each in self.stored()]
            return average_logits(members, self.temperature).numpy()
        return self.compute_split(images)

    def compute_split(self, images: ImageBatches | StreamedBatches) -> np.ndarray:
        """Return logits (N, C) of unaugmented images, computed as those that students learn."""

        def run_batches(size: int) -> torch.Tensor:
            max_batch = limit_batch_size(images)
            return torch.cat(
                [self.forward(x, max_batch).cpu() for x in images.unaugmented_batches(size)]
            )

        return cuda_errors.retry_halving_batch(images, run_batches).numpy()

    def measure_rounding(
        self, images: Mapping[str, ImageBatches | StreamedBatches]
    ) -> dict[str, Any] | None:
        """Return how far the outputs of a teacher in bfloat16 are from the stored float32 ones.

        Parameters
        ----------
        images : mapping
            The unaugmented images of validation or test, by `val` and `test`.

        Returns
        -------
        dict or None
            The `split` (validation, where there is one) and its number of `images`;
            `largest_error`, the largest difference of a logit as a share of the largest logit, both
            less the mean of their image; and `other_class`, the share of images with another top
            class. None for a teacher in float32.
        """
        if self.stored is None:
            return None
        split = "val" if "val" in images else "test"
        computed = self.compute_split(images[split])
        exact = self.predict_split(split, images[split])
        centered = exact - exact.mean(1, keepdims=True)
        errors = np.abs(computed - computed.mean(1, keepdims=True) - centered)
        return {
            "split": {"val": "validation"}.get(split, split),
            "images": len(exact),
            "largest_error": float(errors.max() / np.abs(centered).max()),
            "other_class": float((computed.argmax(1) != exact.argmax(1)).mean()),
        }

    def digest(self) -> str:
        """Return the SHA-256 of all parameters and buffers, which must not change."""
        total = hashlib.sha256()
        for _, model in self.members:
            for value in model.state_dict().values():
                # As bytes, since NumPy has no bfloat16.
                total.update(value.contiguous().cpu().flatten().view(torch.uint8).numpy())
        return total.hexdigest()


def load_online_teacher(
    spec: RunSpec,
    store: store.Store,
    device: torch.device | str = "cpu",
    code: Path | None = None,
) -> OnlineTeacher:
    """Return the online teacher of a run.

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
        If its weights are missing, damaged, or belong to another run.
    """
    members, renormalizations, extractor = [], [], None
    assert spec.teacher is not None and spec.method is not None
    is_half = spec.teacher.teacher_precision == "bfloat16"
    needs = method.required_features(spec.method)
    for member in spec.members:
        parent = upstream.load_parent_spec(member, store)
        network = parent.network
        layout, model = load_member(member, network, store, code)
        if is_half:
            bfloat16.convert_model(model, fold=not spec.method.get("teacher_modules"))
        members.append((layout, model.to(device)))
        renormalizations.append(load_renormalization(spec.data, parent.data, store, device))
        if needs:
            modules = spec.method.get("teacher_modules", [])
            extractor = FeatureExtractor(members[0][1], network, needs, modules)
    return OnlineTeacher(
        members,
        average_temperature(spec),
        extractor,
        renormalizations,
        (lambda: [upstream.load_outputs(member, store) for member in spec.members])
        if is_half
        else None,
    )


# Scale and shift (C, 1, 1) from pixels as the student's data are normalized to the teacher's.
Renormalization = tuple[torch.Tensor, torch.Tensor]


def load_renormalization(
    student: DataSpec, teacher: DataSpec, store: store.Store, device: torch.device | str = "cpu"
) -> Renormalization | None:
    """Return what makes of a student's pixels those that its teacher was trained on.

    Parameters
    ----------
    student, teacher : DataSpec
        The images of each, which may be subsets of different size.
    store : Store
    device : torch.device or str

    Returns
    -------
    tuple of Tensor, or None
        Scale and shift; None where both are normalized alike.
    """
    if student.canonical == teacher.canonical:
        return None
    mean, std = splits.load_normalization(student, store)
    teacher_mean, teacher_std = splits.load_normalization(teacher, store)
    if np.array_equal(mean, teacher_mean) and np.array_equal(std, teacher_std):
        return None
    scale, shift = (
        torch.tensor(values, dtype=torch.float32, device=device)[:, None, None]
        for values in (std / teacher_std, (mean - teacher_mean) / teacher_std)
    )
    return scale, shift


def _renormalize(x: torch.Tensor, renormalization: Renormalization | None) -> torch.Tensor:
    """Return pixels (B, C, H, W) as a teacher wants them."""
    if renormalization is None:
        return x
    scale, shift = renormalization
    return x * scale + shift


def average_logits(members: list[torch.Tensor], temperature: float) -> torch.Tensor:
    """Return the logits of a teacher: those of its one member, or of the ensemble of several."""
    if len(members) == 1:
        return members[0]
    return ensemble_logits(torch.stack(members), temperature)


def average_temperature(spec: RunSpec) -> float:
    """Return the temperature at which the probabilities of an ensemble teacher are averaged."""
    assert spec.teacher is not None and spec.method is not None
    at_temperature = spec.teacher.average_at == "temperature"
    return spec.method["temperature"] if at_temperature else 1.0


def load_member(
    parent: Member, network: ModelSpec, store: store.Store, code: Path | None = None
) -> tuple[torch.memory_format, factory.Classifier]:
    """Return a trained network in eval mode without gradients, with its memory format.

    Parameters
    ----------
    parent : Member
        Its run, and the epoch of its weights.
    network : ModelSpec
        The network in the spec of the run.
    store : Store
    code : Path, optional
        The folder of custom code.

    Raises
    ------
    StoreError
        If weights are missing or damaged, or the outputs of a custom network's code have changed
        since the run ended.
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
    """Raise StoreError if a custom network's outputs differ from the stored ones.

    Another computation may have parameters of the same shapes. The images are those that the parent
    was evaluated on, which must therefore exist.
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
    # Wider than the difference between two kinds of device, one of which may use TF32.
    tolerance = 1e-3 + 1e-2 * float(stored.abs().max())
    if outputs.shape != stored.shape or not torch.allclose(outputs, stored, rtol=0, atol=tolerance):
        raise StoreError(
            f"{network.name}: the outputs of {network.build} have changed since run "
            f"{parent.run[:12]} ended, with the same parameters: restore its code, or raise "
            f"networks.{network.name}.revision in the study and run: kdpipe check STUDY --write"
        )
