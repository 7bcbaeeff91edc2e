"""FitNet: the student's middle group, after a regressor, is its teacher's (Romero et al., 2015).

`fitnet` is the mean squared difference of the middle groups, or of the middle one of the modules
that a method names. The regressor makes as many channels of the student's as the teacher has: a
convolution of 1 x 1, batch normalisation and ReLU, trained with the student and dropped at the end.
The published numbers on CIFAR-100 are of such a regressor, at a weight of 100 beside CE at 1, all
in one stage, as it is done here (RepDistiller, `models/util.py`); a convolution alone diverges at
that weight within the first steps. The middle of three groups is the second.
"""

from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import Field

from kdpipe.errors import KdpipeError
from kdpipe.losses.base import LossTerm, ModelOutput, Shapes, to_float32
from kdpipe.pydantic_base import StrictModel

if TYPE_CHECKING:
    from torch import Tensor, nn


T = TypeVar("T")


class FitNetConfig(StrictModel):
    """The keys of FitNet."""

    fitnet_weight: float = Field(
        0.0,
        ge=0,
        le=1_000_000,
        description="the weight of FitNet's hint regression (usual: 100)",
        examples=[100.0],
    )


def fitnet(student: "Tensor", teacher: "Tensor") -> "Tensor":
    """Return the mean squared difference of features: a scalar.

    Parameters
    ----------
    student : Tensor of shape (B, channels, height, width)
        The output of the regressor.
    teacher : Tensor of shape (B, channels, height, width)

    Raises
    ------
    KdpipeError
        Where the shapes differ.
    """
    if student.shape != teacher.shape:
        student_shape, teacher_shape = (
            " x ".join(map(str, features.shape)) for features in (student, teacher)
        )
        raise KdpipeError(
            f"FitNet needs features of one shape; the student has {student_shape} after its "
            f"regressor where the teacher has {teacher_shape}"
        )
    return (to_float32(student) - to_float32(teacher).detach()).pow(2).mean()


def _middle_group(groups: list[T]) -> T:
    """Return the middle one, of an even number the second of the two."""
    return groups[len(groups) // 2]


def _loss(student: ModelOutput, teacher: ModelOutput, regressor: "nn.Module") -> "Tensor":
    """Return the term of a run."""
    regressed = regressor(to_float32(_middle_group(student.groups)))
    return fitnet(regressed, _middle_group(teacher.groups))


def _make_regressor(
    student: ModelOutput, teacher: ModelOutput, keys: dict[str, Any]
) -> "nn.Module":
    """Return the regressor from the student's channels to the teacher's."""
    from torch import nn

    shapes = [tuple(_middle_group(output.groups).shape) for output in (student, teacher)]
    if any(len(shape) != 4 for shape in shapes):
        raise KdpipeError(
            "FitNet needs features (images, channels, height, width); the student has "
            f"{shapes[0]}, the teacher {shapes[1]}"
        )
    student_channels, teacher_channels = (shape[1] for shape in shapes)
    return nn.Sequential(
        nn.Conv2d(student_channels, teacher_channels, 1),
        nn.BatchNorm2d(teacher_channels),
        nn.ReLU(),
    )


def _check_shapes(
    teacher: str, teacher_shapes: Shapes, student: str, student_shapes: Shapes
) -> str | None:
    """Explain where height or width differ: a convolution of 1 x 1 changes channels alone."""
    for name, shapes in ((teacher, teacher_shapes), (student, student_shapes)):
        if not shapes:
            return f"FitNet compares middle groups, and {name} has no groups"
    sizes = [_middle_group(shapes)[1:] for shapes in (teacher_shapes, student_shapes)]
    if sizes[0] == sizes[1]:
        return None
    teacher_size, student_size = ("x".join(map(str, size)) for size in sizes)
    return (
        f"FitNet compares middle groups of equal size, and {teacher} has {teacher_size} where "
        f"{student} has {student_size}"
    )


def _min_batch_size(shapes: Shapes) -> int:
    """Return 2 where the regressor would normalise a single number, of one image of 1 x 1."""
    return 2 if shapes and _middle_group(shapes)[1:] == (1, 1) else 1


TERM = LossTerm(
    title="FitNet",
    short_title="FitNet",
    part="fitnet",
    revision=2,  # of 1 the regressor was the convolution alone
    keys=FitNetConfig,
    loss=_loss,
    labelled=False,
    needs="groups",
    check_shapes=_check_shapes,
    learnt=_make_regressor,
    min_batch_size=_min_batch_size,
)
