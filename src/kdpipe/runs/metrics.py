"""Metrics of logits: accuracy, NLL, calibration, and agreement with a teacher.

They need numpy only: the same functions score a run at its end and an ensemble of stored logits.
Everything is in nats; shares are in [0, 1].
"""

# scipy has no types.
# pyright: reportMissingTypeStubs=false, reportUnknownVariableType=false

import numpy as np
from scipy.special import log_softmax, logsumexp

CALIBRATION_BINS = 15  # of the calibration error (Guo et al., 2017)
CHUNK_ROWS = 2**14  # images at a time: of a million, with 1,000 classes, float64 is 10 GB


def compute_metrics(
    logits: np.ndarray,
    labels: np.ndarray,
    teacher_logits: np.ndarray | None = None,
    temperature: float = 1.0,
) -> dict[str, float | int]:
    """Return the metrics of one split.

    With a teacher there are also `agreement` (the KD error of the paper is 1 - agreement), `kl` =
    T^2 KL(teacher_T || student_T) and `cross_entropy` = kl + T^2 H(teacher_T), the two forms of the
    KD loss at the temperature T of the method.

    Parameters
    ----------
    logits : ndarray of shape (N, C)
        Of the network.
    labels : ndarray of shape (N,)
        The true classes.
    teacher_logits : ndarray of shape (N, C) or None
        Of its teacher.
    temperature : float
        T.

    Returns
    -------
    dict
        `n`, the number of images, and means over them by name.
    """
    per_image = compute_image_metrics(logits, labels, teacher_logits, temperature)
    values: dict[str, float | int] = {
        "n": len(labels),
        "accuracy": float(per_image["correct"].mean()),
        "nll": float(-per_image["log_p"].mean()),
        "ece": calibration_error(per_image["confidence"], per_image["correct"]),
        "entropy": float(-per_image["p_log_p"].mean()),
        "confidence": float(per_image["confidence"].mean()),
    }
    if teacher_logits is not None:
        scale = temperature**2  # of the means, as it always was: bytes of records depend on it
        values["agreement"] = float(per_image["agrees"].mean())
        values["kl"] = float(scale * per_image["kl"].mean())
        values["cross_entropy"] = float(scale * -per_image["t_log_s"].mean())
        values["teacher_accuracy"] = float(per_image["teacher_correct"].mean())
    return values


def compute_image_metrics(
    logits: np.ndarray,
    labels: np.ndarray,
    teacher_logits: np.ndarray | None = None,
    temperature: float = 1.0,
) -> dict[str, np.ndarray]:
    """Return the values of each image that the metrics of a split are means of.

    Parameters
    ----------
    logits, labels, teacher_logits, temperature
        As in `compute_metrics`.

    Returns
    -------
    dict of str to ndarray of shape (N,)
        `correct`, `log_p` (of the true class), `confidence` and `p_log_p` (minus the entropy); with
        a teacher also `agrees`, `kl` and `t_log_s` (both without the factor T^2), and
        `teacher_correct`.
    """
    parts: list[dict[str, np.ndarray]] = []
    for start in range(0, max(1, len(labels)), CHUNK_ROWS):
        rows = slice(start, start + CHUNK_ROWS)
        teacher_rows = None if teacher_logits is None else teacher_logits[rows]
        parts.append(_compute_chunk(logits[rows], labels[rows], teacher_rows, temperature))
    return {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}


def _compute_chunk(
    logits: np.ndarray,
    labels: np.ndarray,
    teacher_logits: np.ndarray | None,
    temperature: float,
) -> dict[str, np.ndarray]:
    """Return the values of `compute_image_metrics` for images that fit into memory together."""
    log_p = log_softmax(logits.astype(np.float64), axis=1)
    p = np.exp(log_p)
    predicted = logits.argmax(axis=1)
    values: dict[str, np.ndarray] = {
        "correct": predicted == labels,
        "log_p": log_p[np.arange(len(labels)), labels],
        "confidence": p.max(axis=1),
        "p_log_p": (p * log_p).sum(axis=1),
    }
    if teacher_logits is not None:
        log_t = log_softmax(teacher_logits.astype(np.float64) / temperature, axis=1)
        log_s = log_softmax(logits.astype(np.float64) / temperature, axis=1)
        t = np.exp(log_t)
        values["agrees"] = predicted == teacher_logits.argmax(axis=1)
        values["kl"] = (t * (log_t - log_s)).sum(axis=1)
        values["t_log_s"] = (t * log_s).sum(axis=1)
        values["teacher_correct"] = teacher_logits.argmax(axis=1) == labels
    return values


def calibration_error(confidence: np.ndarray, correct: np.ndarray) -> float:
    """Return the expected calibration error, the sum of |accuracy - confidence| over 15 equal bins.

    Parameters
    ----------
    confidence : ndarray of shape (N,)
        The highest probability of each image.
    correct : ndarray of bool, shape (N,)
        Whether its class is the true one.

    References
    ----------
    Guo et al., "On Calibration of Modern Neural Networks", ICML 2017.
    """
    if len(confidence) == 0:
        return 0.0
    bins = np.minimum(np.ceil(confidence * CALIBRATION_BINS).astype(int), CALIBRATION_BINS) - 1
    bins = np.maximum(bins, 0)
    gap = np.bincount(bins, correct, CALIBRATION_BINS) - np.bincount(
        bins, confidence, CALIBRATION_BINS
    )
    return float(np.abs(gap).sum() / len(confidence))


def average_logits(members: np.ndarray) -> np.ndarray:
    """Return the logits of an ensemble: the log of the mean of its members' probabilities.

    Parameters
    ----------
    members : ndarray of shape (M, N, C)
        The logits of each member.

    Returns
    -------
    ndarray of shape (N, C)
    """
    log_p = log_softmax(members.astype(np.float64), axis=2)
    return logsumexp(log_p, axis=0) - np.log(len(members))
