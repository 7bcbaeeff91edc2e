"""A term of the loss: what a teacher adds to what a student learns, and all that others ask of it.

A file in `learning/methods` defines one as `TERM`. The training loop, the plan, the study's
grammar, records, tables and figures know no term by name: they go by what it says of itself here.
Torch is imported inside a term's functions only, since the plan reads terms and imports no torch.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

from pydantic import Field

from kdpipe.section import Section

if TYPE_CHECKING:
    from torch import Tensor

Shapes = list[tuple[int, int, int]]  # (channels, height, width) of the output of each group
NOTHING = 1e-12  # a vector shorter than this has no direction
# What a term may look at beside the logits, which are always there.
NEEDS = ("logits", "groups", "embedding", "groups, embedding")
# A key of a term: epochs, or a share of the epochs, over which its weight rises; 0: none.
Warmup = Annotated[int, Field(ge=0)] | Annotated[float, Field(gt=0, lt=1)]


class Said(NamedTuple):
    """What a network says of a batch: logits (B, C); the outputs of its groups, each
    (B, channels, height, width); and its embedding (B, F), what its linear classifier is given.

    Where no term asks for them there are no groups, and no embedding.
    """

    logits: "Tensor"
    groups: "list[Tensor]"
    embedding: "Tensor | None" = None


def always(keys: dict) -> bool:
    """A term that wants its teacher's logits in single precision, whatever its keys."""
    return True


@dataclass(frozen=True)
class Term:
    """One term: `loss = ce_weight * CE + weight * loss(student, teacher, labels, keys)`.

    The weight is the key `<name>_weight` of its file; at 0 the term is not there. `loss` is given
    two `Said`, labels (B,) and its keys, and gives a scalar averaged over the batch, in float32
    whatever it is given; no gradient of it reaches the teacher, and it draws no random numbers.
    """

    title: str  # in a sentence: attention transfer
    short: str  # in a heading: AT
    part: str  # its column in a curve: at
    revision: int  # raised by hand when what it computes changes: part of its runs
    keys: type[Section]  # the keys of a method that are its own, each with a value to begin with
    loss: Callable[..., Any]
    # One of NEEDS. With more than logits the teacher is one network, and answers live; with the
    # embedding both networks end in a linear classifier.
    needs: str = "logits"
    # Whether it looks at the labels, and so needs one that is right for each image. False: it is
    # given None for them, and serves where images have no label, or that of two.
    labelled: bool = True
    # Whether its value depends on which images stand in a batch together: validation and test are
    # then looked at in batches of training's size, whatever the device likes.
    together: bool = False
    # The metric that is its part where `results.metrics` computes it in any case.
    metric: str | None = None
    # Of the keys: whether a table of the teacher's logits must be in single precision.
    precise: Callable[[dict], bool] = always
    # The key (a `Warmup`) of the epochs over which its weight rises; None: it is there at once.
    warmup: str | None = None
    # The fewest images and classes of a batch of which it can be computed.
    images: int = 1
    classes: int = 1
    # Of the student's Shapes: the fewest images that its learnt parameters can learn from at once.
    learns_from: Callable[[Shapes], int] = lambda shapes: 1
    # (teacher's name and Shapes, student's name and Shapes): what does not fit, or None.
    fits: Callable[[str, Shapes, str, Shapes], str | None] = lambda *_: None
    # (student and teacher Said of one image, keys) -> nn.Module: parameters of its own, trained
    # with the student, saved and resumed with the run, and thrown away at its end. `loss` is then
    # given the module as well.
    learnt: Callable[..., Any] | None = None
    # Whether its keys are columns of every report, used or not: so it was with the first two.
    in_every_report: bool = False


def beside_logits(needs: str) -> set[str]:
    """What of a network a term looks at beside logits: groups, embedding."""
    return {"groups", "embedding"} & set(needs.split(", "))


def full_precision(x: "Tensor") -> "Tensor":
    """Half precision as float32; what is more precise stays."""
    import torch

    return x.to(torch.promote_types(x.dtype, torch.float32))


def unit(x: "Tensor") -> "Tensor":
    """The vectors along the last dimension at length 1; one without length stays, and learns
    nothing, where a division would give it a gradient without bounds.
    """
    import torch

    length = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
    return x / length.masked_fill(length < NOTHING, torch.inf)
