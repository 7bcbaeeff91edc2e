"""Weighted TTM: the more, the less sure the teacher is of an image (Zheng and Yang, 2024).

    wttm = mean over images of u * KL(t || p_s),  u = sum over classes of p_t^gamma

with t and p_s of TTM: the teacher's probabilities to the power of gamma, made to sum to 1, and the
student's at T = 1. u, what t was divided by, is 1 for a teacher that is certain and C^(1 - gamma)
for one that knows nothing, so its weight is not TTM's. The one example of the authors has gamma
0.2 and a weight of 4, beside another method.
"""

from typing import TYPE_CHECKING

from pydantic import Field

from kdpipe.learning.logits import above_zero, compared
from kdpipe.learning.term import Said, Term
from kdpipe.section import Section

if TYPE_CHECKING:
    from torch import Tensor


class Keys(Section):
    wttm_weight: float = Field(
        0.0, ge=0, le=10_000, description="the weight of weighted TTM", examples=[4.0]
    )
    wttm_gamma: float = Field(
        0.2, gt=0, le=100, description="the power that flattens the teacher: a temperature of 1/it"
    )


def wttm(
    student_logits: "Tensor",
    teacher_logits: "Tensor",
    labels: "Tensor | None" = None,
    *,
    gamma: float,
) -> "Tensor":
    """A scalar in nat, averaged over the batch; logits (B, C).

    Labels are not looked at: they may be given since other terms on logits take them. Raises
    KdpipeError for shapes that do not agree and for a single class.
    """
    from torch.nn import functional as F

    student, teacher = compared("wttm", student_logits, teacher_logits)
    above_zero("wttm", gamma=gamma)
    powers = gamma * F.log_softmax(teacher, dim=1)
    kl = F.kl_div(
        F.log_softmax(student, dim=1),
        F.log_softmax(powers, dim=1),
        reduction="none",
        log_target=True,
    )
    return (powers.exp().sum(1) * kl.sum(1)).mean()


def _loss(student: Said, teacher: Said, labels: "Tensor", keys: dict) -> "Tensor":
    return wttm(student.logits, teacher.logits, gamma=keys["wttm_gamma"])


TERM = Term(
    title="weighted transformed teacher matching",
    short="WTTM",
    part="wttm",
    revision=1,
    keys=Keys,
    loss=_loss,
    labelled=False,
    precise=lambda keys: keys["wttm_gamma"] > 0.5,
    classes=2,
)
