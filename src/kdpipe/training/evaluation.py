"""A network on train, validation and test: eval mode, the images as they are.

Validation is looked at after every epoch, train and test once, when training has ended: for the
last weights, for the best on validation, and for every checkpoint that is kept. The logits of
each on validation and test are stored, so that ensembles need no network afterwards.
"""

import contextlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from kdpipe.data import streams
from kdpipe.data.images import at_once
from kdpipe.data.splits import Split
from kdpipe.data.views import PLAIN
from kdpipe.devices import memory
from kdpipe.errors import Diverged, StoreError
from kdpipe.learning.term import Said
from kdpipe.networks import models
from kdpipe.networks.brought.adapted import in_parts
from kdpipe.results import metrics, run_folder
from kdpipe.results.files import read_arrays, write_arrays, write_bytes
from kdpipe.training.answers import Answers
from kdpipe.training.objective import Objective
from kdpipe.training.progress import Progress, as_arrays, as_tensors
from kdpipe.training.teachers.live import Live
from kdpipe.training.teachers.tables import Tables

CPU = torch.device("cpu")


class Examination:
    """The splits, and what the teacher says of them (asked once)."""

    def __init__(
        self,
        spec: dict,
        split: Split,
        teacher: Live | Tables | None,
        objective: Objective,
        device: torch.device = CPU,
        workers: int = 0,
    ):
        parts = {"train": split.train, "val": split.val, "test": split.test}
        self.network = spec["network"]
        self.layout = models.layout(self.network)
        self.device = device
        self.labels = {name: np.array(part.labels) for name, part in parts.items()}
        self.images = {
            name: streams.images(part, PLAIN, split, device, workers)
            for name, part in parts.items()
            if len(part)
        }
        self.teacher = teacher
        self.taught: dict[str, np.ndarray] = {}
        self.temperature = spec["method"]["temperature"] if spec["method"] else 1.0
        self.objective = objective
        # In batches of how many images terms are looked at; None: as many as are fast.
        together = any(term.together for term, *_ in objective.terms.values())
        self.batch = spec["recipe"]["batch_size"] if together else None

    def logits(
        self,
        model: models.Classifier,
        split: str,
        epoch: int,
        pause: Callable[[], None] = lambda: None,
    ) -> np.ndarray:
        """(N, C) float32, of the weights after `epoch`. Raises Diverged if they are not finite."""
        images = self.images[split]
        model.eval()

        def ask(size: int) -> torch.Tensor:
            batches = []
            with torch.inference_mode(), contextlib.closing(images.centres(size)) as centres:
                for x in centres:
                    given = x.contiguous(memory_format=self.layout)
                    batches.append(in_parts(model, given, at_once(images)).cpu())
                    pause()
            return torch.cat(batches)

        logits = memory.halved(images, ask)
        if not bool(torch.isfinite(logits).all()):
            raise Diverged(f"the outputs on {split} are not finite after epoch {epoch}")
        return logits.numpy()

    def parts(self, model: models.Classifier, logits: np.ndarray, split: str) -> dict[str, float]:
        """The terms of the loss that `metrics` does not have, of all that the run learns from."""
        asked = {
            part: term.images
            for part, (term, *_) in self.objective.terms.items()
            if self.objective.metric(part) is None
        }
        if not asked or self.teacher is None:
            return {}
        model.eval()
        self.objective.learnt.eval()

        def ask(size: int) -> dict[str, float]:
            totals, seen = dict.fromkeys(asked, 0.0), dict.fromkeys(asked, 0)
            said = contextlib.closing(self._said(model, logits, split, size))
            with torch.inference_mode(), said as batches:
                for ours, theirs, labels in batches:
                    for part, fewest in asked.items():
                        if len(labels) < fewest:
                            continue  # the last of a split, too few to be compared with each other
                        loss = self.objective.part(part, ours, theirs, labels)
                        totals[part] += float(loss) * len(labels)
                        seen[part] += len(labels)
            return {part: total / seen[part] for part, total in totals.items() if seen[part]}

        return ask(self.batch) if self.batch else memory.halved(self.images[split], ask)

    def _said(self, model: models.Classifier, logits: np.ndarray, split: str, size: int):
        """Batches of what student and teacher say of the images as they are, and their labels."""
        images, labels = self.images[split], torch.from_numpy(self.labels[split])
        if needs := self.objective.needs:
            assert isinstance(self.teacher, Live)
            with contextlib.closing(Answers(model, self.network, needs)) as answers:
                for start, x in zip(range(0, len(labels), size), images.centres(size), strict=True):
                    ours = answers(x.contiguous(memory_format=self.layout))
                    yield ours, self.teacher.said(x), labels[start : start + size].to(x.device)
            return
        said = [torch.from_numpy(one) for one in (logits, self._taught(split))]
        for start in range(0, len(labels), size):
            rows = slice(start, start + size)
            ours, theirs = (Said(one[rows].to(self.device), []) for one in said)
            yield ours, theirs, labels[rows].to(self.device)

    def _taught(self, split: str) -> np.ndarray:
        """What the teacher says of a split, asked once."""
        assert self.teacher is not None
        if split not in self.taught:
            self.taught[split] = self.teacher.answers(split, self.images[split])
        return self.taught[split]

    def metrics(self, logits: np.ndarray, split: str) -> dict:
        taught = None if self.teacher is None else self._taught(split)
        return metrics.of(logits, self.labels[split], taught, self.temperature)

    def of(self, model: models.Classifier, epoch: int, *splits: str) -> dict[str, dict | None]:
        """The metrics by split; None where a split is empty."""
        found: dict[str, dict | None] = dict.fromkeys(splits)
        for split in splits:
            if split in self.images:
                logits = self.logits(model, split, epoch)
                found[split] = self.metrics(logits, split) | self.parts(model, logits, split)
        return found

    def after_epoch(
        self, model: models.Classifier, epoch: int, pause: Callable[[], None]
    ) -> dict[str, float] | None:
        """What a curve says of validation."""
        if "val" not in self.images:
            return None
        logits = self.logits(model, "val", epoch, pause)
        found = self.metrics(logits, "val")
        line = {"accuracy": found["accuracy"], "ce": found["nll"]}
        for part in self.objective.terms:
            metric = self.objective.metric(part)
            line |= {part: found[metric]} if metric else {}
        return line | self.parts(model, logits, "val")


def finish(
    folder: Path, digest: str, model: models.Classifier, progress: Progress, look: Examination
) -> tuple[dict, dict | None]:
    """Write weights, curve and outputs of a run at its end; its metrics (last, best).

    The best epoch on validation has weights and outputs of its own, unless it is the last one.
    """
    epoch = progress.epoch
    write_weights(run_folder.weights(folder), digest, model, epoch)
    # Sorted, since a state that was saved and read again has lost the order of its keys.
    curve = "".join(json.dumps(line, sort_keys=True) + "\n" for line in progress.curve)
    write_bytes(run_folder.curve(folder), curve.encode())
    last = {"epoch": epoch} | look.of(model, epoch, "train")
    last |= _stored(run_folder.outputs(folder), digest, epoch, model, look)
    weights, outputs = run_folder.best_weights(folder), run_folder.best_outputs(folder)
    best = progress.best_epoch
    if best is None or best == epoch:
        for path in (weights, outputs):  # of a try that was cut off, on another device
            path.unlink(missing_ok=True)
        return last, None if best is None else dict(last)
    models.put(model, progress.best)
    write_weights(weights, digest, model, best)
    found = {"epoch": best} | look.of(model, best, "train")
    return last, found | _stored(outputs, digest, best, model, look)


def unaveraged(
    folder: Path, digest: str, model: models.Classifier, epoch: int, look: Examination
) -> dict | None:
    """Write weights and outputs of a network whose average is what its run leaves; its metrics.

    None, and nothing written, if its outputs are not finite: those of its average are.
    """
    weights, outputs = run_folder.unaveraged_weights(folder), run_folder.unaveraged_outputs(folder)
    for path in (weights, outputs):  # of a try that was cut off, on another device
        path.unlink(missing_ok=True)
    try:
        found = {"epoch": epoch} | look.of(model, epoch, "train")
        found |= _stored(outputs, digest, epoch, model, look)
    except Diverged:
        return None
    write_weights(weights, digest, model, epoch)
    return found


def checkpoint(
    folder: Path, digest: str, model: models.Classifier, epoch: int, look: Examination
) -> dict:
    """Metrics of a kept checkpoint, its outputs stored beside it."""
    models.put(model, read_checkpoint(folder, digest, epoch))
    return _stored(run_folder.outputs(folder, epoch), digest, epoch, model, look)


def read_checkpoint(folder: Path, digest: str, epoch: int) -> dict[str, torch.Tensor]:
    """The weights of a run after an epoch. Raises StoreError if they are not that."""
    path = run_folder.weights(folder, epoch)
    arrays, about = read_arrays(path)
    if about != {"run": digest, "epoch": epoch}:
        raise StoreError(f"{path} is of another run or epoch: remove it and start again")
    return as_tensors(arrays)


def write_weights(path: Path, digest: str, model: models.Classifier, epoch: int) -> None:
    write_arrays(path, as_arrays(model.state_dict()), {"run": digest, "epoch": epoch})


def _stored(
    path: Path, digest: str, epoch: int, model: models.Classifier, look: Examination
) -> dict[str, dict | None]:
    """Logits and labels on validation and test into a file; their metrics."""
    arrays, found = {}, {}
    for split in ("val", "test"):
        found[split] = None
        if split in look.images:
            logits = look.logits(model, split, epoch)
            arrays |= {f"{split}_logits": logits, f"{split}_labels": look.labels[split]}
            found[split] = look.metrics(logits, split) | look.parts(model, logits, split)
    write_arrays(path, arrays, {"run": digest, "epoch": epoch})
    return found
