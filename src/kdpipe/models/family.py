"""What a family of networks declares, so that nothing else knows it by name.

Each file in `families/` defines one `FAMILY`. The name of the file is the family's, with `_` for
`-`. A plan asks a family thousands of times: torch is imported inside `build` alone.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

Shape = tuple[int, int, int]  # channels, height, width

DEFAULT_SHAPE: Shape = (3, 224, 224)  # images that every family takes


@dataclass(frozen=True)
class Architecture:
    """A network as its name describes it, without building it.

    The numbers are for its family, and stay at 0 where that needs none.

    Attributes
    ----------
    name : str
        Name of the network.
    blocks : int
        Blocks of each group; for DenseNet-BC the layers of each dense block.
    stem : int
        Channels of the stem.
    widths : tuple of int
        Output channels of each group.
    growth : int
        Channels that a layer of a dense block adds.
    narrowest : int or None
        Fewest channels of a convolution (`memory_format`).
    linear : bool
        Whether it ends in a linear classifier, whose input a probe takes.
    weights : mapping of str to str
        Pretrained weights by name, with the first digits of their SHA-256.
    """

    name: str
    blocks: int = 0
    stem: int = 0
    widths: tuple[int, ...] = ()
    growth: int = 0
    narrowest: int | None = None
    linear: bool = True
    weights: Mapping[str, str] = field(default_factory=dict)


class Cost(NamedTuple):
    """Learned parameters of a network, and multiply-adds of classifying one image.

    Convolutions and the linear layer count (half of what torch's FlopCounterMode counts), not
    normalization, activation and pooling.
    """

    parameters: int
    multiply_adds: int


class Layer(NamedTuple):
    """One convolution, with the batch normalization that belongs to it.

    Attributes
    ----------
    inputs, outputs : int
        Channels.
    kernel : int
        Side of the kernel in pixels.
    pixels : int
        Number of pixels of its output.
    normalized : int
        Channels of the normalization before it (in a ResNet: after it); 0 if there is none.
    bias : bool
        Whether it has a bias.
    """

    inputs: int
    outputs: int
    kernel: int
    pixels: int
    normalized: int
    bias: bool = False


def classifier_layer(inputs: int, classes: int, normalized: int = 0) -> Layer:
    """Return the linear layer as a convolution of the one pixel that is left, with a bias."""
    return Layer(inputs, classes, kernel=1, pixels=1, normalized=normalized, bias=True)


def total_cost(layers: Iterable[Layer]) -> Cost:
    """Return the cost of a network of these layers."""
    parameters = multiply_adds = 0
    for layer in layers:
        weights = layer.kernel**2 * layer.inputs * layer.outputs
        parameters += weights + 2 * layer.normalized + (layer.outputs if layer.bias else 0)
        multiply_adds += weights * layer.pixels
    return Cost(parameters, multiply_adds)


@dataclass(frozen=True)
class Family:
    """Networks that are known by the form of their names.

    Attributes
    ----------
    revision : int
        Raised by hand when what its networks compute changes; part of the digests of runs.
    order : int
        Position among the families in messages.
    name_format : str
        How its names are written, for messages.
    name_pattern : re.Pattern or None
        What could be taken for one of its names; None: these names alone.
    suggest : callable
        From a misspelt name to names that may have been meant.
    parse : callable
        From a name to its Architecture; None for a name of another form. Raises KdpipeError with
        the nearest names if the form is right and a number is not.
    check : callable
        From (architecture, shape) to nothing; raises KdpipeError if it does not take such images.
    cost : callable
        From (architecture, shape of images that it takes, number of classes) to its Cost.
    groups : callable
        From (architecture, shape) to the output shape of each group; empty without groups.
    build : callable
        From (architecture, number of classes, channels) to the nn.Module, initialized from torch's
        global generator in a fixed order. Its `features(x)` gives (logits, group outputs).
    """

    revision: int
    order: int
    name_format: str
    name_pattern: re.Pattern[str] | None
    suggest: Callable[[str], Iterable[str]]
    parse: Callable[[str], Architecture | None]
    check: Callable[[Architecture, Shape], None]
    cost: Callable[[Architecture, Shape, int], Cost]
    groups: Callable[[Architecture, Shape], list[Shape]]
    build: Callable[[Architecture, int, int], Any]
