"""Refined logit distillation: a teacher that is wrong is not followed in it (Sun et al., 2024).

    rld = alpha * SCD + beta * MCD
    SCD = a^2 * KL([max p_t, 1 - max p_t] || [p_s,y, 1 - p_s,y])
    MCD = T^2 * KL(q_t || q_s)

SCD is at the temperature a (`alpha_temperature`): the student is to be as sure of the label y as
the teacher is of its own choice. q is the softmax at T over the classes that the teacher holds less
likely than the label; where there is none, since the label is its last choice, MCD is 0. The
authors' settings for CIFAR-100 are alpha 1, beta 8, a 1 and T 4, with a warm-up of 20 of 240
epochs.
"""

from typing import TYPE_CHECKING

from pydantic import Field

from kdpipe.learning.logits import above_zero, compared, divergence, labelled, one_or_other
from kdpipe.learning.term import Said, Term, Warmup
from kdpipe.section import Section

if TYPE_CHECKING:
    from torch import Tensor

# Of a class that is left out. Not infinity: where all are left out both have the same logits, and
# neither their difference nor its gradient is nan.
NEVER = -1e30


class Keys(Section):
    rld_weight: float = Field(0.0, ge=0, le=1000, description="the weight of RLD", examples=[1.0])
    rld_alpha: float = Field(
        1.0,
        ge=0,
        le=1000,
        description="the weight of its part on the label and the teacher's confidence",
    )
    rld_beta: float = Field(
        8.0,
        ge=0,
        le=1000,
        description="the weight of its part on what the teacher ranks below the label",
    )
    rld_alpha_temperature: float = Field(
        1.0, ge=0.01, le=1000, description="the temperature of the first part"
    )
    rld_temperature: float = Field(
        4.0, ge=0.01, le=1000, description="the temperature of the second part"
    )
    rld_warmup: Warmup = Field(
        1 / 12, description="epochs, or share of epochs, over which its weight rises; 0: none"
    )


def rld(
    student_logits: "Tensor",
    teacher_logits: "Tensor",
    labels: "Tensor",
    *,
    alpha: float,
    beta: float,
    alpha_temperature: float,
    temperature: float,
) -> "Tensor":
    """A scalar in nat, averaged over the batch; logits (B, C), labels (B,).

    Without cross-entropy, weight and warm-up. Raises KdpipeError for shapes that do not agree and
    for a single class.
    """
    from torch.nn import functional as F

    student, teacher = compared("rld", student_logits, teacher_logits)
    labels = labelled("rld", labels, student)
    above_zero("rld", alpha_temperature=alpha_temperature, temperature=temperature)
    sure = divergence(
        one_or_other(student / alpha_temperature, labels),
        one_or_other(teacher / alpha_temperature, teacher.argmax(1)),
    )
    left_out = teacher >= teacher.gather(1, labels[:, None])
    ours, theirs = (
        F.log_softmax((x / temperature).masked_fill(left_out, NEVER), dim=1)
        for x in (student, teacher)
    )
    below = divergence(ours, theirs)
    return alpha * alpha_temperature**2 * sure + beta * temperature**2 * below


def _loss(student: Said, teacher: Said, labels: "Tensor", keys: dict) -> "Tensor":
    return rld(
        student.logits,
        teacher.logits,
        labels,
        alpha=keys["rld_alpha"],
        beta=keys["rld_beta"],
        alpha_temperature=keys["rld_alpha_temperature"],
        temperature=keys["rld_temperature"],
    )


TERM = Term(
    title="refined logit distillation",
    short="RLD",
    part="rld",
    revision=1,
    keys=Keys,
    loss=_loss,
    precise=lambda keys: min(keys["rld_temperature"], keys["rld_alpha_temperature"]) < 2,
    warmup="rld_warmup",
    classes=2,
)
