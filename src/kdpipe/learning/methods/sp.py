"""SP: what is alike to the teacher is to be alike to the student (Tung and Mori, 2019).

`sp = ||G_t - G_s||_F^2 / B^2` with `G = f f'`, each row of G at length 1, and f the output of the
last group, flattened: (B, channels * height * width). The authors' weight is 3000, with CE at 1.
"""

from typing import TYPE_CHECKING

from pydantic import Field

from kdpipe.learning.term import Said, Shapes, Term, full_precision, unit
from kdpipe.section import Section

if TYPE_CHECKING:
    from torch import Tensor


class Keys(Section):
    sp_weight: float = Field(
        0.0,
        ge=0,
        le=1_000_000,
        description="the weight of similarity preserving (authors: 3000)",
        examples=[3000.0],
    )


def sp(student_features: "Tensor", teacher_features: "Tensor") -> "Tensor":
    """Features of one batch, (B, ...) each; the two may differ in all but B.

    Of a single image it is 0: there is nothing that it could be alike to.
    """
    apart = _similarities(student_features) - _similarities(teacher_features.detach())
    return apart.pow(2).mean()  # over B^2 pairs


def _similarities(features: "Tensor") -> "Tensor":
    """(B, B): how alike each image is to each, a row an image."""
    flat = full_precision(features).flatten(1)
    return unit(flat @ flat.T)


def _loss(student: Said, teacher: Said, labels: "Tensor", keys: dict) -> "Tensor":
    return sp(student.groups[-1], teacher.groups[-1])


def _fits(teacher: str, theirs: Shapes, student: str, ours: Shapes) -> str | None:
    """Similarities of a batch can be compared whatever the shapes."""
    lacking = [name for name, shapes in ((teacher, theirs), (student, ours)) if not shapes]
    if not lacking:
        return None
    return f"similarity preserving compares outputs of last groups, and {lacking[0]} has no groups"


TERM = Term(
    title="similarity preserving",
    short="SP",
    part="sp",
    revision=1,
    keys=Keys,
    loss=_loss,
    labelled=False,
    needs="groups",
    together=True,
    fits=_fits,
)
