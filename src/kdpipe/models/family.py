"""What a family of networks declares, so that nothing else knows it by name.

Each file in `families/` defines one `FAMILY`. The name of the file is the family's, with `_` for
`-`. A plan asks a family thousands of times: torch is imported inside `build` alone.

Networks for small images, without torch: a stem, three groups, and a linear classifier.

The second and the third group halve height and width. What the groups of a family are made of is
in its file; what all have in common is here, and their modules are in `layers`.

Names of the form `<kind><depth>-<width>`: wrn16-2, densenet-bc40-12.

One network has one spelling, since its name is part of a run's identity. A name that is nearly
right is answered with the right one.
"""

import contextlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from kdpipe.errors import KdpipeError

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


DEPTHS = range(10, 2000, 6)  # three groups of n blocks, each of two layers, and four more: 6n+4
MAX_WIDTH = 1000

# From a width to what is wrong with it and the nearest right one, or None.
WidthFix = Callable[[float], tuple[str, float] | None]


def compile_name_pattern(prefix: str) -> re.Pattern[str]:
    """Compile the pattern of the names of a kind, right or nearly so."""
    # The digits are bounded, so that no name makes int() or float() fail.
    return re.compile(rf"{prefix}([0-9]{{1,9}})-([0-9]{{0,9}}\.?[0-9]{{1,9}})")


def parse_depth_width(
    name: str, prefix: str, noun: str, fix_width: WidthFix
) -> tuple[int, float] | None:
    """Parse the numbers of a name.

    Parameters
    ----------
    name : str
        The name.
    prefix : str
        Name of the kind, before the numbers.
    noun : str
        What the width is called in messages.
    fix_width : callable
        From a width to what is wrong with it and the nearest right one, or None.

    Returns
    -------
    tuple of (int, float), or None
        Blocks of each group, and the width; None for a name of another form.

    Raises
    ------
    KdpipeError
        With the nearest names, if a number is out of bounds or the name is spelt differently.
    """
    if not (match := compile_name_pattern(prefix).fullmatch(name)):
        return None
    depth, width = int(match[1]), float(match[2])
    errors, depths, nearest = [], [depth], width
    if depth not in DEPTHS:
        errors.append(f"depth must be 6n+4, from {DEPTHS[0]} to {DEPTHS[-1]}, not {depth}")
        depths = sorted(sorted(DEPTHS, key=lambda d: abs(d - depth))[:2])
    if width > MAX_WIDTH:
        errors.append(f"{noun} must be at most {MAX_WIDTH}, not {width:g}")
        nearest = MAX_WIDTH
    elif fix := fix_width(width):
        errors.append(fix[0])
        nearest = fix[1]
    names = ", ".join(f"{prefix}{d}-{nearest:g}" for d in depths)
    if errors:
        raise KdpipeError(f"network '{name}': {' and '.join(errors)}; nearest: {names}")
    if name != names:
        raise KdpipeError(f"network '{name}' must be written '{names}'")
    return (depth - 4) // 6, width


def suggest_from_numbers(name: str, prefix: str, parse: Callable[[str], object]) -> Iterator[str]:
    """Yield the name of that kind made of a misspelt one's numbers, if there is one."""
    numbers = re.findall(r"[0-9]{1,4}(?:\.[0-9]{1,4})?", name[:40])
    candidate = f"{prefix}{'-'.join(numbers)}"
    with contextlib.suppress(KdpipeError):
        if parse(candidate) is not None:
            yield candidate


MIN_SIDE = 4  # pixels: one is left after two halvings


def check_size(arch: Architecture, shape: Shape) -> None:
    """Raise KdpipeError unless images of that shape can be halved twice."""
    channels, height, width = shape
    if channels < 1:
        raise KdpipeError(f"network '{arch.name}': images need at least 1 channel, not {channels}")
    if min(height, width) < MIN_SIDE:
        raise KdpipeError(
            f"network '{arch.name}': images of {height} x {width} pixels are too small; it "
            f"halves height and width twice and needs at least {MIN_SIDE} x {MIN_SIDE}"
        )


def stage_shapes_strided(arch: Architecture, shape: Shape) -> list[Shape]:
    """Return the output shape of each group where strides halve: an odd pixel is kept."""
    return _halve_stages(arch, shape, extra=1)


def stage_shapes_pooled(arch: Architecture, shape: Shape) -> list[Shape]:
    """Return the output shape of each group where pooling halves: an odd pixel is dropped."""
    return _halve_stages(arch, shape, extra=0)


def _halve_stages(arch: Architecture, shape: Shape, extra: int) -> list[Shape]:
    _, height, width = shape
    shapes = []
    for channels in arch.widths:
        shapes.append((channels, height, width))
        height, width = (height + extra) // 2, (width + extra) // 2
    return shapes
