"""The ResNet for CIFAR, with shortcuts that have no parameters (He et al. 2015, section 4.2).

resnet8x4 and resnet32x4 are the wide ones that papers on distillation compare (Tian et al., 2020):
twice the channels in the stem, four times in the groups, and where a block changes the number of
channels its shortcut is a convolution of 1 x 1 with a normalisation.
"""

import functools
import re
from collections.abc import Iterator

from kdpipe.networks import grouped
from kdpipe.networks.family import Cost, Family, Layer, Network, Shape, classifier, priced

WIDE = {f"resnet{depth}x4": depth for depth in (8, 32)}
NAMES = {f"resnet{depth}": depth for depth in (8, 14, 20, 32, 44, 56, 110)} | WIDE
STEM, WIDTHS = 16, (16, 32, 64)  # channels
WIDE_STEM, WIDE_WIDTHS = 32, (64, 128, 256)


def parse(name: str) -> Network | None:
    if name not in NAMES:
        return None
    stem, widths = (WIDE_STEM, WIDE_WIDTHS) if name in WIDE else (STEM, WIDTHS)
    return Network(name, (NAMES[name] - 2) // 6, stem, widths, narrowest=stem)


def cost(network: Network, shape: Shape, classes: int) -> Cost:
    return priced(_layers(network, shape, classes))


def _layers(network: Network, shape: Shape, classes: int) -> Iterator[Layer]:
    yield Layer(shape[0], network.stem, 3, shape[1] * shape[2], network.stem)
    inputs = network.stem
    for outputs, height, width in grouped.strided(network, shape):
        for _ in range(network.blocks):
            yield Layer(inputs, outputs, 3, height * width, outputs)
            yield Layer(outputs, outputs, 3, height * width, outputs)
            if network.name in WIDE and inputs != outputs:
                yield Layer(inputs, outputs, 1, height * width, outputs)
            inputs = outputs
    yield classifier(inputs, classes)


def build(network: Network, classes: int, channels: int):
    from torch import nn

    from kdpipe.networks.blocks import BasicBlock, conv, grouped_network, norm_relu, stack

    stem = nn.Sequential(conv(channels, network.stem, 3), norm_relu(network.stem))
    groups = stack(functools.partial(BasicBlock, projected=network.name in WIDE), network)
    return grouped_network(stem, groups, nn.Identity(), network.widths[-1], classes)


FAMILY = Family(
    revision=1,
    order=3,
    spelling=", ".join(NAMES),
    form=re.compile("resnet[0-9]+"),
    near=lambda name: NAMES,
    parse=parse,
    check=grouped.check,
    cost=cost,
    groups=grouped.strided,
    build=build,
)
