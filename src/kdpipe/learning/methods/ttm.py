"""TTM: transformed teacher matching, KD with a temperature on the teacher alone (Zheng and Yang,
2024).

    ttm = KL(t || p_s)

t is the teacher's probabilities to the power of gamma, made to sum to 1: its softmax at T =
1/gamma. p_s is the student's softmax at T = 1, and no factor of T^2 stands before it, so its weight
is large: 45 with gamma 0.1 in the authors' example.
"""

from typing import TYPE_CHECKING

from pydantic import Field

from kdpipe.learning.logits import above_zero, compared, divergence
from kdpipe.learning.term import Said, Term
from kdpipe.section import Section

if TYPE_CHECKING:
    from torch import Tensor


class Keys(Section):
    ttm_weight: float = Field(
        0.0, ge=0, le=10_000, description="the weight of TTM", examples=[45.0]
    )
    ttm_gamma: float = Field(
        0.1, gt=0, le=100, description="the power that flattens the teacher: a temperature of 1/it"
    )


def ttm(
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

    student, teacher = compared("ttm", student_logits, teacher_logits)
    above_zero("ttm", gamma=gamma)
    return divergence(F.log_softmax(student, dim=1), F.log_softmax(gamma * teacher, dim=1))


def _loss(student: Said, teacher: Said, labels: "Tensor", keys: dict) -> "Tensor":
    return ttm(student.logits, teacher.logits, gamma=keys["ttm_gamma"])


TERM = Term(
    title="transformed teacher matching",
    short="TTM",
    part="ttm",
    revision=1,
    keys=Keys,
    loss=_loss,
    labelled=False,
    precise=lambda keys: keys["ttm_gamma"] > 0.5,
    classes=2,
)
