"""DIST: the student's ranking matches its teacher's, not its values (Huang et al., 2022).

    dist = beta * T^2 * (1 - mean rho over images) + gamma * T^2 * (1 - mean rho over classes)

rho is Pearson's correlation of student's and teacher's probabilities (softmax of the logits
divided by T): along the classes of an image, and along the images of a batch for a class. As in the
authors' code 1e-8 is added to the product of the norms, so a row that is constant correlates with
nothing (rho 0). In a batch of one image every class is constant: it is refused, and left out where
the last images of a split are evaluated. The authors' settings are beta = gamma = 1, T 4 and a
weight of 2 for CIFAR, T 1 for ImageNet.
"""

# torch leaves some of its functions partly without types.
# pyright: reportUnknownMemberType=false

from typing import TYPE_CHECKING, Any, cast

from pydantic import Field

from kdpipe.losses._logits import check_positive, validate_logits
from kdpipe.losses.base import LossTerm, ModelOutput
from kdpipe.pydantic_base import StrictModel

if TYPE_CHECKING:
    from torch import Tensor


class DISTConfig(StrictModel):
    """The keys of DIST."""

    dist_weight: float = Field(0.0, ge=0, le=1000, description="the weight of DIST", examples=[2.0])
    dist_beta: float = Field(
        1.0,
        ge=0,
        le=1000,
        description="the weight of its inter-class part, on the classes of each image",
    )
    dist_gamma: float = Field(
        1.0,
        ge=0,
        le=1000,
        description="the weight of its intra-class part, on the images of a batch for each class",
    )
    dist_temperature: float = Field(4.0, ge=0.01, le=1000, description="its temperature")


def dist(
    student_logits: "Tensor",
    teacher_logits: "Tensor",
    *,
    beta: float,
    gamma: float,
    temperature: float,
) -> "Tensor":
    """Return DIST, a scalar from 0 to 2 T^2 (beta + gamma).

    Parameters
    ----------
    student_logits, teacher_logits : Tensor of shape (B, C)
    beta, gamma : float
        The weights of the part along classes and of the part along images.
    temperature : float
        What both logits are divided by.

    Raises
    ------
    KdpipeError
        For shapes that differ, for one image and for one class.
    """
    student, teacher = validate_logits("dist", student_logits, teacher_logits, min_images=2)
    check_positive("dist", temperature=temperature)
    student_probs, teacher_probs = (
        (student / temperature).softmax(1),
        (teacher / temperature).softmax(1),
    )
    distance = beta * (1 - _correlation(student_probs, teacher_probs).mean())
    distance = distance + gamma * (1 - _correlation(student_probs.T, teacher_probs.T).mean())
    return temperature**2 * distance


def _correlation(a: "Tensor", b: "Tensor") -> "Tensor":
    """Return Pearson's correlation of each row of two matrices; 0 and no gradient if constant."""
    import torch

    varies = a.amax(1, keepdim=True) > a.amin(1, keepdim=True)
    # Not left to the 1e-8: a student whose outputs are still constant would have a gradient of 1e8.
    a = torch.where(varies, a - a.mean(1, keepdim=True), 0.0)
    b = b - b.mean(1, keepdim=True)
    a_norm, b_norm = cast("Tensor", a.norm(dim=1)), cast("Tensor", b.norm(dim=1))
    return (a * b).sum(1) / (a_norm * b_norm + 1e-8)


def _loss(student: ModelOutput, teacher: ModelOutput, keys: dict[str, Any]) -> "Tensor":
    """Return the term of a run."""
    return dist(
        student.logits,
        teacher.logits,
        beta=keys["dist_beta"],
        gamma=keys["dist_gamma"],
        temperature=keys["dist_temperature"],
    )


TERM = LossTerm(
    title="DIST",
    short_title="DIST",
    part="dist",
    revision=1,
    keys=DISTConfig,
    loss=_loss,
    labelled=False,
    needs_fp32=lambda keys: keys["dist_temperature"] < 2,
    images=2,
    classes=2,
    is_batch_dependent=True,
)
