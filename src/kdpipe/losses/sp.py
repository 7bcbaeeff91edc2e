"""SP: the similarities between images match the teacher's (Tung and Mori, 2019).

`sp = ||G_t - G_s||_F^2 / B^2` with `G = f f'`, each row of G at length 1, and f the output of the
last group, or of the last module that a method names, flattened: (B, channels * height * width).
The authors' weight is 3000, with CE at 1.
"""

from typing import TYPE_CHECKING

from pydantic import Field

from kdpipe.losses.base import LossTerm, ModelOutput, Shapes, l2_normalize, to_float32
from kdpipe.pydantic_base import StrictModel

if TYPE_CHECKING:
    from torch import Tensor


class SPConfig(StrictModel):
    """The keys of similarity preserving."""

    sp_weight: float = Field(
        0.0,
        ge=0,
        le=1_000_000,
        description="the weight of similarity preserving (authors: 3000)",
        examples=[3000.0],
    )


def sp(student_features: "Tensor", teacher_features: "Tensor") -> "Tensor":
    """Return the mean squared difference of the similarities: a scalar, 0 for a single image.

    Parameters
    ----------
    student_features, teacher_features : Tensor of shape (B, ...)
        Features of one batch, whose shapes may differ in all but B.
    """
    difference = _similarities(student_features) - _similarities(teacher_features.detach())
    return difference.pow(2).mean()  # over B^2 pairs


def _similarities(features: "Tensor") -> "Tensor":
    """Return the similarity of each image to each: (B, B), each row at length 1."""
    flat = to_float32(features).flatten(1)
    return l2_normalize(flat @ flat.T)


def _loss(student: ModelOutput, teacher: ModelOutput) -> "Tensor":
    """Return the term of a run."""
    return sp(student.groups[-1], teacher.groups[-1])


def _check_shapes(
    teacher: str, teacher_shapes: Shapes, student: str, student_shapes: Shapes
) -> str | None:
    """Explain which network has no groups; similarities can be compared whatever the shapes."""
    without_groups = [
        name
        for name, shapes in ((teacher, teacher_shapes), (student, student_shapes))
        if not shapes
    ]
    if not without_groups:
        return None
    return (
        "similarity preserving compares outputs of last groups, and "
        f"{without_groups[0]} has no groups"
    )


TERM = LossTerm(
    title="similarity preserving",
    short_title="SP",
    part="sp",
    revision=1,
    keys=SPConfig,
    loss=_loss,
    labelled=False,
    needs="groups",
    is_batch_dependent=True,
    check_shapes=_check_shapes,
)
