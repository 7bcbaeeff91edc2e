"""The ResNet for CIFAR, with shortcuts that have no parameters (He et al. 2015, section 4.2).

resnet8x4 and resnet32x4 are the wide ones that papers on distillation compare (Tian et al., 2020):
twice the channels in the stem, four times in the groups, and where a block changes the number of
channels its shortcut is a convolution of 1 x 1 with a normalisation.
"""

import functools
import re
from collections.abc import Iterator

from kdpipe.models import family
from kdpipe.models.family import (
    Architecture,
    Cost,
    Family,
    Layer,
    Shape,
    classifier_layer,
    total_cost,
)

WIDE = {f"resnet{depth}x4": depth for depth in (8, 32)}
NAMES = {f"resnet{depth}": depth for depth in (8, 14, 20, 32, 44, 56, 110)} | WIDE
STEM, WIDTHS = 16, (16, 32, 64)  # channels
WIDE_STEM, WIDE_WIDTHS = 32, (64, 128, 256)


def parse(name: str) -> Architecture | None:
    """Return the architecture of a name; None for a name of another form."""
    if name not in NAMES:
        return None
    stem, widths = (WIDE_STEM, WIDE_WIDTHS) if name in WIDE else (STEM, WIDTHS)
    return Architecture(name, (NAMES[name] - 2) // 6, stem, widths, narrowest=stem)


def compute_cost(arch: Architecture, shape: Shape, classes: int) -> Cost:
    """Return the cost for images of a shape and a number of classes."""
    return total_cost(_iter_layers(arch, shape, classes))


def _iter_layers(arch: Architecture, shape: Shape, classes: int) -> Iterator[Layer]:
    """Yield the layers of a network."""
    yield Layer(shape[0], arch.stem, 3, shape[1] * shape[2], arch.stem)
    inputs = arch.stem
    for outputs, height, width in family.stage_shapes_strided(arch, shape):
        for _ in range(arch.blocks):
            yield Layer(inputs, outputs, 3, height * width, outputs)
            yield Layer(outputs, outputs, 3, height * width, outputs)
            if arch.name in WIDE and inputs != outputs:
                yield Layer(inputs, outputs, 1, height * width, outputs)
            inputs = outputs
    yield classifier_layer(inputs, classes)


def build(arch: Architecture, classes: int, channels: int):
    """Build the network at its initial weights."""
    from torch import nn

    from kdpipe.models.layers import (
        BasicBlock,
        build_residual_stages,
        build_staged_network,
        conv2d,
        norm_relu,
    )

    stem = nn.Sequential(conv2d(channels, arch.stem, 3), norm_relu(arch.stem))
    stage_modules = build_residual_stages(
        functools.partial(BasicBlock, projected=arch.name in WIDE), arch
    )
    return build_staged_network(stem, stage_modules, nn.Identity(), arch.widths[-1], classes)


FAMILY = Family(
    revision=1,
    order=3,
    name_format=", ".join(NAMES),
    name_pattern=re.compile("resnet[0-9]+"),
    suggest=lambda name: NAMES,
    parse=parse,
    check=family.check_size,
    cost=compute_cost,
    groups=family.stage_shapes_strided,
    build=build,
)
