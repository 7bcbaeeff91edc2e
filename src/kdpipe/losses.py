"""What a student is trained on: labels, a teacher's softened classes, a teacher's attention.

Plain functions of tensors, each averaged over the batch. They know no schedule: whoever calls them
decides when a term is on. Gradients never reach the teacher. Half precision is computed in float32.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from kdpipe.errors import KdpipeError

__all__ = ["attention_loss", "ensemble_logits", "kd_loss"]


def kd_loss(
    student_logits: Tensor,
    teacher_logits: Tensor,
    labels: Tensor,
    *,
    temperature: float,
    ce_weight: float,
    kd_weight: float,
    label_smoothing: float = 0.0,
) -> dict[str, Tensor]:
    """`loss = ce_weight * CE + kd_weight * T^2 * KL(teacher_T || student_T)`, and its parts.

    Logits (B, C), labels (B,). Returns scalars: "loss", and unweighted "ce" and "kd", where
    kd = T^2 * KL in nat. The paper prints a cross-entropy where KL stands here: the gradient is the
    same, the printed values of its Table 3 are only possible for KL.
    """
    student, teacher = _full_precision(student_logits), _full_precision(teacher_logits).detach()
    ce = F.cross_entropy(student, labels, label_smoothing=label_smoothing)
    kl = F.kl_div(
        F.log_softmax(student / temperature, dim=1),
        F.log_softmax(teacher / temperature, dim=1),
        reduction="batchmean",  # "mean" would also divide by the number of classes
        log_target=True,
    )
    kd = temperature**2 * kl  # T^2 keeps the gradient's size when the temperature changes
    return {"loss": ce_weight * ce + kd_weight * kd, "ce": ce, "kd": kd}


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
    return F.normalize(_full_precision(features).pow(2).mean(1).flatten(1), dim=1)


def _size(features: Tensor) -> str:
    return " x ".join(map(str, features.shape[2:]))


def ensemble_logits(member_logits: Tensor, temperature: float = 1.0) -> Tensor:
    """Logits (B, C) of an ensemble that averages its members' (M, B, C) probabilities.

    softmax(result / T) is the mean of softmax(member / T). With T = 1, the default, the result is
    the logarithm of the mean probability, and the loss softens it afterwards. That is neither the
    mean of the members' logits nor, at T > 1, the mean of their softened probabilities.
    """
    log_p = F.log_softmax(_full_precision(member_logits) / temperature, dim=-1)
    return temperature * (torch.logsumexp(log_p, dim=0) - math.log(len(log_p)))


def _full_precision(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))
