"""What the terms on logits share: checks of their arguments, divergences, parts of the classes.

A term's public function is given logits (B, C), some labels (B,) too, and computes in float32
whatever is less precise. What it is not defined for is refused by shapes and settings alone: no
value on a device is waited for.
"""

import math
from typing import TYPE_CHECKING

from kdpipe.errors import KdpipeError
from kdpipe.losses.base import to_float32

if TYPE_CHECKING:
    from torch import Tensor

EPSILON = 1e-7  # added to the standard deviation, as in the code of LSKD's authors


def validate_logits(
    name: str, student: "Tensor", teacher: "Tensor", min_images: int = 1
) -> "tuple[Tensor, Tensor]":
    """Return both in full precision, the teacher's without gradient.

    Raises
    ------
    KdpipeError
        Unless they are of one shape (B, C), with B at least `min_images` and C at least 2.
    """
    if student.ndim != 2 or student.shape != teacher.shape:
        student_shape, teacher_shape = tuple(student.shape), tuple(teacher.shape)
        raise KdpipeError(
            f"{name}: expected logits (images, classes) of equal shape; the student has "
            f"{student_shape}, the teacher {teacher_shape}"
        )
    if len(student) < min_images:
        raise KdpipeError(
            f"{name}: {_format_count(len(student), 'image')} in a batch, where it compares images "
            f"and needs {min_images}: choose another batch size"
        )
    if student.shape[1] < 2:
        raise KdpipeError(f"{name}: {_format_count(student.shape[1], 'class')}, where it needs 2")
    return to_float32(student), to_float32(teacher).detach()


def validate_labels(name: str, labels: "Tensor | None", logits: "Tensor") -> "Tensor":
    """Return the labels as int64. Raise KdpipeError unless each image has a whole number."""
    if labels is None:
        raise KdpipeError(f"{name}: labels are missing: it asks for the class of each image")
    if labels.shape != logits.shape[:1] or labels.dtype.is_floating_point:
        raise KdpipeError(
            f"{name}: labels: a whole number for each of {_format_count(len(logits), 'image')} is "
            f"wanted, not {str(labels.dtype).removeprefix('torch.')} {tuple(labels.shape)}"
        )
    return labels.long()


def check_positive(name: str, **settings: float) -> None:
    """Raise KdpipeError for a setting that is not a number above 0."""
    for key, value in settings.items():
        if not 0 < value < math.inf:
            raise KdpipeError(f"{name}: {key} {value}: a number above 0 is wanted")


def kl_divergence(student: "Tensor", teacher: "Tensor") -> "Tensor":
    """Return KL(teacher || student) in nat of log-probabilities (B, N), averaged over the batch."""
    from torch.nn import functional as F

    return F.kl_div(student, teacher, reduction="batchmean", log_target=True)


def drop_class(values: "Tensor", target: "Tensor") -> "Tensor":
    """Return the rows of `values` (B, C) without the column `target` (B,): (B, C - 1)."""
    import torch

    column = torch.arange(values.shape[1] - 1, device=values.device).expand(len(values), -1)
    return values.gather(1, column + (column >= target[:, None]))


def target_vs_rest(logits: "Tensor", target: "Tensor") -> "Tensor":
    """Return log-probabilities of the class `target` (B,), and of all others together: (B, 2)."""
    import torch
    from torch.nn import functional as F

    log_p = F.log_softmax(logits, dim=1)
    # From log_p, whose size is that of the gaps between logits and not of the logits.
    rest = drop_class(log_p, target).logsumexp(1, keepdim=True)
    return torch.cat([log_p.gather(1, target[:, None]), rest], dim=1)


def standardize(logits: "Tensor") -> "Tensor":
    """Return each row (B, C) less its mean, divided by its standard deviation (ddof 1) plus 1e-7.

    A row of equal values has no scale: it gives zeros, and a zero gradient.

    Raises
    ------
    KdpipeError
        For a single class.

    References
    ----------
    LSKD: Sun et al. (2024), Logit standardization in knowledge distillation.
    """
    import torch

    if logits.ndim != 2 or logits.shape[1] < 2:
        shape = tuple(logits.shape)
        raise KdpipeError(
            f"standardise: logits (images, 2 classes or more) are wanted, not {shape}"
        )
    x = to_float32(logits)
    varies = x.amax(1, keepdim=True) > x.amin(1, keepdim=True)
    centered = torch.where(varies, x - x.mean(1, keepdim=True), 0.0)
    variance = centered.pow(2).sum(1, keepdim=True) / (x.shape[1] - 1)
    varies = variance > 0  # squares of what is very small are 0 as well
    # The root of 0 has no gradient: it is not taken.
    deviation = torch.where(varies, variance, 1.0).sqrt()
    return torch.where(varies, centered, 0.0) / (EPSILON + deviation)


def _format_count(number: int, noun: str) -> str:
    """Return a number with its noun, in the plural where it is not 1."""
    plural = noun + ("es" if noun.endswith("s") else "s")
    return f"{number} {noun if number == 1 else plural}"
