"""DenseNet-BC: each layer adds its channels to all before it, through a bottleneck.

Huang et al. 2017: dense blocks with bottlenecks, and transitions that halve the channels
(compression 0.5).
"""

from collections.abc import Iterator

from kdpipe.networks import grouped, spelling
from kdpipe.networks.family import Cost, Family, Layer, Network, Shape, classifier, priced


def near(name: str) -> Iterator[str]:
    yield from (f"densenet-bc{depth}-{growth}" for depth in (40, 100) for growth in (12, 24, 48))
    yield from spelling.of_its_numbers(name, "densenet-bc", parse)


def parse(name: str) -> Network | None:
    if (found := spelling.numbers(name, "densenet-bc", "growth", _mended)) is None:
        return None
    blocks, growth = found[0], int(found[1])
    first = 2 * growth + blocks * growth
    second = first // 2 + blocks * growth
    third = second // 2 + blocks * growth
    return Network(name, blocks, 2 * growth, (first, second, third), growth, narrowest=growth)


def _mended(growth: float) -> tuple[str, float] | None:
    if growth >= 1 and not growth % 1:
        return None
    whole = max(1, round(growth))
    return f"growth must be a whole number of at least 1, not {growth:g}", whole


def cost(network: Network, shape: Shape, classes: int) -> Cost:
    return priced(_layers(network, shape, classes))


def _layers(network: Network, shape: Shape, classes: int) -> Iterator[Layer]:
    pixels = [height * width for _, height, width in grouped.pooled(network, shape)]
    yield Layer(shape[0], network.stem, 3, pixels[0], 0)
    channels = network.stem
    for group, size in enumerate(pixels):
        if group:  # the transition: its convolution runs before it pools
            yield Layer(channels, channels // 2, 1, pixels[group - 1], channels)
            channels //= 2
        for _ in range(network.blocks):
            bottleneck = 4 * network.growth
            yield Layer(channels, bottleneck, 1, size, channels)
            yield Layer(bottleneck, network.growth, 3, size, bottleneck)
            channels += network.growth
    yield classifier(channels, classes, normalised=channels)


def build(network: Network, classes: int, channels: int):
    from torch import nn

    from kdpipe.networks.blocks import DenseLayer, conv, grouped_network, norm_relu, transition

    groups, width = [], network.stem
    for index, wider in enumerate(network.widths):
        layers: list[nn.Module] = []
        if index:
            layers.append(transition(width))
            width //= 2
        layers += [DenseLayer(c, network.growth) for c in range(width, wider, network.growth)]
        groups.append(nn.Sequential(*layers))
        width = wider
    stem = conv(channels, network.stem, 3)
    return grouped_network(stem, groups, norm_relu(width), width, classes)


FAMILY = Family(
    revision=1,
    order=2,
    spelling="densenet-bc<depth>-<growth>, depth 6n+4 (densenet-bc40-12)",
    form=spelling.form("densenet-bc"),
    near=near,
    parse=parse,
    check=grouped.check,
    cost=cost,
    groups=grouped.pooled,
    build=build,
)
