"""RKD: images are to lie to each other in the student as in the teacher (Park et al., 2019).

`rkd = 25 * distances + 50 * angles`, both smooth L1, of what the classifier is given. Distances are
those of each pair of a batch, divided by their mean over all pairs; angles are the cosines that two
images make as seen from a third. Means are over all B^2 and B^3 entries, those of an image with
itself included, as in the authors' code. The authors' weight is 1, with CE at 1.
"""

from typing import TYPE_CHECKING

from pydantic import Field

from kdpipe.learning.term import NOTHING, Said, Term, full_precision, unit
from kdpipe.section import Section

if TYPE_CHECKING:
    from torch import Tensor


class Keys(Section):
    rkd_weight: float = Field(
        0.0,
        ge=0,
        le=1_000_000,
        description="the weight of relational KD (authors: 1)",
        examples=[1.0],
    )
    rkd_distance_weight: float = Field(
        25.0, ge=0, le=1_000_000, description="within relational KD: the weight of distances"
    )
    rkd_angle_weight: float = Field(
        50.0, ge=0, le=1_000_000, description="within relational KD: the weight of angles"
    )


def rkd(
    student_features: "Tensor",
    teacher_features: "Tensor",
    *,
    distance_weight: float = 25,
    angle_weight: float = 50,
) -> "Tensor":
    """Features of one batch, (B, F) each; F may differ. It takes B * B * F numbers of memory.

    Of fewer than three images, or of images that lie in one point, it has nothing to say of
    angles, and of fewer than two nothing of distances: what is missing counts as 0.
    """
    from torch.nn import functional as F

    ours, theirs = (_apart(x) for x in (student_features, teacher_features.detach()))
    far = F.smooth_l1_loss(_distances(ours), _distances(theirs))
    turned = F.smooth_l1_loss(_angles(ours), _angles(theirs))
    return distance_weight * far + angle_weight * turned


def _apart(features: "Tensor") -> "Tensor":
    """(B, B, F): the way from the first image to the second."""
    features = full_precision(features).flatten(1)
    return features.unsqueeze(0) - features.unsqueeze(1)


def _distances(apart: "Tensor") -> "Tensor":
    """(B, B), in units of their mean over pairs of two images."""
    import torch

    length = torch.linalg.vector_norm(apart, dim=2)
    pairs = len(length) * (len(length) - 1)
    return length / (length.sum() / max(1, pairs)).clamp(min=NOTHING)


def _angles(apart: "Tensor") -> "Tensor":
    """(B, B, B): cosines between the ways from the first image to the second and to the third."""
    ways = unit(apart)
    return ways @ ways.mT


def _loss(student: Said, teacher: Said, labels: "Tensor", keys: dict) -> "Tensor":
    assert student.embedding is not None and teacher.embedding is not None
    return rkd(
        student.embedding,
        teacher.embedding,
        distance_weight=keys["rkd_distance_weight"],
        angle_weight=keys["rkd_angle_weight"],
    )


TERM = Term(
    title="relational KD",
    short="RKD",
    part="rkd",
    revision=1,
    keys=Keys,
    loss=_loss,
    labelled=False,
    needs="embedding",
    together=True,
)
