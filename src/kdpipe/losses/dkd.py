"""Decoupled KD: the label against the rest, and the rest by itself (Zhao et al., 2022).

    dkd = alpha * TCKD + beta * NCKD
    TCKD = T^2 * KL([p_t,y, 1 - p_t,y] || [p_s,y, 1 - p_s,y])
    NCKD = T^2 * KL(q_t || q_s)

p is the softmax of the logits divided by T, y the label, q the same softmax over the classes other
than y. KD is TCKD + (1 - p_t,y) * NCKD, image by image: there the rest counts for little where the
teacher is sure. The authors' settings for CIFAR-100 are alpha 1, T 4 and beta 8 (resnet32x4 ->
resnet8x4), 6 (WRN-40-2) or 2 (resnet56 -> resnet20), with a warm-up of 20 of 240 epochs; for
ImageNet T 1 and beta 0.5.
"""

from typing import TYPE_CHECKING, Any

from pydantic import Field

from kdpipe.losses._logits import (
    check_positive,
    drop_class,
    kl_divergence,
    target_vs_rest,
    validate_labels,
    validate_logits,
)
from kdpipe.losses.base import LossTerm, ModelOutput, Warmup
from kdpipe.pydantic_base import StrictModel

if TYPE_CHECKING:
    from torch import Tensor


class DKDConfig(StrictModel):
    """The keys of decoupled KD."""

    dkd_weight: float = Field(0.0, ge=0, le=1000, description="the weight of DKD", examples=[1.0])
    dkd_alpha: float = Field(
        1.0,
        ge=0,
        le=1000,
        description="the weight of its part on the target class against all others (TCKD)",
    )
    dkd_beta: float = Field(
        8.0,
        ge=0,
        le=1000,
        description="the weight of its part on the non-target classes (NCKD)",
    )
    dkd_temperature: float = Field(4.0, ge=0.01, le=1000, description="its temperature")
    dkd_warmup: Warmup = Field(
        1 / 12, description="warm-up of its weight, in epochs or as a fraction of epochs; 0: none"
    )


def dkd(
    student_logits: "Tensor",
    teacher_logits: "Tensor",
    labels: "Tensor",
    *,
    alpha: float,
    beta: float,
    temperature: float,
) -> "Tensor":
    """Return DKD in nat, averaged over the batch: a scalar without weight and warm-up.

    Parameters
    ----------
    student_logits, teacher_logits : Tensor of shape (B, C)
    labels : Tensor of shape (B,)
        The class of each image.
    alpha, beta : float
        The weights of TCKD and NCKD.
    temperature : float
        What both logits are divided by.

    Raises
    ------
    KdpipeError
        For shapes that differ, and for a single class.
    """
    from torch.nn import functional as F

    student, teacher = validate_logits("dkd", student_logits, teacher_logits)
    labels = validate_labels("dkd", labels, student)
    check_positive("dkd", temperature=temperature)
    student, teacher = student / temperature, teacher / temperature
    target = kl_divergence(target_vs_rest(student, labels), target_vs_rest(teacher, labels))
    rest = kl_divergence(
        F.log_softmax(drop_class(student, labels), dim=1),
        F.log_softmax(drop_class(teacher, labels), dim=1),
    )
    return temperature**2 * (alpha * target + beta * rest)


def _loss(
    student: ModelOutput, teacher: ModelOutput, labels: "Tensor", keys: dict[str, Any]
) -> "Tensor":
    """Return the term of a run."""
    return dkd(
        student.logits,
        teacher.logits,
        labels,
        alpha=keys["dkd_alpha"],
        beta=keys["dkd_beta"],
        temperature=keys["dkd_temperature"],
    )


TERM = LossTerm(
    title="decoupled KD",
    short_title="DKD",
    part="dkd",
    revision=1,
    keys=DKDConfig,
    loss=_loss,
    needs_fp32=lambda keys: keys["dkd_temperature"] < 2,
    warmup="dkd_warmup",
    classes=2,
)
