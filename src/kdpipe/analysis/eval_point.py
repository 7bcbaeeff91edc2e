"""Evaluation points: a study evaluated at the last epoch, or at the best epoch on validation.

`select_eval_point` moves a results frame to one point: its columns `<split>_<metric>` are then
those of that point for whatever was trained on the study's data (students, scratch runs,
ensembles), and every table, claim and recommendation reads these. Teachers stay as they taught, at
the epoch that their students learned from, and probes at the last epoch. What has no best epoch
(`validation: 0`, or an ensemble whose members kept none) is a hole there.

`PerImageErrors` are the test images that runs and ensembles get wrong at a point: from their stored
outputs or, in an archive, from the bits that replace them. Without either they are not known, and
the report says so. Which class a run takes an image for is known from outputs, and from archives
that were made since they keep it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from kdpipe.errors import MissingRunError, StoreError
from kdpipe.plan.nodes import Plan
from kdpipe.runs import metrics, per_image, records, store, upstream
from kdpipe.runs.decision_metric import METRIC_TEXT, DecisionMetric
from kdpipe.runs.files import read_arrays
from kdpipe.runs.records import EvalPoint, other_eval_point
from kdpipe.stats.error_provenance import ErrorMaskLookup

TRAINED_KINDS = ("scratch", "scratch_long", "student", "ensemble")  # with both evaluation points
EVAL_POINT_TEXT: dict[str, str] = {"last": "the last epoch", "best": "the best epoch on validation"}


def name_eval_point(point: EvalPoint, eval_at: EvalPoint, metric: DecisionMetric = "top1") -> str:
    """Return an evaluation point in words.

    Parameters
    ----------
    point : {"last", "best"}
        The evaluation point.
    eval_at : {"last", "best"}
        That of the study. Its runs choose their best epoch by its metric if that is `best`;
        otherwise by top-1, as runs do that know no other metric.
    metric : str
        The metric of the study.
    """
    if point == "last" or metric == "top1":
        return EVAL_POINT_TEXT[point]
    return f"the best epoch by {METRIC_TEXT[metric if eval_at == 'best' else 'top1']} on validation"


def select_eval_point(frame: pd.DataFrame, eval_point: EvalPoint) -> pd.DataFrame:
    """Return a results frame at an evaluation point, which its column `reading` names.

    `last_<split>_error` and `best_<split>_error` keep both, whichever it is.

    Parameters
    ----------
    frame : DataFrame
        The results frame, see `dataframe.build_results_frame`.
    eval_point : {"last", "best"}
        The evaluation point.
    """
    best_columns = [column for column in frame if str(column).startswith("best_")]
    pairs = {str(column).removeprefix("best_"): column for column in best_columns}
    pairs = {column: best_column for column, best_column in pairs.items() if column in frame}
    errors = [column for column in pairs if column.endswith("_error")]
    labeled_frame = frame.assign(
        reading=eval_point, **{f"last_{column}": frame[column] for column in errors}
    )
    if eval_point == "last":
        return labeled_frame
    is_trained = frame.kind.isin(TRAINED_KINDS)
    column_pairs = {
        column: (frame[best_column], frame[column]) for column, best_column in pairs.items()
    }
    return labeled_frame.assign(
        **{column: np.where(is_trained, *columns) for column, columns in column_pairs.items()}
    )


def get_eval_point(frame: pd.DataFrame) -> EvalPoint:
    """Return the evaluation point of a frame; without a column `reading` it is the last epoch."""
    has_best = "reading" in frame and (frame.reading == "best").any()
    return "best" if has_best else "last"


def get_other_error_column(frame: pd.DataFrame) -> str:
    """Return the column of the test errors at the other evaluation point."""
    return f"{other_eval_point(get_eval_point(frame))}_test_error"


def describe_missing_eval_points(
    frame: pd.DataFrame, error_masks: Mapping[EvalPoint, ErrorMaskLookup]
) -> str:
    """Return what was made before both points were kept, and what it lacks; empty if nothing was.

    Parameters
    ----------
    frame : DataFrame
        The results frame of both points.
    error_masks : mapping
        By evaluation point, which images each run gets wrong.
    """
    if "best_test_error" not in frame:  # sealed until a registered interim analysis
        return ""
    rows = frame.loc[frame.kind.isin(TRAINED_KINDS) & (frame.status == "done")]
    rows = rows.drop_duplicates("run")
    if rows.best_test_error.isna().all():  # no validation
        return ""
    is_ensemble = rows.kind == "ensemble"
    n_ensembles = int((is_ensemble & rows.best_test_error.isna()).sum())
    n_runs = sum(
        error_masks["last"](run) is not None and error_masks["best"](run) is None
        for run in rows.run[~is_ensemble & rows.best_test_error.notna()]
    )
    messages = []
    if n_runs:
        messages.append(
            f"{n_runs:,} runs were made before both were kept: of their best epoch the "
            "error is known, but no interval over images"
        )
    if n_ensembles:
        messages.append(
            f"{n_ensembles:,} ensembles have no error at the best epoch, since their members have "
            "none"
        )
    return "; ".join(messages)


@dataclass(frozen=True)
class MisclassifiedImages:
    """The test images that a run gets wrong.

    Attributes
    ----------
    sizes : ndarray of shape (n_classes,)
        The number of test images of each class.
    images : ndarray of shape (n_wrong,)
        Their indices in the test set.
    labels, predicted : ndarray of shape (n_wrong,)
        Their class, and the one that the run takes them for.
    """

    sizes: np.ndarray
    images: np.ndarray
    labels: np.ndarray
    predicted: np.ndarray

    def to_json(self) -> dict[str, list[int]]:
        """Return what an archive stores of them besides the indices."""
        return {key: getattr(self, key).tolist() for key in ("sizes", "labels", "predicted")}


class PerImageErrors:
    """The test images that the runs and ensembles of a plan get wrong, at one evaluation point.

    Parameters
    ----------
    plan : Plan
        The planned study.
    run_store : Store
        The results folder.
    eval_point : {"last", "best"}
        The evaluation point.
    """

    def __init__(self, plan: Plan, run_store: store.Store, eval_point: EvalPoint = "last"):
        self.plan = plan
        self.store = run_store
        self.eval_point: EvalPoint = eval_point
        self.error_masks: dict[str, np.ndarray | None] = {}
        self.archive_entries = run_store.load_wrong_images(eval_point)

    def load_error_mask(self, name: str) -> np.ndarray | None:
        """Return which test images a run or ensemble gets wrong; None where that is not known.

        Returns
        -------
        ndarray of bool of shape (n_images,) or None

        Raises
        ------
        StoreError
            If what is stored is damaged or another run's.
        """
        if name not in self.error_masks:
            mask = self._compute_mask(name)
            self.error_masks[name] = self._read_archived_mask(name) if mask is None else mask
        return self.error_masks[name]

    def load_misclassified(self, name: str) -> MisclassifiedImages | None:
        """Return what a run takes its wrong test images for; None where that is not known.

        Raises
        ------
        StoreError
            If what is stored is damaged or another run's.
        """
        if (arrays := self.read_outputs(name)) is not None:
            logits, labels = arrays["test_logits"], arrays["test_labels"]
            predicted = logits.argmax(axis=1)
            images = np.flatnonzero(predicted != labels)
            sizes = np.bincount(labels, minlength=logits.shape[1])
            return MisclassifiedImages(sizes, images, labels[images], predicted[images])
        error_mask, entry = (
            self._read_archived_mask(name),
            (self.archive_entries.get(name) or {}).get("missed"),
        )
        if error_mask is None or entry is None:
            return None
        labels = entry.get("labels")
        if labels is None:
            labels = self._read_archived_labels(name, error_mask)
        sizes, labels, predicted = (
            np.asarray(values, dtype=int) for values in (entry["sizes"], labels, entry["predicted"])
        )
        misclassified = MisclassifiedImages(sizes, np.flatnonzero(error_mask), labels, predicted)
        counts = {
            len(misclassified.images),
            len(misclassified.labels),
            len(misclassified.predicted),
        }
        if len(counts) > 1 or misclassified.sizes.sum() != len(error_mask):
            raise StoreError(f"{self.store.archive_path}: the wrong images of {name} disagree")
        return misclassified

    def _read_archived_labels(self, name: str, error_mask: np.ndarray) -> np.ndarray:
        """Return the labels of the images that a run gets wrong, which an archive holds once."""
        archived = self.store.load_per_image(name, self.plan.runs[name].digest) or {"labels": {}}
        digest = archived["labels"].get("test")
        try:
            stored = self.store.load_archived_labels()[digest]
            return per_image.decode_labels(digest, stored)[error_mask]
        except per_image.DAMAGE_ERRORS:
            raise StoreError(
                f"{self.store.archive_path}: the labels of the test images of {name} are missing "
                "or damaged: restore it (git, a backup)"
            ) from None

    def _read_archived_mask(self, name: str) -> np.ndarray | None:
        """Return the mask of a run or ensemble that an archive stores, if it is of this plan."""
        digest = (self.plan.runs.get(name) or self.plan.ensembles[name]).digest
        entry = self.archive_entries.get(name)
        if entry is None or entry["digest"] != digest:
            return None
        bits = np.frombuffer(bytes.fromhex(entry["wrong"]), np.uint8)
        return np.unpackbits(bits, count=entry["images"]).astype(bool)

    def read_outputs(self, name: str) -> dict[str, np.ndarray] | None:
        """Return the stored outputs of a run, if it is finished and has them.

        Raises
        ------
        StoreError
            If they are damaged or another run's.
        """
        run, folder = self.plan.runs[name], self.store.run(name)
        record = _read_finished_record(folder, run.digest)
        path = records.find_outputs_path(folder, record, self.eval_point) if record else None
        if record is None or path is None or not path.exists():
            return None
        arrays, header = read_arrays(path, records.find_file_info(record, folder, path))
        if header != {
            "run": run.digest,
            "epoch": records.get_eval_epoch(record, self.eval_point),
        }:
            raise StoreError(f"{path} is of another run or epoch: remove its folder")
        return arrays

    def _compute_mask(self, name: str) -> np.ndarray | None:
        """Return the mask of a run or ensemble from stored outputs, if they are there."""
        if name in self.plan.runs:
            arrays = self.read_outputs(name)
            if arrays is None:
                return None
            return arrays["test_logits"].argmax(axis=1) != arrays["test_labels"]
        averaged = self.average_outputs(name)
        if averaged is None:
            return None
        return averaged["test_logits"].argmax(axis=1) != averaged["test_labels"]

    def average_outputs(self, name: str) -> dict[str, np.ndarray] | None:
        """Return the outputs of an ensemble from those of its members, if they are there.

        Raises
        ------
        StoreError
            If they are damaged or another run's.
        """
        folder = self.store.ensemble(name)
        members = self.plan.ensembles[name].spec.members
        if _read_finished_record(folder, self.plan.ensembles[name].digest) is None:
            return None
        read_outputs = (
            upstream.load_outputs if self.eval_point == "last" else upstream.load_best_outputs
        )
        outputs = []
        for member in members:
            try:
                member_outputs = read_outputs(member, self.store)
            except MissingRunError:  # scored, and a member has gone since
                return None
            if member_outputs is None:
                return None
            outputs.append(member_outputs)
        averaged = {}
        for split in ("val", "test"):
            if f"{split}_logits" in outputs[0]:
                logits = np.stack([arrays[f"{split}_logits"] for arrays in outputs])
                averaged[f"{split}_logits"] = metrics.average_logits(logits)
                averaged[f"{split}_labels"] = outputs[0][f"{split}_labels"]
        return averaged


def _read_finished_record(folder: Path, digest: str) -> dict | None:
    """Return the record of a finished run; a damaged one is reported elsewhere."""
    record = records.find_whole_record(folder, digest)
    return record if record and record["status"] == "done" else None


def pack_error_mask(error_mask: np.ndarray) -> dict[str, Any]:
    """Return which images are wrong as an archive stores it."""
    return {"images": len(error_mask), "wrong": np.packbits(error_mask).tobytes().hex()}
