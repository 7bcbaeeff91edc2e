"""Evaluation on train, validation and test, in eval mode on unaugmented images.

Validation is evaluated after every epoch, train and test once after training: for the last weights,
for the best on validation, and for every checkpoint that is kept. The logits of each on validation
and test are stored, so that ensembles do not need the networks. For every epoch, the misclassified
validation images are stored, one bit per image.

The losses of an epoch's batches are logged on the device and read once: a row per batch, a column
for each part of the loss and one for the hits. A non-finite loss ends the run; otherwise their
means are a line of the curve.
"""

import contextlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from kdpipe.data import streaming
from kdpipe.data.batches import limit_batch_size
from kdpipe.data.splits import Split
from kdpipe.data.views import IDENTITY_VIEWS
from kdpipe.devices import cuda_errors
from kdpipe.errors import DivergedError, StoreError
from kdpipe.losses.base import ModelOutput
from kdpipe.losses.method import KD_TERM
from kdpipe.models import factory
from kdpipe.models.pretrained.adapter import forward_in_chunks
from kdpipe.runs import metrics, run_folder
from kdpipe.runs.class_metrics import compute_decision_metric
from kdpipe.runs.files import read_arrays, write_arrays, write_bytes
from kdpipe.runs.spec import RunSpec
from kdpipe.training.checkpoint import TrainingState, to_arrays, to_tensors
from kdpipe.training.forward import FeatureExtractor
from kdpipe.training.objective import Objective, TermWeights
from kdpipe.training.teachers.cached import CachedTeacher
from kdpipe.training.teachers.online import OnlineTeacher

HITS = "hits"
CPU = torch.device("cpu")

# --- the losses of an epoch's batches


def metric_names(objective: Objective) -> list[str]:
    """Return the columns of a logged batch: the parts, and the correctly classified images."""
    return ["loss", "ce", KD_TERM, HITS, *(part for part in objective.terms if part != KD_TERM)]


def log_batch(
    row: torch.Tensor, names: list[str], parts: dict, logits: torch.Tensor, labels: torch.Tensor
) -> None:
    """Log a batch's losses and hits on the device.

    Parameters
    ----------
    row : Tensor of shape (columns,)
        Output row.
    names : list of str
        The columns, see `metric_names`.
    parts : dict of Tensor
        The loss and its parts by name.
    logits : Tensor of shape (B, C)
    labels : Tensor of shape (B,) or (B, C)
        For mixed images the shares of the classes: a hit then counts as the share of its class.
    """
    with torch.no_grad():
        predictions = logits.argmax(1)
        hits = labels.gather(1, predictions[:, None]) if labels.ndim > 1 else predictions == labels
        by_name = {**parts, HITS: hits.sum()}
        # In one copy; parts that an epoch does not have stay 0.
        values = [
            by_name[name] if name in by_name else row[column] for column, name in enumerate(names)
        ]
        row.copy_(torch.stack(values))


def compute_epoch_means(
    table: torch.Tensor, names: list[str], batch: int, images: int, weights: TermWeights
) -> dict[str, float]:
    """Return the means over a training epoch: on augmented views, with changing weights.

    Parameters
    ----------
    table : Tensor of shape (steps, columns)
        The logged batches.
    names : list of str
        The columns, see `metric_names`.
    batch : int
        The labelled images of a batch, which weight the batches; the last one has the rest.
    images : int
        The number of training images.
    weights : TermWeights
        Those of the epoch.
    """
    sizes = np.full(len(table), batch)
    sizes[-1] = images - batch * (len(table) - 1)
    values = table.double().cpu().numpy()
    # NumPy sums the rows of a table in another order than one column: the first three are summed as
    # in earlier versions, or the bytes of a curve would change.
    first_means = (values[:, :3] * sizes[:, None]).sum(0) / images
    means = dict(zip(names[:3], first_means, strict=True))
    for column, name in list(enumerate(names))[4:]:
        means[name] = (values[:, column] * sizes).sum() / images
    parts = ["loss", "ce", *weights.terms]
    averages = {name: means[name] for name in parts}
    averages["accuracy"] = values[:, names.index(HITS)].sum() / images
    return {name: float(value) for name, value in averages.items()}


def raise_if_nonfinite(table: torch.Tensor, epoch: int, curve: list[dict]) -> None:
    """Raise DivergedError with the step, and the last finite loss."""
    losses = table[:, 0]
    nonfinite = (~torch.isfinite(losses)).nonzero()
    if len(nonfinite):
        step = int(nonfinite[0])
        last = "none"
        if step:
            last = f"{float(losses[step - 1]):.4g}"
        elif curve:
            last = f"{curve[-1]['train']['loss']:.4g}, the mean of epoch {epoch}"
        raise DivergedError(
            f"the loss is {float(losses[step])} in epoch {epoch + 1}, step {step + 1} "
            f"(last finite loss: {last})"
        )


# --- splits


class Evaluator:
    """The splits of a run, and the teacher's logits on them, computed once."""

    def __init__(
        self,
        spec: RunSpec,
        split: Split,
        teacher: OnlineTeacher | CachedTeacher | None,
        objective: Objective,
        device: torch.device = CPU,
        workers: int = 0,
    ):
        parts = {"train": split.train, "val": split.val, "test": split.test}
        self.network = spec.network
        self.memory_format = factory.get_memory_format(self.network)
        self.device = device
        self.labels = {name: np.array(part.labels) for name, part in parts.items()}
        self.images = {
            name: streaming.create_batches(part, IDENTITY_VIEWS, split, device, workers)
            for name, part in parts.items()
            if len(part)
        }
        self.teacher = teacher
        self.teacher_cache: dict[str, np.ndarray] = {}
        self.temperature = spec.method["temperature"] if spec.method else 1.0
        self.decision_metric = spec.metric
        self.objective = objective
        # The batch size for evaluating terms; None: as large as is fast.
        is_batch_dependent = any(term.is_batch_dependent for term, *_ in objective.terms.values())
        part_size = spec.recipe.batch_size // spec.recipe.shards
        self.batch = part_size if is_batch_dependent else None

    def logits(
        self,
        model: factory.Classifier,
        split: str,
        epoch: int,
        pause: Callable[[], None] = lambda: None,
    ) -> np.ndarray:
        """Return logits (N, C) float32. Raise DivergedError if they are not finite."""
        images = self.images[split]
        model.eval()

        def run_batches(size: int) -> torch.Tensor:
            batches = []
            with (
                torch.inference_mode(),
                contextlib.closing(images.unaugmented_batches(size)) as centres,
            ):
                for x in centres:
                    formatted = x.contiguous(memory_format=self.memory_format)
                    batches.append(
                        forward_in_chunks(model, formatted, limit_batch_size(images)).cpu()
                    )
                    pause()
            return torch.cat(batches)

        logits = cuda_errors.retry_halving_batch(images, run_batches)
        if not bool(torch.isfinite(logits).all()):
            raise DivergedError(f"the outputs on {split} are not finite after epoch {epoch}")
        return logits.numpy()

    def compute_terms(
        self, model: factory.Classifier, logits: np.ndarray, split: str
    ) -> dict[str, float]:
        """Return the means over a split of the terms that are not in `metrics`."""
        min_images_by_part = {
            part: term.images
            for part, (term, *_) in self.objective.terms.items()
            if self.objective.metric(part) is None
        }
        if not min_images_by_part or self.teacher is None:
            return {}
        model.eval()
        self.objective.modules.eval()

        def run_batches(size: int) -> dict[str, float]:
            totals, counts = (
                dict.fromkeys(min_images_by_part, 0.0),
                dict.fromkeys(min_images_by_part, 0),
            )
            outputs = contextlib.closing(self._iterate_outputs(model, logits, split, size))
            with torch.inference_mode(), outputs as batches:
                for student, teacher, labels in batches:
                    for part, min_images in min_images_by_part.items():
                        if len(labels) < min_images:
                            continue  # the last batch, too small for the term
                        loss = self.objective.compute_term(part, student, teacher, labels)
                        totals[part] += float(loss) * len(labels)
                        counts[part] += len(labels)
            return {part: total / counts[part] for part, total in totals.items() if counts[part]}

        return (
            run_batches(self.batch)
            if self.batch
            else cuda_errors.retry_halving_batch(self.images[split], run_batches)
        )

    def _iterate_outputs(
        self, model: factory.Classifier, logits: np.ndarray, split: str, size: int
    ):
        """Yield batches of the outputs of student and teacher, and of labels."""
        images, labels = self.images[split], torch.from_numpy(self.labels[split])
        if needs := self.objective.needs:
            assert isinstance(self.teacher, OnlineTeacher)
            modules = self.objective.student_modules
            extractor = FeatureExtractor(model, self.network, needs, modules)
            with contextlib.closing(extractor):
                for start, x in zip(
                    range(0, len(labels), size), images.unaugmented_batches(size), strict=True
                ):
                    student = extractor(x.contiguous(memory_format=self.memory_format))
                    yield (
                        student,
                        self.teacher.forward_outputs(x),
                        labels[start : start + size].to(x.device),
                    )
            return
        logit_tensors = [torch.from_numpy(array) for array in (logits, self._teacher_logits(split))]
        for start in range(0, len(labels), size):
            rows = slice(start, start + size)
            student, teacher = (
                ModelOutput(array[rows].to(self.device), []) for array in logit_tensors
            )
            yield student, teacher, labels[rows].to(self.device)

    def _teacher_logits(self, split: str) -> np.ndarray:
        """Return the teacher's logits on a split, computed once."""
        assert self.teacher is not None
        if split not in self.teacher_cache:
            self.teacher_cache[split] = self.teacher.predict_split(split, self.images[split])
        return self.teacher_cache[split]

    def metrics(self, logits: np.ndarray, split: str) -> dict:
        """Return the metrics of logits on a split."""
        teacher_logits = None if self.teacher is None else self._teacher_logits(split)
        return metrics.compute_metrics(logits, self.labels[split], teacher_logits, self.temperature)

    def evaluate_splits(
        self, model: factory.Classifier, epoch: int, *splits: str
    ) -> dict[str, dict | None]:
        """Return metrics and terms by split; None where a split is empty."""
        results: dict[str, dict | None] = dict.fromkeys(splits)
        for split in splits:
            if split in self.images:
                logits = self.logits(model, split, epoch)
                results[split] = self.metrics(logits, split) | self.compute_terms(
                    model, logits, split
                )
        return results

    def evaluate_epoch(
        self, model: factory.Classifier, epoch: int, pause: Callable[[], None]
    ) -> tuple[dict[str, float], np.ndarray] | None:
        """Return the line of a curve on validation, and which images are wrong: (images,) bool.

        The line has the metric that chooses the best epoch, if that is not top-1. None without a
        validation split.
        """
        if "val" not in self.images:
            return None
        logits = self.logits(model, "val", epoch, pause)
        values = self.metrics(logits, "val")
        line = {"accuracy": values["accuracy"], "ce": values["nll"]}
        for part in self.objective.terms:
            metric = self.objective.metric(part)
            line |= {part: values[metric]} if metric else {}
        predicted = logits.argmax(axis=1)
        if self.decision_metric != "top1":
            line[self.decision_metric] = compute_decision_metric(
                predicted, self.labels["val"], self.decision_metric
            )
        errors = predicted != self.labels["val"]
        return line | self.compute_terms(model, logits, "val"), errors


def finalize_run(
    folder: Path,
    digest: str,
    model: factory.Classifier,
    progress: TrainingState,
    evaluator: Evaluator,
) -> tuple[dict, dict | None]:
    """Write weights, curve and outputs of a finished run, and return its metrics (last, best).

    The best epoch on validation has separate weights and outputs, unless it is the last one.
    """
    epoch = progress.epoch
    write_weights(run_folder.weights_path(folder), digest, model, epoch)
    # Sorted, since a state that was saved and loaded has lost the order of its keys.
    curve = "".join(json.dumps(line, sort_keys=True) + "\n" for line in progress.curve)
    write_bytes(run_folder.curve_path(folder), curve.encode())
    _store_validation_errors(folder, digest, progress, evaluator)
    last = {"epoch": epoch} | evaluator.evaluate_splits(model, epoch, "train")
    last |= _store_outputs(run_folder.outputs_path(folder), digest, epoch, model, evaluator)
    weights, outputs = run_folder.best_weights_path(folder), run_folder.best_outputs_path(folder)
    best = progress.best_epoch
    if best is None or best == epoch:
        for path in (weights, outputs):  # left by an interrupted attempt on another device
            path.unlink(missing_ok=True)
        return last, None if best is None else dict(last)
    factory.load_state(model, progress.best)
    write_weights(weights, digest, model, best)
    best_metrics = {"epoch": best} | evaluator.evaluate_splits(model, best, "train")
    return last, best_metrics | _store_outputs(outputs, digest, best, model, evaluator)


def _store_validation_errors(
    folder: Path, digest: str, progress: TrainingState, evaluator: Evaluator
) -> None:
    """Write which validation images were wrong after each epoch.

    Not where an epoch lacks them: one that a version trained which did not keep them.
    """
    path = run_folder.validation_errors_path(folder)
    if len(progress.val_errors) < progress.epoch or not progress.val_errors:
        path.unlink(missing_ok=True)  # of a try that was cut off, on another device
        return
    arrays = {"errors": np.stack(progress.val_errors)}
    write_arrays(path, arrays, {"run": digest, "images": len(evaluator.labels["val"])})


def eval_raw_weights(
    folder: Path, digest: str, model: factory.Classifier, epoch: int, evaluator: Evaluator
) -> dict | None:
    """Write the unaveraged weights of a run and their outputs, and return their metrics.

    Returns None and writes nothing if the outputs are not finite, unlike those of the average.
    """
    weights, outputs = (
        run_folder.unaveraged_weights_path(folder),
        run_folder.unaveraged_outputs_path(folder),
    )
    for path in (weights, outputs):  # left by an interrupted attempt on another device
        path.unlink(missing_ok=True)
    try:
        results = {"epoch": epoch} | evaluator.evaluate_splits(model, epoch, "train")
        results |= _store_outputs(outputs, digest, epoch, model, evaluator)
    except DivergedError:
        return None
    write_weights(weights, digest, model, epoch)
    return results


def eval_checkpoint(
    folder: Path, digest: str, model: factory.Classifier, epoch: int, evaluator: Evaluator
) -> dict:
    """Return the metrics of a kept checkpoint, and store its outputs next to it."""
    factory.load_state(model, read_checkpoint(folder, digest, epoch))
    return _store_outputs(run_folder.outputs_path(folder, epoch), digest, epoch, model, evaluator)


def read_checkpoint(folder: Path, digest: str, epoch: int) -> dict[str, torch.Tensor]:
    """Return the weights of a run after an epoch; raise StoreError if the file has others."""
    path = run_folder.weights_path(folder, epoch)
    arrays, header = read_arrays(path)
    if header != {"run": digest, "epoch": epoch}:
        raise StoreError(f"{path} is of another run or epoch: remove it and start again")
    return to_tensors(arrays)


def write_weights(path: Path, digest: str, model: factory.Classifier, epoch: int) -> None:
    """Write the weights of a run after an epoch."""
    write_arrays(path, to_arrays(model.state_dict()), {"run": digest, "epoch": epoch})


def _store_outputs(
    path: Path, digest: str, epoch: int, model: factory.Classifier, evaluator: Evaluator
) -> dict[str, dict | None]:
    """Write logits and labels on validation and test, and return their metrics."""
    arrays, results = {}, {}
    for split in ("val", "test"):
        results[split] = None
        if split in evaluator.images:
            logits = evaluator.logits(model, split, epoch)
            arrays |= {f"{split}_logits": logits, f"{split}_labels": evaluator.labels[split]}
            results[split] = evaluator.metrics(logits, split) | evaluator.compute_terms(
                model, logits, split
            )
    write_arrays(path, arrays, {"run": digest, "epoch": epoch})
    return results
