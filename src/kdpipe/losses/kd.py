"""Knowledge distillation: match the teacher's softened probabilities (Hinton et al., 2015).

`kd = T^2 * KL(teacher_T || student_T)`, where p_T is the softmax of the logits divided by T. The
paper prints a cross-entropy in place of KL: the gradient is the same, and the values of its
Table 3 are only possible for KL.
"""

from typing import TYPE_CHECKING, Any

from pydantic import Field

from kdpipe.losses.base import LossTerm, ModelOutput, to_float32
from kdpipe.pydantic_base import StrictModel

if TYPE_CHECKING:
    from torch import Tensor


class KDConfig(StrictModel):
    """The keys of KD."""

    temperature: float = Field(
        4.0,
        gt=0,
        le=1000,
        description="temperature that divides both networks' logits in the KD term",
    )
    kd_weight: float = Field(
        0.9,
        ge=0,
        le=1000,
        description="the weight of KL to the teacher; default with other terms: 0",
    )


def kd(
    student_logits: "Tensor",
    teacher_logits: "Tensor",
    *,
    temperature: float,
) -> "Tensor":
    """Return T^2 * KL in nat, summed over classes and averaged over the batch.

    Parameters
    ----------
    student_logits, teacher_logits : Tensor of shape (B, C)
    temperature : float
        What both are divided by.

    Returns
    -------
    Tensor
        A scalar.

    References
    ----------
    Hinton, Vinyals and Dean (2015), Distilling the knowledge in a neural network.
    """
    from torch.nn import functional as F

    student, teacher = to_float32(student_logits), to_float32(teacher_logits).detach()
    kl = F.kl_div(
        F.log_softmax(student / temperature, dim=1),
        F.log_softmax(teacher / temperature, dim=1),
        reduction="batchmean",  # "mean" would also divide by the number of classes
        log_target=True,
    )
    return temperature**2 * kl  # T^2 keeps the gradient's size when the temperature changes


def _loss(student: ModelOutput, teacher: ModelOutput, keys: dict[str, Any]) -> "Tensor":
    """Return the term of a run."""
    return kd(student.logits, teacher.logits, temperature=keys["temperature"])


TERM = LossTerm(
    title="KD",
    short_title="KD",
    part="kd",
    revision=1,
    keys=KDConfig,
    loss=_loss,
    labelled=False,
    metric="kl",
    # Half precision rounds probabilities by 3e-4 at T = 4, but by 4e-3 at T = 1.
    needs_fp32=lambda keys: keys["temperature"] < 2,
    is_in_every_report=True,
)
