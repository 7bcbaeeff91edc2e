"""Metrics of single images: losses, errors and disagreement with the teacher, image by image.

A `PerImageMetrics` answers alike from the stored outputs of runs and from an archive. Losses have
the precision of an archive (8 bits, see `runs.per_image`) in both, so a report rendered from either
is the same.
"""

import contextlib
import functools
import math
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from kdpipe.analysis.eval_point import PerImageErrors
from kdpipe.errors import MissingRunError, StoreError
from kdpipe.plan.nodes import Plan
from kdpipe.runs import metrics, per_image, records, run_folder, upstream
from kdpipe.runs.class_metrics import compute_decision_values
from kdpipe.runs.files import read_arrays
from kdpipe.runs.per_image import ImageMetric, Misclassified
from kdpipe.runs.records import EvalPoint
from kdpipe.runs.spec import Member, RunSpec
from kdpipe.runs.store import Store
from kdpipe.stats.error_provenance import ImageQuantity, Part

# A student's record compares it with outputs that were computed beside it, on a GPU maybe in other
# batches than those that its teacher's run stored. Means that differ by more than this (nat, and
# shares) are of another teacher or of other images: those of single images are then not known.
KL_TOLERANCE = 1e-3
AGREEMENT_TOLERANCE = 2e-3


class PerImageMetrics:
    """The metrics of single images of the runs of a plan, at one evaluation point.

    Parameters
    ----------
    plan : Plan
        The planned study.
    store : Store
        The results folder, or that of an archive.
    eval_point : {"last", "best"}
        The evaluation point.
    """

    def __init__(self, plan: Plan, store: Store, eval_point: EvalPoint = "last"):
        self.plan = plan
        self.store = store
        self.eval_point: EvalPoint = eval_point
        self.errors = PerImageErrors(plan, store, eval_point)
        self._points: dict[str, dict[str, Any] | None] = {}
        self._labels = store.load_archived_labels()
        self._checked: set[str] = set()  # runs of which what the archive holds is sound
        self._teacher_logits: tuple[object, dict[str, np.ndarray]] = (None, {})

    def load_metric(self, name: str, metric: ImageMetric | str) -> np.ndarray | None:
        """Return a metric of each image; None where it is not known.

        Parameters
        ----------
        name : str
            A run; for `test_error` also an ensemble.
        metric : str
            One of `runs.per_image.IMAGE_METRICS`; of any other nothing is known.

        Returns
        -------
        ndarray of float, shape (n_images,), or None
            On the images of the split that the metric names: points for errors, nats for losses, in
            the unit of the column of the results frame, whose value is their mean.

        Raises
        ------
        StoreError
            If what is stored is damaged or another run's.
        """
        if metric == "test_error":
            errors = self.errors.load_error_mask(name)
            return None if errors is None else 100.0 * errors
        stored = self._load_point(name)
        values = None if stored is None else per_image.decode_metric(stored, metric)
        if values is None and metric == "test_kd_error":
            return self._compare_with_teacher(name)
        return values

    def load_part(self, part: Part) -> np.ndarray | None:
        """Return a part of a sum of errors or losses image by image; None where it is not known.

        That is the lookup by which a second interval is computed, see `stats.error_provenance`.

        Parameters
        ----------
        part : str or ImageQuantity
            The name of a run or ensemble: which test images it gets wrong. Or another quantity.

        Raises
        ------
        StoreError
            If what is stored is damaged or another run's.
        """
        if not isinstance(part, ImageQuantity):
            return self.errors.load_error_mask(part)
        if part.eval_point == "last" and self.eval_point != "last":
            return self._at_last.load_part(part)
        if part.metric in ("val_error", "test_error") and not part.epochs:
            return self._load_errors(part.run, "val" if part.metric == "val_error" else "test")
        if part.metric == "val_error":
            errors = self.load_epoch_errors(part.run)
            if errors is None or max(part.epochs) > len(errors):
                return None
            return 100.0 * errors[np.asarray(part.epochs) - 1].mean(axis=0)
        return self.load_metric(part.run, part.metric)

    def load_predictions(
        self, name: str, split: Literal["val", "test"], epoch: int | None = None
    ) -> tuple[np.ndarray, np.ndarray] | None:
        """Return which class each image of a split is taken for; None where it is not known.

        Parameters
        ----------
        name : str
            A run or ensemble.
        split : {"val", "test"}
            The split.
        epoch : int or None
            The epoch of a checkpoint of a run, whose outputs only the folder of the run holds.

        Returns
        -------
        predicted, labels : ndarray of int, shape (n_images,)
            The predicted classes, and the true ones.

        Raises
        ------
        StoreError
            If what is stored is damaged or another run's.
        """
        if name in self.plan.runs and epoch == self.plan.runs[name].epochs:
            epoch = None
        if epoch is not None:
            arrays = self._read_checkpoint(name, epoch)
        elif name in self.plan.ensembles:
            arrays = self.errors.average_outputs(name)
        else:
            arrays = self.errors.read_outputs(name)
        if arrays is None:
            return self._read_archived_predictions(name, split, epoch)
        if f"{split}_logits" not in arrays:
            return None
        return arrays[f"{split}_logits"].argmax(axis=1), arrays[f"{split}_labels"]

    def _read_checkpoint(self, name: str, epoch: int) -> Mapping[str, np.ndarray] | None:
        """Return the stored outputs of a run after an earlier epoch, if they are there."""
        with contextlib.suppress(MissingRunError):
            member = Member(run=self.plan.runs[name].digest, epoch=epoch)
            return upstream.load_outputs(member, self.store)
        return None

    def _read_archived_predictions(
        self, name: str, split: Literal["val", "test"], epoch: int | None
    ) -> tuple[np.ndarray, np.ndarray] | None:
        """Return predicted and true classes from an archive."""
        archived = self._read_archived(name)
        digest = None if archived is None else archived["labels"].get(split)
        if archived is None or digest is None:
            return None
        labels = per_image.decode_labels(digest, self._labels[digest])
        predicted = labels.copy()
        if name in self.plan.runs and epoch is None and split == "test":
            wrong = self.errors.load_misclassified(name)
            if wrong is None:
                return None
            predicted[wrong.images] = wrong.predicted
            return predicted, labels
        if name in self.plan.runs and epoch is None:
            stored = (self._load_point(name) or {}).get("val")
        else:
            point = self._archived_point(name) if epoch is None else str(epoch)
            stored = archived.get("predictions", {}).get(point, {}).get(split)
        if stored is None:
            return None
        errors, classes = per_image.decode_misclassified(stored)
        predicted[errors] = classes
        return predicted, labels

    def _load_errors(self, name: str, split: Literal["val", "test"]) -> np.ndarray | None:
        """Return the error of each image by the study's metric, in points; None if not known."""
        metric = self.plan.study.metric
        if metric == "top1":
            return self.load_metric(name, f"{split}_error")
        known = self.load_predictions(name, split)
        return None if known is None else compute_decision_values(*known, metric)

    def load_epoch_errors(self, name: str) -> np.ndarray | None:
        """Return which validation images a run got wrong after each epoch; None if not known.

        Returns
        -------
        ndarray of bool, shape (n_epochs, n_images), or None

        Raises
        ------
        StoreError
            If what is stored is damaged or another run's.
        """
        stored = self._read_epochs(name)
        if stored is None:
            archived = self._read_archived(name)
            stored = None if archived is None else archived.get("epochs")
        return None if stored is None else per_image.decode_epochs(stored)

    def load_misclassified_validation(self, name: str) -> Misclassified | None:
        """Return what a run takes its wrong validation images for; None where it is not known.

        Raises
        ------
        StoreError
            If what is stored is damaged or another run's.
        """
        stored = (self._load_point(name) or {}).get("val")
        return None if stored is None else per_image.decode_misclassified(stored)

    def load_labels(self, name: str, split: Literal["val", "test"]) -> np.ndarray | None:
        """Return the labels of a split that a run was evaluated on; None where not known.

        Returns
        -------
        ndarray of int, shape (n_images,), or None

        Raises
        ------
        StoreError
            If what is stored is damaged or another run's.
        """
        if (arrays := self.errors.read_outputs(name)) is not None:
            return arrays.get(f"{split}_labels")
        archived = self._read_archived(name)
        digest = None if archived is None else archived["labels"].get(split)
        return None if digest is None else per_image.decode_labels(digest, self._labels[digest])

    def export_labels(self, name: str) -> dict[str, tuple[str, dict[str, Any]]]:
        """Return by split the labels of a run as an archive holds them, with their SHA-256."""
        by_split: dict[str, tuple[str, dict[str, Any]]] = {}
        for split in ("val", "test"):
            if (labels := self.load_labels(name, split)) is not None:
                by_split[split] = per_image.encode_labels(labels)
        return by_split

    def export_point(self, name: str) -> dict[str, Any] | None:
        """Return what an archive holds of a run at this evaluation point; None if nothing."""
        return self._load_point(name)

    def export_epochs(self, name: str) -> dict[str, Any] | None:
        """Return the validation errors of each epoch as an archive holds them."""
        errors = self.load_epoch_errors(name)
        return None if errors is None else per_image.encode_epochs(errors)

    def export_predictions(
        self, name: str, epoch: int | None = None
    ) -> tuple[dict[str, dict[str, Any]], dict[str, tuple[str, dict[str, Any]]]]:
        """Return by split what an archive holds of the predictions of a checkpoint or an ensemble.

        Returns
        -------
        wrong : dict
            By split the wrong images and for what they are taken.
        labels : dict
            By split the labels, with their SHA-256.
        """
        wrong, labels = {}, {}
        for split in ("val", "test"):
            if (known := self.load_predictions(name, split, epoch)) is not None:
                wrong[split] = per_image.encode_misclassified(*known)
                labels[split] = per_image.encode_labels(known[1])
        return wrong, labels

    @functools.cached_property
    def _at_last(self) -> "PerImageMetrics":
        """Return the metrics at the last epoch."""
        return self if self.eval_point == "last" else PerImageMetrics(self.plan, self.store, "last")

    def _compare_with_teacher(self, name: str) -> np.ndarray | None:
        """Return where a run disagrees with its teacher on test, in points.

        From what each takes its wrong images for, which earlier archives have too; of a single
        teacher after its last epoch.
        """
        spec = self.plan.runs[name].spec if name in self.plan.runs else None
        if spec is None or len(spec.members) != 1:
            return None
        (member,) = spec.members
        teachers = [run for run in self.plan.runs.values() if run.digest == member.run]
        if not teachers or teachers[0].epochs != member.epoch:
            return None
        mine = self.errors.load_misclassified(name)
        theirs = self._at_last.errors.load_misclassified(teachers[0].name)
        if mine is None or theirs is None or not np.array_equal(mine.sizes, theirs.sizes):
            return None
        predicted = np.full((2, int(mine.sizes.sum())), -1)  # of images that are right
        predicted[0, mine.images], predicted[1, theirs.images] = mine.predicted, theirs.predicted
        agrees = predicted[0] == predicted[1]
        return 100.0 * ~agrees if _is_recorded(agrees, self._read_metrics(name, "test")) else None

    def _read_metrics(self, name: str, split: str) -> Mapping[str, Any]:
        """Return the recorded metrics of a run on one split at this evaluation point."""
        record = records.find_whole_record(self.store.run(name), self.plan.runs[name].digest)
        if record is None:
            entry = self.store.read_archive().get(("runs", name))
            record = (entry and entry.record) or {}
        return (record.get(self.eval_point) or {}).get(split) or {}

    def _load_point(self, name: str) -> dict[str, Any] | None:
        """Return the metrics of single images of a run, as an archive holds them."""
        if name not in self._points:
            point = self._encode_outputs(name)
            if point is None and (archived := self._read_archived(name)) is not None:
                point = archived.get(self._archived_point(name))
            self._points[name] = point
        return self._points[name]

    def _read_archived(self, name: str) -> dict[str, Any] | None:
        """Return what the archive holds of the single images of a run, after a check of it."""
        kind, node = "runs", self.plan.runs.get(name)
        if node is None:
            kind, node = "ensembles", self.plan.ensembles.get(name)
        if node is None:
            return None
        archived = self.store.load_per_image(name, node.digest, kind)
        if archived is None:
            return None
        if name in self._checked:
            return archived
        if (problem := per_image.find_form_error(archived, self._labels)) is not None:
            raise StoreError(
                f"{self.store.archive_path}: what it holds of the single images of {name} is "
                f"damaged ({problem}): restore it (git, a backup)"
            )
        self._checked.add(name)
        return archived

    def _archived_point(self, name: str) -> EvalPoint:
        """Return under which evaluation point an archive holds what this one is of."""
        kind = "runs" if name in self.plan.runs else "ensembles"
        entry = self.store.read_archive()[kind, name]
        is_last = self.eval_point == "best" and records.is_best_last(entry.record)
        return "last" if is_last else self.eval_point

    def _encode_outputs(self, name: str) -> dict[str, Any] | None:
        """Return the metrics of single images from stored outputs; None if there are none."""
        if name not in self.plan.runs or (arrays := self.errors.read_outputs(name)) is None:
            return None
        run = self.plan.runs[name]
        teacher_logits = self._read_teacher(run.spec)
        stored: dict[str, Any] = {}
        if "val_logits" in arrays:
            stored = _encode_validation(
                arrays, teacher_logits.get("val"), run.spec, self._read_metrics(name, "val")
            )
        if "test_logits" in arrays and "test" in teacher_logits:
            agrees = _find_agreement(arrays["test_logits"], teacher_logits["test"])
            if agrees is not None and _is_recorded(agrees, self._read_metrics(name, "test")):
                stored["disagrees"] = per_image.encode_bits(~agrees)
        return stored

    def _read_teacher(self, spec: RunSpec) -> dict[str, np.ndarray]:
        """Return the stored logits of a run's teacher by split, as far as they are there."""
        if spec.teacher is None or spec.method is None:
            return {}
        at_temperature = spec.teacher.average_at == "temperature"
        temperature = float(spec.method["temperature"]) if at_temperature else 1.0
        key = (spec.members, temperature)
        if self._teacher_logits[0] != key:  # many students share one
            logits: dict[str, np.ndarray] = {}
            with contextlib.suppress(MissingRunError):  # of a teacher that has gone since
                outputs = [upstream.load_outputs(member, self.store) for member in spec.members]
                for split in ("val", "test"):
                    members = [arrays.get(f"{split}_logits") for arrays in outputs]
                    if (average := _average_members(members, temperature)) is not None:
                        logits[split] = average
            self._teacher_logits = key, logits
        return self._teacher_logits[1]

    def _read_epochs(self, name: str) -> dict[str, Any] | None:
        """Return the validation errors of each epoch from the file of a run, if it has one."""
        if name not in self.plan.runs:
            return None
        run, folder = self.plan.runs[name], self.store.run(name)
        path = run_folder.validation_errors_path(folder)
        record = records.find_whole_record(folder, run.digest)
        file_info = records.find_file_info(record, folder, path) if record else None
        if file_info is None or not path.exists():
            return None
        arrays, header = read_arrays(path, file_info)
        if header["run"] != run.digest:
            raise StoreError(f"{path} is of another run: remove its folder")
        bits = np.unpackbits(arrays["errors"], axis=1, count=header["images"])
        return per_image.encode_epochs(bits.astype(bool))


def _average_members(members: list[np.ndarray | None], temperature: float) -> np.ndarray | None:
    """Return the logits of a teacher, averaged where it has several members.

    None where one is missing, or of other images or classes.
    """
    known = [member for member in members if member is not None]
    if len(known) < len(members) or len({member.shape for member in known}) > 1:
        return None
    if len(known) == 1:
        return known[0]
    return temperature * metrics.average_logits(np.stack(known) / temperature)


def _encode_validation(
    arrays: Mapping[str, np.ndarray],
    teacher_logits: np.ndarray | None,
    spec: RunSpec,
    recorded: Mapping[str, Any],
) -> dict[str, Any]:
    """Return the metrics of validation images as an archive holds them."""
    logits, labels = arrays["val_logits"], arrays["val_labels"]
    if teacher_logits is not None and teacher_logits.shape != logits.shape:
        teacher_logits = None
    temperature = float(spec.method["temperature"]) if spec.method else 1.0
    values = metrics.compute_image_metrics(logits, labels, teacher_logits, temperature)
    stored = {
        "val": per_image.encode_misclassified(logits.argmax(axis=1), labels),
        "nll": per_image.encode_losses(-values["log_p"]),
    }
    if spec.teacher is None:
        stored["entropy"] = per_image.encode_losses(-values["p_log_p"])
    elif "kl" in values:
        losses = temperature**2 * values["kl"]
        kl = recorded.get("kl")
        if kl is not None and math.isclose(losses.mean(), kl, rel_tol=0.01, abs_tol=KL_TOLERANCE):
            stored["kl"] = per_image.encode_losses(losses)
    return stored


def _find_agreement(logits: np.ndarray, teacher_logits: np.ndarray) -> np.ndarray | None:
    """Return where student and teacher agree; None for outputs of other images or classes."""
    if logits.shape != teacher_logits.shape:
        return None
    return logits.argmax(axis=1) == teacher_logits.argmax(axis=1)


def _is_recorded(agrees: np.ndarray, recorded: Mapping[str, Any]) -> bool:
    """Return whether the record of a run states this agreement with its teacher."""
    agreement = recorded.get("agreement", math.nan)
    return math.isclose(agrees.mean(), agreement, rel_tol=0, abs_tol=AGREEMENT_TOLERANCE)
