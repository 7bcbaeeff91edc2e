"""What a teacher says of a batch: a live forward, in eval mode and without gradient.

A teacher is one trained network at one epoch, or several whose probabilities are averaged. Its
weights are looked up by the digest of the run that made them and verified before use.
"""

import hashlib

import numpy as np
import torch
from torch import nn

from kdpipe import models, store
from kdpipe.errors import StoreError
from kdpipe.losses import ensemble_logits
from kdpipe.views import Images

BATCH = 256


class Live:
    """Networks that answer for each batch. `temperature` is where probabilities are averaged."""

    def __init__(self, members: list[tuple[str, nn.Module]], temperature: float = 1.0):
        self.members = members
        self.temperature = temperature

    def logits(self, x: torch.Tensor) -> torch.Tensor:
        """(B, C) for normalised images (B, channels, H, W)."""
        with torch.no_grad():
            found = [
                model(x.contiguous(memory_format=models.memory_format(name)))
                for name, model in self.members
            ]
            if len(found) == 1:
                return found[0]
            return ensemble_logits(torch.stack(found), temperature=self.temperature)

    def predict(self, images: Images) -> np.ndarray:
        """Logits (N, C) of the centre views."""
        batches = [
            self.logits(images.centre(start, start + BATCH))
            for start in range(0, len(images), BATCH)
        ]
        return torch.cat(batches).numpy()

    def digest(self) -> str:
        """SHA-256 of every parameter and buffer: equal before and after, or it was changed."""
        total = hashlib.sha256()
        for _, model in self.members:
            for value in model.state_dict().values():
                total.update(value.contiguous().numpy().tobytes())
        return total.hexdigest()


def load(spec: dict, place: store.Store) -> Live | None:
    """The teacher of a run, ready to answer; None for a run on labels.

    Raises StoreError if its weights are missing, damaged, or another run's.
    """
    teacher = spec["teacher"]
    if teacher is None:
        return None
    members = [
        (member["network"], _member(member, spec["network"], place))
        for member in teacher["members"]
    ]
    at_temperature = teacher["average_at"] == "temperature"
    return Live(members, spec["method"]["temperature"] if at_temperature else 1.0)


def weights_path(member: dict, place: store.Store):
    """The file that holds a parent's weights after the epoch that teaches."""
    folder = place.find_run(member["run"])
    record = store.read_record(folder, member["run"], store.KEPT_RECORD)
    if record is None or record["status"] != "done":
        raise StoreError(f"{folder} is not a finished run: its students cannot be trained")
    if member["epoch"] == record["spec"]["recipe"]["epochs"]:
        return folder / "weights.safetensors"
    return folder / "checkpoints" / f"epoch-{member['epoch']:04d}.safetensors"


def _member(member: dict, network: dict, place: store.Store) -> nn.Module:
    path = weights_path(member, place)
    arrays, about = store.read_arrays(path)
    if (about["run"], about["epoch"]) != (member["run"], member["epoch"]):
        raise StoreError(
            f"{path} holds epoch {about['epoch']} of run {about['run'][:12]}, not epoch "
            f"{member['epoch']} of {member['run'][:12]}: remove the folder {path.parent} and run "
            "the study again"
        )
    model = models.build(
        member["network"], num_classes=network["classes"], in_channels=network["channels"]
    )
    model.load_state_dict({key: torch.from_numpy(value) for key, value in arrays.items()})
    model.eval().requires_grad_(False)
    return model.to(memory_format=models.memory_format(member["network"]))
