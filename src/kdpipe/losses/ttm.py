"""TTM: transformed teacher matching, KD with the teacher alone softened (Zheng and Yang, 2024).

    ttm = KL(t || p_s)

t is the teacher's probabilities to the power of gamma, made to sum to 1: its softmax at T =
1/gamma. p_s is the student's softmax at T = 1, and there is no factor of T^2, so its weight
is large: 45 with gamma 0.1 in the authors' example.
"""

from typing import TYPE_CHECKING, Any

from pydantic import Field

from kdpipe.losses._logits import check_positive, kl_divergence, validate_logits
from kdpipe.losses.base import LossTerm, ModelOutput
from kdpipe.pydantic_base import StrictModel

if TYPE_CHECKING:
    from torch import Tensor


class TTMConfig(StrictModel):
    """The keys of TTM."""

    ttm_weight: float = Field(
        0.0, ge=0, le=10_000, description="the weight of TTM", examples=[45.0]
    )
    ttm_gamma: float = Field(
        0.1,
        gt=0,
        le=100,
        description="exponent of the teacher's probabilities: a temperature of 1/exponent",
    )


def ttm(
    student_logits: "Tensor",
    teacher_logits: "Tensor",
    *,
    gamma: float,
) -> "Tensor":
    """Return TTM in nat, averaged over the batch: a scalar.

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

    student, teacher = validate_logits("ttm", student_logits, teacher_logits)
    check_positive("ttm", gamma=gamma)
    return kl_divergence(F.log_softmax(student, dim=1), F.log_softmax(gamma * teacher, dim=1))


def _loss(student: ModelOutput, teacher: ModelOutput, keys: dict[str, Any]) -> "Tensor":
    """Return the term of a run."""
    return ttm(student.logits, teacher.logits, gamma=keys["ttm_gamma"])


TERM = LossTerm(
    title="transformed teacher matching",
    short_title="TTM",
    part="ttm",
    revision=1,
    keys=TTMConfig,
    loss=_loss,
    labelled=False,
    needs_fp32=lambda keys: keys["ttm_gamma"] > 0.5,
    classes=2,
)
