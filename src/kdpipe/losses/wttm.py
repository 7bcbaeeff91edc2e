"""Weighted TTM: images count more, the less sure the teacher is (Zheng and Yang, 2024).

    wttm = mean over images of u * KL(t || p_s),  u = sum over classes of p_t^gamma

with t and p_s of TTM: the teacher's probabilities to the power of gamma, made to sum to 1, and the
student's at T = 1. u, what t was divided by, is 1 for a teacher that is certain and C^(1 - gamma)
for one that knows nothing, so its weight is not TTM's. The one example of the authors has gamma
0.2 and a weight of 4, beside another method.
"""

from typing import TYPE_CHECKING, Any

from pydantic import Field

from kdpipe.losses._logits import check_positive, validate_logits
from kdpipe.losses.base import LossTerm, ModelOutput
from kdpipe.pydantic_base import StrictModel

if TYPE_CHECKING:
    from torch import Tensor


class WTTMConfig(StrictModel):
    """The keys of weighted TTM."""

    wttm_weight: float = Field(
        0.0, ge=0, le=10_000, description="the weight of weighted TTM", examples=[4.0]
    )
    wttm_gamma: float = Field(
        0.2,
        gt=0,
        le=100,
        description="exponent of the teacher's probabilities: a temperature of 1/exponent",
    )


def wttm(
    student_logits: "Tensor",
    teacher_logits: "Tensor",
    *,
    gamma: float,
) -> "Tensor":
    """Return weighted TTM in nat, averaged over the batch: a scalar.

    Parameters
    ----------
    student_logits, teacher_logits : Tensor of shape (B, C)
    gamma : float
        The power of the teacher's probabilities.

    Raises
    ------
    KdpipeError
        For shapes that differ, and for a single class.
    """
    from torch.nn import functional as F

    student, teacher = validate_logits("wttm", student_logits, teacher_logits)
    check_positive("wttm", gamma=gamma)
    powers = gamma * F.log_softmax(teacher, dim=1)
    kl = F.kl_div(
        F.log_softmax(student, dim=1),
        F.log_softmax(powers, dim=1),
        reduction="none",
        log_target=True,
    )
    return (powers.exp().sum(1) * kl.sum(1)).mean()


def _loss(student: ModelOutput, teacher: ModelOutput, keys: dict[str, Any]) -> "Tensor":
    """Return the term of a run."""
    return wttm(student.logits, teacher.logits, gamma=keys["wttm_gamma"])


TERM = LossTerm(
    title="weighted transformed teacher matching",
    short_title="WTTM",
    part="wttm",
    revision=1,
    keys=WTTMConfig,
    loss=_loss,
    labelled=False,
    needs_fp32=lambda keys: keys["wttm_gamma"] > 0.5,
    classes=2,
)
