"""Knowledge distillation: the student matches its teacher's softened classes (Hinton et al., 2015).

`kd = T^2 * KL(teacher_T || student_T)`, where p_T is the softmax of the logits divided by T. The
paper prints a cross-entropy where KL stands here: the gradient is the same, and the values of its
Table 3 are only possible for KL.
"""

from typing import TYPE_CHECKING

from pydantic import Field

from kdpipe.learning.term import Said, Term, full_precision
from kdpipe.section import Section

if TYPE_CHECKING:
    from torch import Tensor


class Keys(Section):
    temperature: float = Field(
        4.0, gt=0, le=1000, description="both networks' logits are divided by it in the KD term"
    )
    kd_weight: float = Field(
        0.9,
        ge=0,
        le=1000,
        description="the weight of KL to the teacher; beside another term 0 if not given",
    )


def kd(
    student_logits: "Tensor",
    teacher_logits: "Tensor",
    labels: "Tensor | None" = None,
    *,
    temperature: float,
) -> "Tensor":
    """T^2 * KL in nat, summed over classes and averaged over the batch; logits (B, C).

    Labels are not looked at: they may be given since other terms on logits take them.
    """
    from torch.nn import functional as F

    student, teacher = full_precision(student_logits), full_precision(teacher_logits).detach()
    kl = F.kl_div(
        F.log_softmax(student / temperature, dim=1),
        F.log_softmax(teacher / temperature, dim=1),
        reduction="batchmean",  # "mean" would also divide by the number of classes
        log_target=True,
    )
    return temperature**2 * kl  # T^2 keeps the gradient's size when the temperature changes


def _loss(student: Said, teacher: Said, labels: "Tensor", keys: dict) -> "Tensor":
    return kd(student.logits, teacher.logits, temperature=keys["temperature"])


TERM = Term(
    title="KD",
    short="KD",
    part="kd",
    revision=1,
    keys=Keys,
    loss=_loss,
    labelled=False,
    metric="kl",
    # Half precision rounds probabilities by 3e-4 at T = 4, but by 4e-3 at T = 1.
    precise=lambda keys: keys["temperature"] < 2,
    in_every_report=True,
)
