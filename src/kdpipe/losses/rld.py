"""Refined logit distillation: a teacher's mistakes are not followed (Sun et al., 2024).

    rld = alpha * SCD + beta * MCD
    SCD = a^2 * KL([max p_t, 1 - max p_t] || [p_s,y, 1 - p_s,y])
    MCD = T^2 * KL(q_t || q_s)

SCD is at the temperature a (`alpha_temperature`): the student is to be as sure of the label y as
the teacher is of its own choice. q is the softmax at T over the classes that the teacher holds less
likely than the label; where there is none, since the label is its last choice, MCD is 0. The
authors' settings for CIFAR-100 are alpha 1, beta 8, a 1 and T 4, with a warm-up of 20 of 240
epochs.
"""

from typing import TYPE_CHECKING, Any

from pydantic import Field

from kdpipe.losses._logits import (
    check_positive,
    kl_divergence,
    target_vs_rest,
    validate_labels,
    validate_logits,
)
from kdpipe.losses.base import LossTerm, ModelOutput, Warmup
from kdpipe.pydantic_base import StrictModel

if TYPE_CHECKING:
    from torch import Tensor

# Of a class that is left out. Not infinity: where all are left out both have the same logits, and
# neither their difference nor its gradient is nan.
MASKED_LOGIT = -1e30


class RLDConfig(StrictModel):
    """The keys of RLD."""

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
        description="the weight of its part on the classes that the teacher ranks below the label",
    )
    rld_alpha_temperature: float = Field(
        1.0, ge=0.01, le=1000, description="the temperature of the first part"
    )
    rld_temperature: float = Field(
        4.0, ge=0.01, le=1000, description="the temperature of the second part"
    )
    rld_warmup: Warmup = Field(
        1 / 12, description="warm-up of its weight, in epochs or as a fraction of epochs; 0: none"
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
    """Return RLD in nat, averaged over the batch: a scalar without weight and warm-up.

    Parameters
    ----------
    student_logits, teacher_logits : Tensor of shape (B, C)
    labels : Tensor of shape (B,)
        The class of each image.
    alpha, beta : float
        The weights of SCD and MCD.
    alpha_temperature, temperature : float
        What the logits are divided by in SCD and in MCD.

    Raises
    ------
    KdpipeError
        For shapes that differ, and for a single class.
    """
    from torch.nn import functional as F

    student, teacher = validate_logits("rld", student_logits, teacher_logits)
    labels = validate_labels("rld", labels, student)
    check_positive("rld", alpha_temperature=alpha_temperature, temperature=temperature)
    confidence_loss = kl_divergence(
        target_vs_rest(student / alpha_temperature, labels),
        target_vs_rest(teacher / alpha_temperature, teacher.argmax(1)),
    )
    masked = teacher >= teacher.gather(1, labels[:, None])
    student_log_p, teacher_log_p = (
        F.log_softmax((x / temperature).masked_fill(masked, MASKED_LOGIT), dim=1)
        for x in (student, teacher)
    )
    masked_loss = kl_divergence(student_log_p, teacher_log_p)
    return alpha * alpha_temperature**2 * confidence_loss + beta * temperature**2 * masked_loss


def _loss(
    student: ModelOutput, teacher: ModelOutput, labels: "Tensor", keys: dict[str, Any]
) -> "Tensor":
    """Return the term of a run."""
    return rld(
        student.logits,
        teacher.logits,
        labels,
        alpha=keys["rld_alpha"],
        beta=keys["rld_beta"],
        alpha_temperature=keys["rld_alpha_temperature"],
        temperature=keys["rld_temperature"],
    )


TERM = LossTerm(
    title="refined logit distillation",
    short_title="RLD",
    part="rld",
    revision=1,
    keys=RLDConfig,
    loss=_loss,
    needs_fp32=lambda keys: min(keys["rld_temperature"], keys["rld_alpha_temperature"]) < 2,
    warmup="rld_warmup",
    classes=2,
)
