"""What logits say: accuracy, NLL, calibration, and agreement with a teacher.

Numpy only, from stored logits: the same functions score a run at its end and an ensemble long
afterwards. Everything is in nat; shares are in [0, 1].
"""

import numpy as np
from scipy.special import log_softmax, logsumexp

BINS = 15  # of the calibration error (Guo et al., 2017)


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
    log_p = log_softmax(logits.astype(np.float64), axis=1)
    p = np.exp(log_p)
    predicted = logits.argmax(axis=1)
    correct = predicted == labels
    found: dict[str, float | int] = {
        "n": len(labels),
        "accuracy": float(correct.mean()),
        "nll": float(-log_p[np.arange(len(labels)), labels].mean()),
        "ece": calibration_error(p.max(axis=1), correct),
        "entropy": float(-(p * log_p).sum(axis=1).mean()),
        "confidence": float(p.max(axis=1).mean()),
    }
    if teacher_logits is not None:
        scale = temperature**2
        log_t = log_softmax(teacher_logits.astype(np.float64) / temperature, axis=1)
        log_s = log_softmax(logits.astype(np.float64) / temperature, axis=1)
        t = np.exp(log_t)
        found["agreement"] = float((predicted == teacher_logits.argmax(axis=1)).mean())
        found["kl"] = float(scale * (t * (log_t - log_s)).sum(axis=1).mean())
        found["cross_entropy"] = float(scale * -(t * log_s).sum(axis=1).mean())
        found["teacher_accuracy"] = float((teacher_logits.argmax(axis=1) == labels).mean())
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
