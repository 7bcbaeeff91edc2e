"""WideResNet: residual blocks of two 3x3 convolutions, normalised before they are activated.

Zagoruyko and Komodakis 2016, without dropout.
"""

from collections.abc import Iterator

from kdpipe.networks import grouped, spelling
from kdpipe.networks.family import Cost, Family, Layer, Network, Shape, classifier, priced

STEM = 16  # channels; a wrn10-1 has as many in its first group
MIN_WIDTH = 1 / 16  # one channel in the first group


def near(name: str) -> Iterator[str]:
    yield from (
        f"wrn{depth}-{width}" for depth in (10, 16, 22, 28, 40) for width in (0.5, 1, 2, 4, 8, 10)
    )
    yield from spelling.of_its_numbers(name, "wrn", parse)


def parse(name: str) -> Network | None:
    if (found := spelling.numbers(name, "wrn", "width", _mended)) is None:
        return None
    blocks, width = found
    widths = (int(16 * width), int(32 * width), int(64 * width))
    return Network(name, blocks, STEM, widths, narrowest=min(STEM, *widths))


def _mended(width: float) -> tuple[str, float] | None:
    if width >= MIN_WIDTH:
        return None
    return f"width must leave int(16 * width) >= 1 channel, not {width:g}", MIN_WIDTH


def cost(network: Network, shape: Shape, classes: int) -> Cost:
    return priced(_layers(network, shape, classes))


def _layers(network: Network, shape: Shape, classes: int) -> Iterator[Layer]:
    yield Layer(shape[0], STEM, 3, shape[1] * shape[2], 0)
    inputs = STEM
    for outputs, height, width in grouped.strided(network, shape):
        pixels = height * width
        for _ in range(network.blocks):
            yield Layer(inputs, outputs, 3, pixels, inputs)
            yield Layer(outputs, outputs, 3, pixels, outputs)
            if inputs != outputs:
                yield Layer(inputs, outputs, 1, pixels, 0)  # the shortcut
            inputs = outputs
    yield classifier(inputs, classes, normalised=inputs)


def build(network: Network, classes: int, channels: int):
    from kdpipe.networks.blocks import PreActivationBlock, conv, grouped_network, norm_relu, stack

    groups = stack(PreActivationBlock, network)
    stem = conv(channels, network.stem, 3)
    return grouped_network(stem, groups, norm_relu(network.widths[-1]), network.widths[-1], classes)


FAMILY = Family(
    revision=1,
    order=1,
    spelling="wrn<depth>-<width>, depth 6n+4, width may be a fraction (wrn16-2, wrn10-0.5)",
    form=spelling.form("wrn"),
    near=near,
    parse=parse,
    check=grouped.check,
    cost=cost,
    groups=grouped.strided,
    build=build,
)
