"""DenseNet-BC: each layer adds its channels to all before it, through a bottleneck.

Huang et al. 2017: dense blocks with bottlenecks, and transitions that halve the channels
(compression 0.5).
"""

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


def suggest(name: str) -> Iterator[str]:
    """Yield names that a misspelt one may have meant."""
    yield from (f"densenet-bc{depth}-{growth}" for depth in (40, 100) for growth in (12, 24, 48))
    yield from family.suggest_from_numbers(name, "densenet-bc", parse)


def parse(name: str) -> Architecture | None:
    """Return the architecture of a name; None for a name of another form."""
    if (numbers := family.parse_depth_width(name, "densenet-bc", "growth", _fix_growth)) is None:
        return None
    blocks, growth = numbers[0], int(numbers[1])
    first = 2 * growth + blocks * growth
    second = first // 2 + blocks * growth
    third = second // 2 + blocks * growth
    return Architecture(name, blocks, 2 * growth, (first, second, third), growth, narrowest=growth)


def _fix_growth(growth: float) -> tuple[str, float] | None:
    """Return what is wrong with a growth and the nearest right one, or None."""
    if growth >= 1 and not growth % 1:
        return None
    rounded = max(1, round(growth))
    return f"growth must be a whole number of at least 1, not {growth:g}", rounded


def compute_cost(arch: Architecture, shape: Shape, classes: int) -> Cost:
    """Return the cost for images of a shape and a number of classes."""
    return total_cost(_iter_layers(arch, shape, classes))


def _iter_layers(arch: Architecture, shape: Shape, classes: int) -> Iterator[Layer]:
    """Yield the layers of a network."""
    pixels = [height * width for _, height, width in family.stage_shapes_pooled(arch, shape)]
    yield Layer(shape[0], arch.stem, 3, pixels[0], 0)
    channels = arch.stem
    for stage, size in enumerate(pixels):
        if stage:  # the transition: its convolution runs before it pools
            yield Layer(channels, channels // 2, 1, pixels[stage - 1], channels)
            channels //= 2
        for _ in range(arch.blocks):
            bottleneck = 4 * arch.growth
            yield Layer(channels, bottleneck, 1, size, channels)
            yield Layer(bottleneck, arch.growth, 3, size, bottleneck)
            channels += arch.growth
    yield classifier_layer(channels, classes, normalized=channels)


def build(arch: Architecture, classes: int, channels: int):
    """Build the network at its initial weights."""
    from torch import nn

    from kdpipe.models.layers import (
        DenseLayer,
        build_staged_network,
        conv2d,
        norm_relu,
        transition_layer,
    )

    stage_modules, width = [], arch.stem
    for index, wider in enumerate(arch.widths):
        layers: list[nn.Module] = []
        if index:
            layers.append(transition_layer(width))
            width //= 2
        layers += [DenseLayer(c, arch.growth) for c in range(width, wider, arch.growth)]
        stage_modules.append(nn.Sequential(*layers))
        width = wider
    stem = conv2d(channels, arch.stem, 3)
    return build_staged_network(stem, stage_modules, norm_relu(width), width, classes)


FAMILY = Family(
    revision=1,
    order=2,
    name_format="densenet-bc<depth>-<growth>, depth 6n+4 (densenet-bc40-12)",
    name_pattern=family.compile_name_pattern("densenet-bc"),
    suggest=suggest,
    parse=parse,
    check=family.check_size,
    cost=compute_cost,
    groups=family.stage_shapes_pooled,
    build=build,
)
