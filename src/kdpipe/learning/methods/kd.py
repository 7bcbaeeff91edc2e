"""TODO learning.methods.kd, from losses."""

from torch import Tensor
from torch.nn import functional as F

from kdpipe.learning.term import full_precision


def kd_loss(
    student_logits: Tensor,
    teacher_logits: Tensor,
    labels: Tensor,
    *,
    temperature: float,
    ce_weight: float,
    kd_weight: float,
    label_smoothing: float = 0.0,
) -> dict[str, Tensor]:
    """`loss = ce_weight * CE + kd_weight * T^2 * KL(teacher_T || student_T)`, and its parts.

    Logits (B, C), labels (B,). Returns scalars: "loss", and unweighted "ce" and "kd", where
    kd = T^2 * KL in nat. The paper prints a cross-entropy where KL stands here: the gradient is the
    same, the printed values of its Table 3 are only possible for KL.
    """
    student, teacher = full_precision(student_logits), full_precision(teacher_logits).detach()
    ce = F.cross_entropy(student, labels, label_smoothing=label_smoothing)
    kl = F.kl_div(
        F.log_softmax(student / temperature, dim=1),
        F.log_softmax(teacher / temperature, dim=1),
        reduction="batchmean",  # "mean" would also divide by the number of classes
        log_target=True,
    )
    kd = temperature**2 * kl  # T^2 keeps the gradient's size when the temperature changes
    return {"loss": ce_weight * ce + kd_weight * kd, "ce": ce, "kd": kd}
