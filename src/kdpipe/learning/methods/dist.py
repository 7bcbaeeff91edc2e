"""DIST: a student is to rank as its teacher does, not to say the same (Huang et al., 2022).

    dist = beta * T^2 * (1 - mean rho over images) + gamma * T^2 * (1 - mean rho over classes)

rho is Pearson's correlation of student's and teacher's probabilities (softmax of the logits
divided by T): along the classes of an image, and along the images of a batch for a class. As in the
authors' code 1e-8 is added to the product of the norms, so a row that is constant correlates with
nothing (rho 0). In a batch of one image every class is constant: it is refused, and left out where
the last images of a split are looked at. The authors' settings are beta = gamma = 1, T 4 and a
weight of 2 for CIFAR, T 1 for ImageNet.
"""

from typing import TYPE_CHECKING

from pydantic import Field

from kdpipe.learning.logits import above_zero, compared
from kdpipe.learning.term import Said, Term
from kdpipe.section import Section

if TYPE_CHECKING:
    from torch import Tensor


class Keys(Section):
    dist_weight: float = Field(0.0, ge=0, le=1000, description="the weight of DIST", examples=[2.0])
    dist_beta: float = Field(
        1.0, ge=0, le=1000, description="the weight of its part on the classes of each image"
    )
    dist_gamma: float = Field(
        1.0,
        ge=0,
        le=1000,
        description="the weight of its part on the images of a batch, class by class",
    )
    dist_temperature: float = Field(4.0, ge=0.01, le=1000, description="its temperature")


def dist(
    student_logits: "Tensor",
    teacher_logits: "Tensor",
    labels: "Tensor | None" = None,
    *,
    beta: float,
    gamma: float,
    temperature: float,
) -> "Tensor":
    """A scalar, from 0 to 2 T^2 (beta + gamma); logits (B, C).

    Labels are not looked at: they may be given since other terms on logits take them. Raises
    KdpipeError for shapes that do not agree, for one image and for one class.
    """
    student, teacher = compared("dist", student_logits, teacher_logits, images=2)
    above_zero("dist", temperature=temperature)
    ours, theirs = (student / temperature).softmax(1), (teacher / temperature).softmax(1)
    apart = beta * (1 - _correlation(ours, theirs).mean())
    apart = apart + gamma * (1 - _correlation(ours.T, theirs.T).mean())
    return temperature**2 * apart


def _correlation(a: "Tensor", b: "Tensor") -> "Tensor":
    """Pearson's, of each row of two matrices; 0 of a constant row, and no gradient."""
    import torch

    varies = a.amax(1, keepdim=True) > a.amin(1, keepdim=True)
    # Not left to the 1e-8: a student that says nothing yet would have a gradient of 1e8.
    a = torch.where(varies, a - a.mean(1, keepdim=True), 0.0)
    b = b - b.mean(1, keepdim=True)
    return (a * b).sum(1) / (a.norm(dim=1) * b.norm(dim=1) + 1e-8)


def _loss(student: Said, teacher: Said, labels: "Tensor", keys: dict) -> "Tensor":
    return dist(
        student.logits,
        teacher.logits,
        beta=keys["dist_beta"],
        gamma=keys["dist_gamma"],
        temperature=keys["dist_temperature"],
    )


TERM = Term(
    title="DIST",
    short="DIST",
    part="dist",
    revision=1,
    keys=Keys,
    loss=_loss,
    labelled=False,
    precise=lambda keys: keys["dist_temperature"] < 2,
    images=2,
    classes=2,
    together=True,
)
