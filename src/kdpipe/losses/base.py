"""Loss terms: what a teacher adds to what a student learns, and all that others know of a term.

A file of `losses/` defines one as `TERM`. The training loop, the plan, the study's grammar,
records, tables and figures know no term by name, only the fields of `LossTerm`. Torch is imported
inside a term's functions, since the plan reads terms and imports no torch.
"""

# torch leaves some of its functions partly without types.
# pyright: reportUnknownMemberType=false

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, cast

from pydantic import Field

from kdpipe.pydantic_base import StrictModel

if TYPE_CHECKING:
    from torch import Tensor

Shapes = list[tuple[int, int, int]]  # (channels, height, width) of the output of each group
MIN_NORM = 1e-12  # a vector shorter than this has no direction
# What a term may look at beside the logits, which are always there.
FEATURE_REQUIREMENTS = ("logits", "groups", "embedding", "groups, embedding")
# A key of a term: epochs, or a share of the epochs, over which its weight rises; 0: none.
Warmup = Annotated[int, Field(ge=0)] | Annotated[float, Field(gt=0, lt=1)]
LOSS_ARGUMENTS = ("student", "teacher", "labels", "keys")


class ModelOutput(NamedTuple):
    """What a network returns for a batch.

    Where no term looks at them there are no groups, and no embedding.

    Attributes
    ----------
    logits : Tensor of shape (B, C)
    groups : list of Tensor of shape (B, channels, height, width)
        The outputs of its groups; or of the modules that a method names, of any shape (B, ...).
    embedding : Tensor of shape (B, F) or None
        The input of its linear classifier.
    """

    logits: "Tensor"
    groups: "list[Tensor]"
    embedding: "Tensor | None" = None


def always_fp32(keys: dict[str, Any]) -> bool:
    """Keep the teacher's logits in single precision, whatever the keys."""
    return True


@dataclass(frozen=True)
class LossTerm:
    """A loss term: `loss = ce_weight * CE + weight * loss(student, teacher, labels, keys)`.

    The weight is the key `<name>_weight` of its file; at 0 the term is absent.

    Attributes
    ----------
    title : str
        Its name in a sentence: attention transfer.
    short_title : str
        Its name in a heading: AT.
    part : str
        Its column in a curve: at.
    revision : int
        Raised by hand when what it computes changes; part of the specs of its runs.
    keys : type of StrictModel
        The keys that it adds to a method, each with a default.
    loss : callable
        Called by `compute`. Returns a scalar averaged over the batch, in float32 whatever it is
        given; no gradient of it reaches the teacher, and it draws no random numbers.
    needs : str
        One of FEATURE_REQUIREMENTS. With more than logits the teacher is one network, and answers
        live; with the embedding both networks end in a linear classifier.
    labelled : bool
        Whether it looks at the labels, and so needs one that is right for each image. If False it
        is given None for them, and serves where images have no label, or that of two.
    is_batch_dependent : bool
        Whether its value depends on which images are in a batch together: validation and test are
        then evaluated in batches of training's size, whatever is fastest on the device.
    metric : str or None
        The metric of `runs.metrics` that equals the term and is computed in any case.
    needs_fp32 : callable
        From the keys to whether a cache of the teacher's logits must be in single precision.
    warmup : str or None
        The key (a `Warmup`) of the epochs over which its weight rises; None: there is none.
    images, classes : int
        The fewest images and classes of a batch for which it is defined.
    min_batch_size : callable
        From the student's Shapes to the fewest images that its parameters can learn from at once.
    check_shapes : callable
        From (teacher's name and Shapes, student's name and Shapes) to what does not fit, or None.
    learnt : callable or None
        `learnt(student, teacher, keys)` returns a module from the outputs for one image: parameters
        of the term that are trained with the student, saved and resumed with the run, and dropped
        at its end. `loss` is then given the module as its last argument.
    is_in_every_report : bool
        Whether its keys are columns of every report, used or not; so it was with the first two.
    """

    title: str
    short_title: str
    part: str
    revision: int
    keys: type[StrictModel]
    loss: Callable[..., Any]
    needs: str = "logits"
    labelled: bool = True
    is_batch_dependent: bool = False
    metric: str | None = None
    needs_fp32: Callable[[dict[str, Any]], bool] = always_fp32
    warmup: str | None = None
    images: int = 1
    classes: int = 1
    min_batch_size: Callable[[Shapes], int] = lambda shapes: 1
    check_shapes: Callable[[str, Shapes, str, Shapes], str | None] = (
        lambda teacher, teacher_shapes, student, student_shapes: None
    )
    learnt: Callable[..., Any] | None = None
    is_in_every_report: bool = False

    def compute(
        self,
        student: ModelOutput,
        teacher: ModelOutput,
        labels: Any,
        keys: dict[str, Any],
        *module: Any,
    ) -> Any:
        """Return the loss of a batch, without its weight.

        `loss` may leave out some of the parameters `student, teacher, labels, keys`, and is then
        given those that it declares by these names. Otherwise it is given all four, in this order.

        Parameters
        ----------
        student, teacher : ModelOutput
        labels : Tensor of shape (B,) or None
        keys : dict
            The keys of the term with their values.
        *module : nn.Module
            The module that `learnt` made, if there is one.
        """
        values = student, teacher, labels, keys
        arguments: dict[str, Any] = dict(zip(LOSS_ARGUMENTS, values, strict=True))
        if self._declared is None:
            return self.loss(*values, *module)
        return self.loss(*(arguments[name] for name in self._declared), *module)

    @cached_property
    def _declared(self) -> tuple[str, ...] | None:
        """Return those of LOSS_ARGUMENTS that `loss` declares; None if it is given all of them."""
        try:
            parameters = inspect.signature(self.loss).parameters.values()
        except (TypeError, ValueError):  # of what is not written in Python
            return None
        if any(p.kind is not p.POSITIONAL_OR_KEYWORD for p in parameters):
            return None
        n_arguments = len(parameters) - (self.learnt is not None)
        names = tuple(parameter.name for parameter in parameters)[:n_arguments]
        is_partial = len(names) < len(LOSS_ARGUMENTS) and set(names) <= set(LOSS_ARGUMENTS)
        return names if is_partial else None


def parse_needs(needs: str) -> set[str]:
    """Return what a term looks at beside logits: groups, embedding."""
    return {"groups", "embedding"} & set(needs.split(", "))


def to_float32(x: "Tensor") -> "Tensor":
    """Return half precision as float32, and what is more precise as it is."""
    import torch

    return x.to(torch.promote_types(x.dtype, torch.float32))


def l2_normalize(x: "Tensor") -> "Tensor":
    """Return the vectors along the last dimension, scaled to length 1.

    A vector without length stays as it is and has no gradient, where a division would give it a
    gradient without bounds.
    """
    import torch

    norm = cast("Tensor", torch.linalg.vector_norm(x, dim=-1, keepdim=True))
    return x / norm.masked_fill(norm < MIN_NORM, torch.inf)
