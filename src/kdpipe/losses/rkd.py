"""RKD: the distances and angles between images match the teacher's (Park et al., 2019).

`rkd = 25 * distances + 50 * angles`, both smooth L1, of the inputs of the linear classifiers.
Distances are those of each pair of a batch, divided by their mean over all pairs; angles are the
cosines that two images make as seen from a third. Means are over all B^2 and B^3 entries, those of
an image with itself included, as in the authors' code. The authors' weight is 1, with CE at 1.
"""

# torch leaves some of its functions partly without types.
# pyright: reportUnknownMemberType=false

from typing import TYPE_CHECKING, Any, cast

from pydantic import Field

from kdpipe.losses.base import MIN_NORM, LossTerm, ModelOutput, l2_normalize, to_float32
from kdpipe.pydantic_base import StrictModel

if TYPE_CHECKING:
    from torch import Tensor


class RKDConfig(StrictModel):
    """The keys of relational KD."""

    rkd_weight: float = Field(
        0.0,
        ge=0,
        le=1_000_000,
        description="the weight of relational KD (authors: 1)",
        examples=[1.0],
    )
    rkd_distance_weight: float = Field(
        25.0, ge=0, le=1_000_000, description="the weight of distances within relational KD"
    )
    rkd_angle_weight: float = Field(
        50.0, ge=0, le=1_000_000, description="the weight of angles within relational KD"
    )


def rkd(
    student_features: "Tensor",
    teacher_features: "Tensor",
    *,
    distance_weight: float = 25,
    angle_weight: float = 50,
) -> "Tensor":
    """Return relational KD, a scalar; it takes memory for B * B * F numbers.

    With fewer than three images, or with images that lie in one point, there are no angles, and
    with fewer than two no distances: what is missing counts as 0.

    Parameters
    ----------
    student_features, teacher_features : Tensor of shape (B, F)
        Features of one batch; F may differ.
    distance_weight, angle_weight : float
        The weights of the two parts.
    """
    from torch.nn import functional as F

    student_diffs, teacher_diffs = (
        _pairwise_differences(x) for x in (student_features, teacher_features.detach())
    )
    distance_loss = F.smooth_l1_loss(_distances(student_diffs), _distances(teacher_diffs))
    angle_loss = F.smooth_l1_loss(_angles(student_diffs), _angles(teacher_diffs))
    return distance_weight * distance_loss + angle_weight * angle_loss


def _pairwise_differences(features: "Tensor") -> "Tensor":
    """Return the vectors from the first image to the second: (B, B, F)."""
    features = to_float32(features).flatten(1)
    return features.unsqueeze(0) - features.unsqueeze(1)


def _distances(differences: "Tensor") -> "Tensor":
    """Return the lengths in units of their mean over pairs of two images: (B, B)."""
    import torch

    length = cast("Tensor", torch.linalg.vector_norm(differences, dim=2))
    pairs = len(length) * (len(length) - 1)
    return length / (length.sum() / max(1, pairs)).clamp(min=MIN_NORM)


def _angles(differences: "Tensor") -> "Tensor":
    """Return the cosines at the first image between the second and the third: (B, B, B)."""
    directions = l2_normalize(differences)
    return directions @ directions.mT


def _loss(student: ModelOutput, teacher: ModelOutput, keys: dict[str, Any]) -> "Tensor":
    """Return the term of a run."""
    assert student.embedding is not None and teacher.embedding is not None
    return rkd(
        student.embedding,
        teacher.embedding,
        distance_weight=keys["rkd_distance_weight"],
        angle_weight=keys["rkd_angle_weight"],
    )


TERM = LossTerm(
    title="relational KD",
    short_title="RKD",
    part="rkd",
    revision=1,
    keys=RKDConfig,
    loss=_loss,
    labelled=False,
    needs="embedding",
    is_batch_dependent=True,
)
