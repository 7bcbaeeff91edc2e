"""Weighted soft labels: the teacher counts less for what the student knows (Zhou et al., 2021).

    wsl = T^2 * mean over images of w * sum over classes of -p_t log p_s
    w = 1 - exp(-CE_s / (CE_t + 1e-7))

p is the softmax of the logits divided by T; CE_s and CE_t are the cross-entropies of student and
teacher with the label, at T = 1, and no gradient runs through w. A cross-entropy: its minimum is
not 0. The authors' settings are T 4 and a weight of 2.25 for CIFAR-100, T 2 and 2.5 for ImageNet.
"""

from typing import TYPE_CHECKING, Any

from pydantic import Field

from kdpipe.losses._logits import check_positive, validate_labels, validate_logits
from kdpipe.losses.base import LossTerm, ModelOutput
from kdpipe.pydantic_base import StrictModel

if TYPE_CHECKING:
    from torch import Tensor


class WSLConfig(StrictModel):
    """The keys of weighted soft labels."""

    wsl_weight: float = Field(
        0.0, ge=0, le=1000, description="the weight of weighted soft labels", examples=[2.25]
    )
    wsl_temperature: float = Field(4.0, ge=0.01, le=1000, description="their temperature")


def wsl(
    student_logits: "Tensor",
    teacher_logits: "Tensor",
    labels: "Tensor",
    *,
    temperature: float,
) -> "Tensor":
    """Return weighted soft labels in nat, averaged over the batch: a scalar.

    Parameters
    ----------
    student_logits, teacher_logits : Tensor of shape (B, C)
    labels : Tensor of shape (B,)
        The class of each image.
    temperature : float
        What both logits are divided by.

    Raises
    ------
    KdpipeError
        For shapes that differ, and for a single class.
    """
    import torch
    from torch.nn import functional as F

    student, teacher = validate_logits("wsl", student_logits, teacher_logits)
    labels = validate_labels("wsl", labels, student)
    check_positive("wsl", temperature=temperature)
    with torch.no_grad():
        student_ce, teacher_ce = (
            F.cross_entropy(x, labels, reduction="none") for x in (student, teacher)
        )
        weight = -torch.expm1(-student_ce / (teacher_ce + 1e-7))
    log_p = F.log_softmax(student / temperature, dim=1)
    soft = -((teacher / temperature).softmax(1) * log_p).sum(1)
    return temperature**2 * (weight * soft).mean()


def _loss(
    student: ModelOutput, teacher: ModelOutput, labels: "Tensor", keys: dict[str, Any]
) -> "Tensor":
    """Return the term of a run."""
    return wsl(student.logits, teacher.logits, labels, temperature=keys["wsl_temperature"])


TERM = LossTerm(
    title="weighted soft labels",
    short_title="WSL",
    part="wsl",
    revision=1,
    keys=WSLConfig,
    loss=_loss,  # CE_t at T = 1: in single precision, whatever its temperature
    classes=2,
)
