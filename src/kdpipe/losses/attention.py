"""Attention transfer: the attention maps match the teacher's (Zagoruyko and Komodakis, 2017).

`at` is the distance of the attention maps, summed over the groups, or over the modules that a
method names. This is the form of the authors' code, the mean of the squared differences, with which
their weight of 1000 belongs; the form they print, the norm of the difference, is another. The mean
is over positions too, so a weight found for images of 32 pixels weighs sixteen times as much for
images of 8.
"""

from typing import TYPE_CHECKING

from pydantic import Field

from kdpipe.errors import KdpipeError
from kdpipe.losses.base import LossTerm, ModelOutput, Shapes, to_float32
from kdpipe.pydantic_base import StrictModel

if TYPE_CHECKING:
    from torch import Tensor


class AttentionConfig(StrictModel):
    """The keys of attention transfer."""

    attention_weight: float = Field(
        0.0,
        ge=0,
        le=1_000_000,
        description="the weight of attention transfer; suitable values depend on the image size",
        examples=[60.0],
    )


def attention(student: "list[Tensor]", teacher: "list[Tensor]") -> "Tensor":
    """Return the distance of the attention maps, summed over the groups: a scalar.

    Parameters
    ----------
    student, teacher : list of Tensor of shape (B, channels, height, width)
        Features of each group; the channels may differ.

    Raises
    ------
    KdpipeError
        Where height or width differ, or where features have none.
    """
    import torch

    total = torch.zeros((), device=student[0].device)
    for student_features, teacher_features in zip(student, teacher, strict=True):
        sizes = [_format_size(features) for features in (student_features, teacher_features)]
        if sizes[0] != sizes[1]:
            raise KdpipeError(
                f"attention transfer needs maps of one size; the student has {sizes[0]} "
                f"pixels where the teacher has {sizes[1]}"
            )
        student_map = _attention_map(student_features)
        total = total + (student_map - _attention_map(teacher_features.detach())).pow(2).mean()
    return total


def _attention_map(features: "Tensor") -> "Tensor":
    """Return the mean over channels of the squares, at length 1: (B, height * width)."""
    from torch.nn import functional as F

    return F.normalize(to_float32(features).pow(2).mean(1).flatten(1), dim=1)


def _format_size(features: "Tensor") -> str:
    """Return height x width, and refuse features that have neither."""
    if features.ndim != 4:
        raise KdpipeError(
            "attention transfer needs features (images, channels, height, width), "
            f"not {tuple(features.shape)}"
        )
    return " x ".join(map(str, features.shape[2:]))


def _loss(student: ModelOutput, teacher: ModelOutput) -> "Tensor":
    """Return the term of a run."""
    return attention(student.groups, teacher.groups)


def _check_shapes(
    teacher: str, teacher_shapes: Shapes, student: str, student_shapes: Shapes
) -> str | None:
    """Explain where heights and widths differ, group by group."""
    sizes = [[side for _, *side in shapes] for shapes in (teacher_shapes, student_shapes)]
    if sizes[0] == sizes[1] and sizes[0]:
        return None
    return (
        f"attention transfer compares maps of equal size, and {teacher} has "
        f"{_format_sizes(sizes[0])} where {student} has {_format_sizes(sizes[1])}"
    )


def _format_sizes(sizes: list[list[int]]) -> str:
    """Return the sizes of all groups as a text."""
    return ", ".join(f"{height}x{width}" for height, width in sizes) or "no groups"


TERM = LossTerm(
    title="attention transfer",
    short_title="AT",
    part="at",
    revision=1,
    keys=AttentionConfig,
    loss=_loss,
    labelled=False,
    needs="groups",
    check_shapes=_check_shapes,
    is_in_every_report=True,
)
