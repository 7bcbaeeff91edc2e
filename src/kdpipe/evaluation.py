"""A network on train, validation and test: eval mode, the images as they are.

Validation is looked at after every epoch, train and test once, when training has ended: for the
last weights, for the best on validation, and for every checkpoint that is kept. Logits on
validation and test are stored, so that ensembles need no network afterwards.
"""

import json
from pathlib import Path

import numpy as np
import torch
from torch import nn

from kdpipe import metrics, models, store
from kdpipe.data import Split
from kdpipe.progress import Progress, as_arrays, as_tensors
from kdpipe.teacher_outputs import Live
from kdpipe.views import Images, Views

BATCH = 256
PLAIN = Views(0, "zero", False)


class Examination:
    """The splits, and what the teacher says of them (asked once)."""

    def __init__(self, spec: dict, split: Split, teacher: Live | None):
        parts = {"train": split.train, "val": split.val, "test": split.test}
        self.network = spec["network"]["name"]
        self.labels = {name: np.array(part.labels) for name, part in parts.items()}
        self.images = {
            name: Images(part.images, PLAIN, split.mean, split.std)
            for name, part in parts.items()
            if len(part)
        }
        self.teacher = teacher
        self.taught: dict[str, np.ndarray] = {}
        self.temperature = spec["method"]["temperature"] if spec["method"] else 1.0

    def logits(self, model: nn.Module, split: str) -> np.ndarray:
        """(N, C) float32."""
        images = self.images[split]
        layout = models.memory_format(self.network)
        model.eval()
        with torch.inference_mode():
            batches = [
                model(images.centre(start, start + BATCH).contiguous(memory_format=layout))
                for start in range(0, len(images), BATCH)
            ]
        return torch.cat(batches).numpy()

    def metrics(self, logits: np.ndarray, split: str) -> dict:
        if self.teacher is not None and split not in self.taught:
            self.taught[split] = self.teacher.predict(self.images[split])
        return metrics.of(logits, self.labels[split], self.taught.get(split), self.temperature)

    def of(self, model: nn.Module, *splits: str) -> dict[str, dict | None]:
        """The metrics by split; None where a split is empty."""
        return {
            split: self.metrics(self.logits(model, split), split) if split in self.images else None
            for split in splits
        }

    def after_epoch(self, model: nn.Module) -> dict[str, float] | None:
        """What a curve says of validation."""
        found = self.of(model, "val")["val"]
        if found is None:
            return None
        line = {"accuracy": found["accuracy"], "ce": found["nll"]}
        return line | ({"kd": found["kl"]} if "kl" in found else {})


def finish(
    folder: Path, digest: str, model: nn.Module, progress: Progress, look: Examination
) -> tuple[dict, dict | None]:
    """Write weights, curve and outputs of a run at its end; its metrics (last, best)."""
    epoch = progress.epoch
    write_weights(folder / "weights.safetensors", digest, model, epoch)
    curve = "".join(json.dumps(line) + "\n" for line in progress.curve)
    store.write_bytes(folder / "curve.jsonl", curve.encode())
    last = {"epoch": epoch} | look.of(model, "train")
    last |= _stored(folder / "outputs.safetensors", digest, epoch, model, look)
    if progress.best_epoch is None:
        return last, None
    model.load_state_dict(progress.best)
    return last, {"epoch": progress.best_epoch} | look.of(model, "train", "val", "test")


def checkpoint(folder: Path, digest: str, model: nn.Module, epoch: int, look: Examination) -> dict:
    """Metrics of a kept checkpoint, its outputs stored beside it."""
    arrays, _ = store.read_arrays(checkpoint_path(folder, epoch))
    model.load_state_dict(as_tensors(arrays))
    return _stored(outputs_path(folder, epoch), digest, epoch, model, look)


def checkpoint_path(folder: Path, epoch: int) -> Path:
    return folder / "checkpoints" / f"epoch-{epoch:04d}.safetensors"


def outputs_path(folder: Path, epoch: int) -> Path:
    return folder / "checkpoints" / f"epoch-{epoch:04d}-outputs.safetensors"


def write_weights(path: Path, digest: str, model: nn.Module, epoch: int) -> None:
    store.write_arrays(path, as_arrays(model.state_dict()), {"run": digest, "epoch": epoch})


def _stored(
    path: Path, digest: str, epoch: int, model: nn.Module, look: Examination
) -> dict[str, dict | None]:
    """Logits and labels on validation and test into a file; their metrics."""
    arrays, found = {}, {}
    for split in ("val", "test"):
        found[split] = None
        if split in look.images:
            logits = look.logits(model, split)
            arrays |= {f"{split}_logits": logits, f"{split}_labels": look.labels[split]}
            found[split] = look.metrics(logits, split)
    store.write_arrays(path, arrays, {"run": digest, "epoch": epoch})
    return found
