"""Attention transfer: the student looks where its teacher looks (Zagoruyko and Komodakis, 2017).

`at` is the distance of the attention maps, summed over the groups. This is the form of the
authors' code, the mean of the squared differences, with which their weight of 1000 belongs; the
form they print, the norm of the difference, is another. The mean is over positions too, so a
weight found for images of 32 pixels weighs sixteen times as much for images of 8.
"""

from typing import TYPE_CHECKING

from pydantic import Field

from kdpipe.errors import KdpipeError
from kdpipe.learning.term import Said, Shapes, Term, full_precision
from kdpipe.section import Section

if TYPE_CHECKING:
    from torch import Tensor


class Keys(Section):
    attention_weight: float = Field(
        0.0,
        ge=0,
        le=1_000_000,
        description="the weight of attention transfer; good for one image size only",
        examples=[60.0],
    )


def attention(student: "list[Tensor]", teacher: "list[Tensor]") -> "Tensor":
    """Features (B, channels, height, width) per group; the channels may differ, height and width
    not: KdpipeError.
    """
    import torch

    total = torch.zeros((), device=student[0].device)
    for ours, theirs in zip(student, teacher, strict=True):
        if ours.shape[2:] != theirs.shape[2:]:
            raise KdpipeError(
                f"attention transfer needs maps of one size; the student has {_size(ours)} "
                f"pixels where the teacher has {_size(theirs)}"
            )
        total = total + (_map(ours) - _map(theirs.detach())).pow(2).mean()
    return total


def _map(features: "Tensor") -> "Tensor":
    """(B, height * width): the mean over channels of the squares, of length 1 for each image."""
    from torch.nn import functional as F

    return F.normalize(full_precision(features).pow(2).mean(1).flatten(1), dim=1)


def _size(features: "Tensor") -> str:
    return " x ".join(map(str, features.shape[2:]))


def _loss(student: Said, teacher: Said, labels: "Tensor", keys: dict) -> "Tensor":
    return attention(student.groups, teacher.groups)


def _fits(teacher: str, theirs: Shapes, student: str, ours: Shapes) -> str | None:
    """Maps can be compared where heights and widths agree, group by group."""
    sizes = [[side for _, *side in shapes] for shapes in (theirs, ours)]
    if sizes[0] == sizes[1] and sizes[0]:
        return None
    return (
        f"attention transfer compares maps of equal size, and {teacher} has {_listed(sizes[0])} "
        f"where {student} has {_listed(sizes[1])}"
    )


def _listed(sizes: list[list[int]]) -> str:
    return ", ".join(f"{height}x{width}" for height, width in sizes) or "no groups"


TERM = Term(
    title="attention transfer",
    short="AT",
    part="at",
    revision=1,
    keys=Keys,
    loss=_loss,
    labelled=False,
    needs="groups",
    fits=_fits,
    in_every_report=True,
)
