"""What logits say: accuracy, NLL, calibration, and agreement with a teacher.

Numpy only, from stored logits: the same functions score a run at its end and an ensemble long
afterwards. Everything is in nat; shares are in [0, 1].
"""

import numpy as np
from scipy.special import log_softmax, logsumexp

BINS = 15  # of the calibration error (Guo et al., 2017)
ROWS = 2**14  # images at a time: of a million, with 1,000 classes, float64 is 10 GB


def of(
    logits: np.ndarray,
    labels: np.ndarray,
    teacher_logits: np.ndarray | None = None,
    temperature: float = 1.0,
) -> dict[str, float | int]:
    """The numbers of one split. logits: (N, C); labels: (N,).

    Against a teacher: `agreement` (the paper's KD error is 1 - agreement), `kl` =
    T^2 KL(teacher_T || student_T) and `cross_entropy` = kl + T^2 H(teacher_T), the two forms of
    the KD loss at the method's temperature.
    """
    parts = []
    for start in range(0, max(1, len(labels)), ROWS):
        rows = slice(start, start + ROWS)
        theirs = None if teacher_logits is None else teacher_logits[rows]
        parts.append(_of_each(logits[rows], labels[rows], theirs, temperature))
    each = {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
    found: dict[str, float | int] = {
        "n": len(labels),
        "accuracy": float(each["correct"].mean()),
        "nll": float(-each["log_p"].mean()),
        "ece": calibration_error(each["confidence"], each["correct"]),
        "entropy": float(-each["p_log_p"].mean()),
        "confidence": float(each["confidence"].mean()),
    }
    if teacher_logits is not None:
        scale = temperature**2
        found["agreement"] = float(each["agrees"].mean())
        found["kl"] = float(scale * each["kl"].mean())
        found["cross_entropy"] = float(scale * -each["t_log_s"].mean())
        found["teacher_accuracy"] = float(each["teacher_correct"].mean())
    return found


def _of_each(logits, labels, teacher_logits, temperature: float) -> dict[str, np.ndarray]:
    """What the numbers of a split are means of, image by image."""
    log_p = log_softmax(logits.astype(np.float64), axis=1)
    p = np.exp(log_p)
    predicted = logits.argmax(axis=1)
    found = {
        "correct": predicted == labels,
        "log_p": log_p[np.arange(len(labels)), labels],
        "confidence": p.max(axis=1),
        "p_log_p": (p * log_p).sum(axis=1),
    }
    if teacher_logits is not None:
        log_t = log_softmax(teacher_logits.astype(np.float64) / temperature, axis=1)
        log_s = log_softmax(logits.astype(np.float64) / temperature, axis=1)
        t = np.exp(log_t)
        found["agrees"] = predicted == teacher_logits.argmax(axis=1)
        found["kl"] = (t * (log_t - log_s)).sum(axis=1)
        found["t_log_s"] = (t * log_s).sum(axis=1)
        found["teacher_correct"] = teacher_logits.argmax(axis=1) == labels
    return found


def calibration_error(confidence: np.ndarray, correct: np.ndarray) -> float:
    """Expected calibration error over 15 bins of equal width: sum of |accuracy - confidence|."""
    if len(confidence) == 0:
        return 0.0
    bins = np.minimum(np.ceil(confidence * BINS).astype(int), BINS) - 1
    bins = np.maximum(bins, 0)
    gap = np.bincount(bins, correct, BINS) - np.bincount(bins, confidence, BINS)
    return float(np.abs(gap).sum() / len(confidence))


def averaged_logits(members: np.ndarray) -> np.ndarray:
    """Logits of an ensemble: log of the mean of its members' probabilities. (M, N, C) -> (N, C)."""
    log_p = log_softmax(members.astype(np.float64), axis=2)
    return logsumexp(log_p, axis=0) - np.log(len(members))
