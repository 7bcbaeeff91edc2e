"""Normalised KD: the label as sure as the teacher is, and the rest by itself (Yang et al., 2023).

    nkd = -mean p_t,y log p_s,y - gamma * T^2 * mean sum over i != y of q_t,i log q_s,i

p is the softmax at T = 1, y the label, q the softmax at T over the classes other than y. A
cross-entropy: its minimum is not 0. The authors' settings are gamma 3.5 and T 3 for CIFAR-100,
gamma 1.5 and T 1 for ImageNet.
"""

from typing import TYPE_CHECKING, Any

from pydantic import Field

from kdpipe.losses._logits import check_positive, drop_class, validate_labels, validate_logits
from kdpipe.losses.base import LossTerm, ModelOutput
from kdpipe.pydantic_base import StrictModel

if TYPE_CHECKING:
    from torch import Tensor


class NKDConfig(StrictModel):
    """The keys of normalised KD."""

    nkd_weight: float = Field(
        0.0, ge=0, le=1000, description="the weight of normalized KD", examples=[1.0]
    )
    nkd_gamma: float = Field(
        3.5, ge=0, le=1000, description="the weight of its part on the non-target classes"
    )
    nkd_temperature: float = Field(
        3.0, ge=0.01, le=1000, description="the temperature of that part"
    )


def nkd(
    student_logits: "Tensor",
    teacher_logits: "Tensor",
    labels: "Tensor",
    *,
    gamma: float,
    temperature: float,
) -> "Tensor":
    """Return normalised KD in nat, averaged over the batch: a scalar.

    Parameters
    ----------
    student_logits, teacher_logits : Tensor of shape (B, C)
    labels : Tensor of shape (B,)
        The class of each image.
    gamma : float
        The weight of the part on the classes other than the label.
    temperature : float
        What the logits are divided by in that part.

    Raises
    ------
    KdpipeError
        For shapes that differ, and for a single class.
    """
    from torch.nn import functional as F

    student, teacher = validate_logits("nkd", student_logits, teacher_logits)
    labels = validate_labels("nkd", labels, student)
    check_positive("nkd", temperature=temperature)
    student_log_p, teacher_log_p = (
        F.log_softmax(x, dim=1).gather(1, labels[:, None]) for x in (student, teacher)
    )
    q_s, q_t = (
        F.log_softmax(drop_class(x, labels) / temperature, dim=1) for x in (student, teacher)
    )
    target = (teacher_log_p.exp() * student_log_p).mean()
    rest = (q_t.exp() * q_s).sum(1).mean()
    return -target - gamma * temperature**2 * rest


def _loss(
    student: ModelOutput, teacher: ModelOutput, labels: "Tensor", keys: dict[str, Any]
) -> "Tensor":
    """Return the term of a run."""
    return nkd(
        student.logits,
        teacher.logits,
        labels,
        gamma=keys["nkd_gamma"],
        temperature=keys["nkd_temperature"],
    )


TERM = LossTerm(
    title="normalised KD",
    short_title="NKD",
    part="nkd",
    revision=1,
    keys=NKDConfig,
    loss=_loss,  # of the label at T = 1: in single precision, whatever its temperature
    classes=2,
)
