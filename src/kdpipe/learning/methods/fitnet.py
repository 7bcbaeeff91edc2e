"""FitNet: the student's middle group, after a learnt regressor, is to be its teacher's
(Romero et al., 2015).

`fitnet` is the mean squared difference. The regressor makes as many channels of the student's as
the teacher has: a convolution of 1 x 1, batch normalisation and ReLU, trained with the student and
thrown away at the end. The published numbers on CIFAR-100 are of such a one, at a weight of 100
beside CE at 1, all in one stage, as it is done here (RepDistiller, `models/util.py`); a convolution
alone diverges at that weight within the first steps. The middle of three groups is the second.
"""

from typing import TYPE_CHECKING

from pydantic import Field

from kdpipe.errors import KdpipeError
from kdpipe.learning.term import Said, Shapes, Term, full_precision
from kdpipe.section import Section

if TYPE_CHECKING:
    from torch import Tensor


class Keys(Section):
    fitnet_weight: float = Field(
        0.0,
        ge=0,
        le=1_000_000,
        description="the weight of FitNet's regression (usual: 100)",
        examples=[100.0],
    )


def fitnet(student: "Tensor", teacher: "Tensor") -> "Tensor":
    """Features of one shape, the student's after its regressor. KdpipeError where they differ."""
    if student.shape != teacher.shape:
        ours, theirs = (" x ".join(map(str, one.shape)) for one in (student, teacher))
        raise KdpipeError(
            f"FitNet needs features of one shape; the student has {ours} after its regressor "
            f"where the teacher has {theirs}"
        )
    return (full_precision(student) - full_precision(teacher).detach()).pow(2).mean()


def _middle(groups: list):
    return groups[len(groups) // 2]


def _loss(student: Said, teacher: Said, labels: "Tensor", keys: dict, regressor) -> "Tensor":
    return fitnet(regressor(full_precision(_middle(student.groups))), _middle(teacher.groups))


def _regressor(student: Said, teacher: Said, keys: dict):
    from torch import nn

    ours, theirs = (_middle(said.groups).shape[1] for said in (student, teacher))
    return nn.Sequential(nn.Conv2d(ours, theirs, 1), nn.BatchNorm2d(theirs), nn.ReLU())


def _fits(teacher: str, theirs: Shapes, student: str, ours: Shapes) -> str | None:
    """A convolution of 1 x 1 changes the channels, and neither height nor width."""
    for name, shapes in ((teacher, theirs), (student, ours)):
        if not shapes:
            return f"FitNet compares middle groups, and {name} has no groups"
    sizes = [_middle(shapes)[1:] for shapes in (theirs, ours)]
    if sizes[0] == sizes[1]:
        return None
    there, here = ("x".join(map(str, size)) for size in sizes)
    return (
        f"FitNet compares middle groups of equal size, and {teacher} has {there} where {student} "
        f"has {here}"
    )


def _learns_from(ours: Shapes) -> int:
    """The regressor normalises over a batch: of one image that is 1 x 1 there is one number."""
    return 2 if ours and _middle(ours)[1:] == (1, 1) else 1


TERM = Term(
    title="FitNet",
    short="FitNet",
    part="fitnet",
    revision=2,  # of 1 the regressor was the convolution alone
    keys=Keys,
    loss=_loss,
    labelled=False,
    needs="groups",
    fits=_fits,
    learnt=_regressor,
    learns_from=_learns_from,
)
