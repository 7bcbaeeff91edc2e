"""What the terms on logits share: two that can be compared, and the classes they look at.

A term's public function is given logits (B, C) and labels (B,), and computes in float32 whatever
is less precise. What it cannot be computed of is refused by shapes and settings alone: no value on
a device is waited for.
"""

import math
from typing import TYPE_CHECKING

from kdpipe.errors import KdpipeError
from kdpipe.learning.term import full_precision

if TYPE_CHECKING:
    from torch import Tensor

EPSILON = 1e-7  # beside the standard deviation, as the authors of LSKD have it


def compared(
    name: str, student: "Tensor", teacher: "Tensor", images: int = 1
) -> "tuple[Tensor, Tensor]":
    """Both in full precision, the teacher's without gradient.

    Raises KdpipeError unless they are of one shape (B, C), with B at least `images` and 2 classes.
    """
    if student.ndim != 2 or student.shape != teacher.shape:
        ours, theirs = tuple(student.shape), tuple(teacher.shape)
        raise KdpipeError(
            f"{name}: logits (images, classes) of one shape are wanted; the student has {ours}, "
            f"the teacher {theirs}"
        )
    if len(student) < images:
        raise KdpipeError(
            f"{name}: {_counted(len(student), 'image')} in a batch, where it compares images and "
            f"needs {images}: choose another batch size"
        )
    if student.shape[1] < 2:
        raise KdpipeError(f"{name}: {_counted(student.shape[1], 'class')}, where it needs 2")
    return full_precision(student), full_precision(teacher).detach()


def labelled(name: str, labels: "Tensor | None", logits: "Tensor") -> "Tensor":
    """The labels as they are. Raises KdpipeError unless there is a whole number for each image."""
    if labels is None:
        raise KdpipeError(f"{name}: labels are missing: it asks for the class of each image")
    if labels.shape != logits.shape[:1] or labels.dtype.is_floating_point:
        raise KdpipeError(
            f"{name}: labels: a whole number for each of {_counted(len(logits), 'image')} is "
            f"wanted, not {str(labels.dtype).removeprefix('torch.')} {tuple(labels.shape)}"
        )
    return labels.long()


def above_zero(name: str, **settings: float) -> None:
    """Raise KdpipeError for a setting that is not a number above 0."""
    for key, value in settings.items():
        if not 0 < value < math.inf:
            raise KdpipeError(f"{name}: {key} {value}: a number above 0 is wanted")


def divergence(student: "Tensor", teacher: "Tensor") -> "Tensor":
    """KL(teacher || student) in nat of log-probabilities (B, N), averaged over the batch."""
    from torch.nn import functional as F

    return F.kl_div(student, teacher, reduction="batchmean", log_target=True)


def others(values: "Tensor", one: "Tensor") -> "Tensor":
    """(B, C - 1): what stands in each row beside its class `one` (B,)."""
    import torch

    place = torch.arange(values.shape[1] - 1, device=values.device).expand(len(values), -1)
    return values.gather(1, place + (place >= one[:, None]))


def one_or_other(logits: "Tensor", one: "Tensor") -> "Tensor":
    """(B, 2): log-probabilities of the class `one` (B,) of each row, and of all others together."""
    import torch
    from torch.nn import functional as F

    log_p = F.log_softmax(logits, dim=1)
    # From log_p, whose size is that of the gaps between logits and not of the logits.
    rest = others(log_p, one).logsumexp(1, keepdim=True)
    return torch.cat([log_p.gather(1, one[:, None]), rest], dim=1)


def standardised(logits: "Tensor") -> "Tensor":
    """LSKD (Sun et al., 2024): each row (B, C) less its mean, divided by 1e-7 + its standard
    deviation (ddof 1).

    A row of equal values has no scale: it gives zeros, and a zero gradient. Raises KdpipeError for
    a single class.
    """
    import torch

    if logits.ndim != 2 or logits.shape[1] < 2:
        shape = tuple(logits.shape)
        raise KdpipeError(
            f"standardise: logits (images, 2 classes or more) are wanted, not {shape}"
        )
    x = full_precision(logits)
    varies = x.amax(1, keepdim=True) > x.amin(1, keepdim=True)
    centred = torch.where(varies, x - x.mean(1, keepdim=True), 0.0)
    variance = centred.pow(2).sum(1, keepdim=True) / (x.shape[1] - 1)
    varies = variance > 0  # squares of what is very small are 0 as well
    # The root of 0 has no gradient: it is not taken.
    deviation = torch.where(varies, variance, 1.0).sqrt()
    return torch.where(varies, centred, 0.0) / (EPSILON + deviation)


def _counted(number: int, noun: str) -> str:
    several = noun + ("es" if noun.endswith("s") else "s")
    return f"{number} {noun if number == 1 else several}"
