"""Decoupled KD: the label against the rest, and the rest among themselves (Zhao et al., 2022).

    dkd = alpha * TCKD + beta * NCKD
    TCKD = T^2 * KL([p_t,y, 1 - p_t,y] || [p_s,y, 1 - p_s,y])
    NCKD = T^2 * KL(q_t || q_s)

p is the softmax of the logits divided by T, y the label, q the same softmax over the classes other
than y. KD is TCKD + (1 - p_t,y) * NCKD, image by image: there the rest counts for little where the
teacher is sure. The authors' settings for CIFAR-100 are alpha 1, T 4 and beta 8 (resnet32x4 ->
resnet8x4), 6 (WRN-40-2) or 2 (resnet56 -> resnet20), with a warm-up of 20 of 240 epochs; for
ImageNet T 1 and beta 0.5.
"""

from typing import TYPE_CHECKING

from pydantic import Field

from kdpipe.learning.logits import above_zero, compared, divergence, labelled, one_or_other, others
from kdpipe.learning.term import Said, Term, Warmup
from kdpipe.section import Section

if TYPE_CHECKING:
    from torch import Tensor


class Keys(Section):
    dkd_weight: float = Field(0.0, ge=0, le=1000, description="the weight of DKD", examples=[1.0])
    dkd_alpha: float = Field(
        1.0,
        ge=0,
        le=1000,
        description="the weight of its part on the label against all other classes",
    )
    dkd_beta: float = Field(
        8.0,
        ge=0,
        le=1000,
        description="the weight of its part on the other classes among themselves",
    )
    dkd_temperature: float = Field(4.0, ge=0.01, le=1000, description="its temperature")
    dkd_warmup: Warmup = Field(
        1 / 12, description="epochs, or share of epochs, over which its weight rises; 0: none"
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
    """A scalar in nat, averaged over the batch; logits (B, C), labels (B,).

    Without cross-entropy, weight and warm-up. Raises KdpipeError for shapes that do not agree and
    for a single class.
    """
    from torch.nn import functional as F

    student, teacher = compared("dkd", student_logits, teacher_logits)
    labels = labelled("dkd", labels, student)
    above_zero("dkd", temperature=temperature)
    student, teacher = student / temperature, teacher / temperature
    target = divergence(one_or_other(student, labels), one_or_other(teacher, labels))
    rest = divergence(
        F.log_softmax(others(student, labels), dim=1),
        F.log_softmax(others(teacher, labels), dim=1),
    )
    return temperature**2 * (alpha * target + beta * rest)


def _loss(student: Said, teacher: Said, labels: "Tensor", keys: dict) -> "Tensor":
    return dkd(
        student.logits,
        teacher.logits,
        labels,
        alpha=keys["dkd_alpha"],
        beta=keys["dkd_beta"],
        temperature=keys["dkd_temperature"],
    )


TERM = Term(
    title="decoupled KD",
    short="DKD",
    part="dkd",
    revision=1,
    keys=Keys,
    loss=_loss,
    precise=lambda keys: keys["dkd_temperature"] < 2,
    warmup="dkd_warmup",
    classes=2,
)
