"""What a network family says of itself, so that nothing else knows it by name.

Each file in `families/` defines one `FAMILY`. The name of the file is the family's, with `_` for
`-`. A plan asks a family thousands of times: it imports torch inside `build` alone.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

Shape = tuple[int, int, int]  # channels, height, width

USUAL: Shape = (3, 224, 224)  # images that every family takes


@dataclass(frozen=True)
class Network:
    """A name taken apart, and what is known of the network without building it.

    The numbers are there for its family to price and to build it, and stay at 0 where the family
    needs none.
    """

    name: str
    blocks: int = 0  # of each group; for DenseNet-BC the layers of each dense block
    stem: int = 0  # channels
    widths: tuple[int, ...] = ()  # channels that each group puts out
    growth: int = 0  # channels a layer of a dense block adds
    narrowest: int | None = None  # the fewest channels of a convolution: see `layouts.of`
    linear: bool = True  # whether it ends in a linear classifier, whose input a probe takes
    weights: Mapping[str, str] = field(
        default_factory=dict
    )  # it can bring: name -> start of sha256


class Cost(NamedTuple):
    """Learned numbers of a network, and multiply-adds of classifying one image.

    Counted are convolutions and the linear layer (half of what torch's FlopCounterMode says), not
    normalisation, activation and pooling.
    """

    parameters: int
    multiply_adds: int


class Layer(NamedTuple):
    """One convolution, with the batch normalisation that belongs to it."""

    inputs: int
    outputs: int
    kernel: int
    pixels: int  # of its output
    normalised: int  # channels of the normalisation before it (resnet: after it), 0 if none
    bias: bool = False


def classifier(inputs: int, classes: int, normalised: int = 0) -> Layer:
    """The linear layer: a convolution of the one pixel that is left, with a bias."""
    return Layer(inputs, classes, kernel=1, pixels=1, normalised=normalised, bias=True)


def priced(layers: Iterable[Layer]) -> Cost:
    """The cost of a network of these layers."""
    parameters = multiply_adds = 0
    for layer in layers:
        weights = layer.kernel**2 * layer.inputs * layer.outputs
        parameters += weights + 2 * layer.normalised + (layer.outputs if layer.bias else 0)
        multiply_adds += weights * layer.pixels
    return Cost(parameters, multiply_adds)


@dataclass(frozen=True)
class Family:
    """Networks that are known by the form of their names."""

    revision: int  # raised by hand when what its networks compute changes: part of a run's digest
    order: int  # its place among the families in a message
    spelling: str  # how its names are written, as a message says it
    form: re.Pattern[str] | None  # what could be taken for a name of it; None: its names alone
    near: Callable[[str], Iterable[str]]  # names of it that a misspelt one may have meant
    parse: Callable[[str], Network | None]
    """None for a name of another form; KdpipeError if the form is right and a number is not, with
    the nearest names."""
    check: Callable[[Network, Shape], None]
    """Raises KdpipeError unless the network takes such images."""
    cost: Callable[[Network, Shape, int], Cost]
    """Of images of a shape that it takes, in so many classes."""
    groups: Callable[[Network, Shape], list[Shape]]
    """What each group puts out; empty for a network that has no groups."""
    build: Callable[[Network, int, int], Any]
    """The torch.nn.Module for (network, classes, channels), initialised from torch's global
    generator in a fixed order. `features(x)` gives (logits, group outputs)."""
