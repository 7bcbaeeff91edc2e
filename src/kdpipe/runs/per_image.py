"""Values of single images as an archive holds them, in text that gzip compresses well.

Losses take 8 bits an image, evenly spaced on the scale log(1 + x / 0.001): fine where values are
small, relative where they are large. With a largest value of `top` half a step is
d = log(1 + top / 0.001) / 510, and a decoded value is off by at most (exp(d) - 1) (x + 0.001):
2.1 % of x + 0.001 for a `top` of 40 nats, 2.3 % for one of 100. Bits are hexadecimal; those of
epochs lie together image by image, since an image that is wrong after one epoch mostly is so after
the next.
"""

import base64
import binascii
import hashlib
from typing import Any, Literal, NamedTuple, get_args

import numpy as np

from kdpipe.errors import StoreError
from kdpipe.json_types import JsonObject

# Metrics of single images, as columns of the results frame: errors are in points, the others in
# nats. `kd_error` is disagreement with the teacher.
ImageMetric = Literal[
    "test_error", "test_kd_error", "val_error", "val_nll", "val_kl", "val_entropy"
]
IMAGE_METRICS: tuple[ImageMetric, ...] = get_args(ImageMetric)
LOSSES: tuple[ImageMetric, ...] = ("val_nll", "val_kl", "val_entropy")

LOSS_FLOOR = 1e-3  # nat: the scale is even below it, and logarithmic above
_MAX_CODE = 255
_LABEL_TYPES = ("<u1", "<u2", "<u4")
# What decoding a damaged or hand-written value may raise.
DAMAGE_ERRORS = (ValueError, LookupError, TypeError, AttributeError, OverflowError, binascii.Error)


class Misclassified(NamedTuple):
    """The wrong images of one split, and for what they are taken.

    Attributes
    ----------
    errors : ndarray of bool, shape (images,)
        Which images are wrong.
    predicted : ndarray of int, shape (wrong,)
        The class that each wrong image is taken for.
    """

    errors: np.ndarray
    predicted: np.ndarray


def encode_bits(bits: np.ndarray) -> JsonObject:
    """Return one bit for each image as an archive holds it."""
    return {"images": len(bits), "bits": np.packbits(bits).tobytes().hex()}


def decode_bits(stored: JsonObject) -> np.ndarray:
    """Return what `encode_bits` was given: (images,) bool."""
    return _unpack(stored["bits"], int(stored["images"]))


def encode_epochs(errors: np.ndarray) -> JsonObject:
    """Return the errors of each epoch, (epochs, images) bool, as an archive holds them."""
    epochs, images = errors.shape
    packed = np.packbits(errors.T).tobytes().hex()
    return {"epochs": epochs, "images": images, "bits": packed}


def decode_epochs(stored: JsonObject) -> np.ndarray:
    """Return what `encode_epochs` was given: (epochs, images) bool."""
    epochs, images = int(stored["epochs"]), int(stored["images"])
    return _unpack(stored["bits"], epochs * images).reshape(images, epochs).T


def encode_losses(losses: np.ndarray) -> JsonObject:
    """Return losses of single images, in nats, as an archive holds them.

    Parameters
    ----------
    losses : ndarray of float, shape (images,)
        Finite; what rounding has made negative counts as 0.

    Returns
    -------
    dict
        The largest value that can be stored, `top`, and a byte for each image in base64.
    """
    values = np.maximum(np.asarray(losses, dtype=float), 0.0)
    # Three digits, so that rounding in the last one elsewhere does not change the scale.
    top = float(f"{1.006 * max(float(values.max(initial=0.0)), LOSS_FLOOR):.2e}")
    codes = np.rint(np.log1p(values / LOSS_FLOOR) / _step(top)).astype(np.uint8)
    return {"top": top, "codes": base64.b64encode(codes.tobytes()).decode()}


def decode_losses(stored: JsonObject) -> np.ndarray:
    """Return the losses of `encode_losses`, each off by at most `bound_loss_error`."""
    codes = np.frombuffer(base64.b64decode(stored["codes"], validate=True), np.uint8)
    return LOSS_FLOOR * np.expm1(codes * _step(float(stored["top"])))


def bound_loss_error(losses: np.ndarray, top: float) -> np.ndarray:
    """Return by how much a stored loss may be off.

    Parameters
    ----------
    losses : ndarray of float
        The losses, in nats.
    top : float
        The largest value of their scale, see `encode_losses`.
    """
    return np.expm1(_step(top) / 2) * (np.asarray(losses, dtype=float) + LOSS_FLOOR)


def encode_labels(labels: np.ndarray) -> tuple[str, JsonObject]:
    """Return the labels of a split as an archive holds them, and their SHA-256."""
    largest = int(labels.max(initial=0))
    dtype = next(name for name in _LABEL_TYPES if largest <= np.iinfo(name).max)
    data = labels.astype(dtype).tobytes()
    return _hash_labels(labels), {"type": dtype, "labels": base64.b64encode(data).decode()}


def decode_labels(digest: str, stored: JsonObject) -> np.ndarray:
    """Return the labels of `encode_labels`: (images,) int.

    Raises
    ------
    ValueError
        If they are not those of the digest.
    """
    if stored["type"] not in _LABEL_TYPES:
        raise ValueError("labels of another type")
    data = base64.b64decode(stored["labels"], validate=True)
    labels = np.frombuffer(data, stored["type"]).astype(np.int64)
    if _hash_labels(labels) != digest:
        raise ValueError("other labels than those of its name")
    return labels


def encode_misclassified(predicted: np.ndarray, labels: np.ndarray) -> JsonObject:
    """Return which images of a split are wrong and for what they are taken.

    Parameters
    ----------
    predicted, labels : ndarray of int, shape (images,)
        The class that each image is taken for, and its own.
    """
    errors = predicted != labels
    return encode_bits(errors) | {"predicted": predicted[errors].tolist()}


def decode_misclassified(stored: JsonObject) -> Misclassified:
    """Return what `encode_misclassified` was given, of the wrong images."""
    errors = decode_bits(stored)
    predicted = np.asarray(stored["predicted"], dtype=np.int64)
    if predicted.shape != (errors.sum(),):
        raise ValueError("as many classes as wrong images are needed")
    return Misclassified(errors, predicted)


def decode_metric(stored: JsonObject, metric: ImageMetric | str) -> np.ndarray | None:
    """Return a metric of single images from what an archive holds of one evaluation point.

    Parameters
    ----------
    stored : dict
        An entry of `ArchiveEntry.per_image`.
    metric : str
        One of `IMAGE_METRICS` but `test_error`, which is not part of it.

    Returns
    -------
    ndarray of float, shape (images,), or None
        Points for errors, nats for losses; None where the run has none.
    """
    if metric in LOSSES:
        part = stored.get(metric.removeprefix("val_"))
        return None if part is None else decode_losses(part)
    part = stored.get({"test_kd_error": "disagrees", "val_error": "val"}.get(metric, ""))
    return None if part is None else 100.0 * decode_bits(part)


def find_form_error(per_image: JsonObject, labels: dict[str, JsonObject]) -> str | None:
    """Return what is wrong with the values of single images of an archived run; None if nothing.

    Parameters
    ----------
    per_image : dict
        `ArchiveEntry.per_image`.
    labels : dict
        The labels of the archive by their SHA-256.
    """
    try:
        sizes = {
            split: len(_find_labels(per_image, split, labels)) for split in per_image["labels"]
        }
        if not sizes.keys() <= {"val", "test"}:
            return "labels of another split"
        for point in ("last", "best"):
            if point in per_image:
                _check_point(per_image[point], sizes)
        for by_split in per_image.get("predictions", {}).values():
            for split, stored in by_split.items():
                if len(decode_misclassified(stored).errors) != sizes[split]:
                    return "the predictions are of another number of images"
        if "epochs" in per_image and decode_epochs(per_image["epochs"]).shape[1] != sizes["val"]:
            return "the errors of epochs are of another number of images"
    except StoreError as error:
        return str(error)
    except DAMAGE_ERRORS:
        return "altered, or of another form"
    return None


def find_mean_error(
    per_image: JsonObject, record: JsonObject, curve: list[JsonObject] | None
) -> str | None:
    """Return where values of single images are not those of their record; None if they are.

    Parameters
    ----------
    per_image : dict
        `ArchiveEntry.per_image`, of valid form.
    record : dict
        The record of the run.
    curve : list of dict or None
        What it noted after each epoch.
    """
    for point in ("last", "best"):
        metrics: JsonObject = record.get(point) or {}
        recorded: JsonObject = metrics.get("val") or {}
        for metric in ("val_error", *LOSSES):
            values = decode_metric(per_image.get(point, {}), metric)
            if values is None:
                continue
            if metric == "val_error":
                mean, tolerance = 100 * (1 - recorded.get("accuracy", np.nan)), 1e-6
            else:  # all of them may be off in one direction, and a teacher was computed twice
                mean = recorded.get(metric.removeprefix("val_"), np.nan)
                tolerance = 0.035 * values.mean() + LOSS_FLOOR
            if not abs(values.mean() - mean) <= tolerance:
                return f"{metric} at {point}: {values.mean():.4g}, its record has {mean:.4g}"
    for point, by_split in per_image.get("predictions", {}).items():
        by_epoch: JsonObject = record["checkpoints"]
        recorded_splits: JsonObject = record.get(point) or by_epoch.get(point) or {}
        for split, stored in by_split.items():
            recorded_values: JsonObject = recorded_splits.get(split) or {}
            accuracy = recorded_values.get("accuracy", np.nan)
            if not abs(1 - decode_misclassified(stored).errors.mean() - accuracy) <= 1e-6:
                return f"the predictions on {split} at {point} are not those of its record"
    errors = decode_epochs(per_image["epochs"]) if "epochs" in per_image else ()
    for line, wrong in zip(curve or (), errors, strict=False):
        val_line: JsonObject = line.get("val") or {}
        accuracy = val_line.get("accuracy", np.nan)
        if not abs(1 - wrong.mean() - accuracy) <= 1e-9:
            return f"the errors of epoch {line.get('epoch')} are not those of its curve"
    return None


def _find_labels(per_image: JsonObject, split: str, labels: dict[str, JsonObject]) -> np.ndarray:
    """Return the labels of a split."""
    digest = per_image["labels"][split]
    if digest not in labels:
        raise StoreError(f"the labels {digest[:12]} are not in it")
    return decode_labels(digest, labels[digest])


def _check_point(stored: JsonObject, sizes: dict[str, int]) -> None:
    """Raise ValueError if the values of an evaluation point are not one for each image."""
    if "val" in stored:
        decode_misclassified(stored["val"])
    for metric in IMAGE_METRICS[1:]:
        values = decode_metric(stored, metric)
        if values is not None and len(values) != sizes[metric.partition("_")[0]]:
            raise ValueError("another number of images")


def _unpack(text: Any, count: int) -> np.ndarray:
    data = np.frombuffer(bytes.fromhex(text), np.uint8)
    if len(data) != -(-count // 8):
        raise ValueError("another number of images")
    return np.unpackbits(data, count=count).astype(bool)


def _step(top: float) -> float:
    """Return the distance of two codes on the logarithmic scale."""
    if not LOSS_FLOOR <= top < np.inf:
        raise ValueError(f"a scale up to {top}")
    return float(np.log1p(top / LOSS_FLOOR)) / _MAX_CODE


def _hash_labels(labels: np.ndarray) -> str:
    return hashlib.sha256(labels.astype("<u4").tobytes()).hexdigest()
