"""TODO learning.methods.attention, from losses."""

import torch
from torch import Tensor
from torch.nn import functional as F

from kdpipe.errors import KdpipeError
from kdpipe.learning.term import full_precision


def attention_loss(student_features: list[Tensor], teacher_features: list[Tensor]) -> Tensor:
    """Distance of the attention maps, summed over the groups (Zagoruyko and Komodakis 2017).

    Features (B, channels, height, width) per group; the channels may differ, height and width not:
    KdpipeError. This is the form of the authors' code, the mean of the squared differences, with
    which their weight of 1000 belongs; the form they print, the norm of the difference, is another.
    """
    total = torch.zeros((), device=student_features[0].device)
    for student, teacher in zip(student_features, teacher_features, strict=True):
        if student.shape[2:] != teacher.shape[2:]:
            raise KdpipeError(
                f"attention transfer needs maps of one size; the student has {_size(student)} "
                f"pixels where the teacher has {_size(teacher)}"
            )
        total = total + (_attention(student) - _attention(teacher.detach())).pow(2).mean()
    return total


def _attention(features: Tensor) -> Tensor:
    """(B, height * width): the mean over channels of the squares, of length 1 for each image."""
    return F.normalize(full_precision(features).pow(2).mean(1).flatten(1), dim=1)


def _size(features: Tensor) -> str:
    return " x ".join(map(str, features.shape[2:]))
