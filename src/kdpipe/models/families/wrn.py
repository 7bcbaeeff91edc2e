"""WideResNet: residual blocks of two 3x3 convolutions, normalised before they are activated.

Zagoruyko and Komodakis 2016, without dropout.
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

STEM = 16  # channels; a wrn10-1 has as many in its first group
MIN_WIDTH = 1 / 16  # one channel in the first group


def suggest(name: str) -> Iterator[str]:
    """Yield names that a misspelt one may have meant."""
    yield from (
        f"wrn{depth}-{width}" for depth in (10, 16, 22, 28, 40) for width in (0.5, 1, 2, 4, 8, 10)
    )
    yield from family.suggest_from_numbers(name, "wrn", parse)


def parse(name: str) -> Architecture | None:
    """Return the architecture of a name; None for a name of another form."""
    if (numbers := family.parse_depth_width(name, "wrn", "width", _fix_width)) is None:
        return None
    blocks, width = numbers
    widths = (int(16 * width), int(32 * width), int(64 * width))
    return Architecture(name, blocks, STEM, widths, narrowest=min(STEM, *widths))


def _fix_width(width: float) -> tuple[str, float] | None:
    """Return what is wrong with a width and the nearest right one, or None."""
    if width >= MIN_WIDTH:
        return None
    return f"width must leave int(16 * width) >= 1 channel, not {width:g}", MIN_WIDTH


def compute_cost(arch: Architecture, shape: Shape, classes: int) -> Cost:
    """Return the cost for images of a shape and a number of classes."""
    return total_cost(_iter_layers(arch, shape, classes))


def _iter_layers(arch: Architecture, shape: Shape, classes: int) -> Iterator[Layer]:
    """Yield the layers of a network."""
    yield Layer(shape[0], STEM, 3, shape[1] * shape[2], 0)
    inputs = STEM
    for outputs, height, width in family.stage_shapes_strided(arch, shape):
        pixels = height * width
        for _ in range(arch.blocks):
            yield Layer(inputs, outputs, 3, pixels, inputs)
            yield Layer(outputs, outputs, 3, pixels, outputs)
            if inputs != outputs:
                yield Layer(inputs, outputs, 1, pixels, 0)  # the shortcut
            inputs = outputs
    yield classifier_layer(inputs, classes, normalized=inputs)


def build(arch: Architecture, classes: int, channels: int):
    """Build the network at its initial weights."""
    from kdpipe.models.layers import (
        PreActivationBlock,
        build_residual_stages,
        build_staged_network,
        conv2d,
        norm_relu,
    )

    stage_modules = build_residual_stages(PreActivationBlock, arch)
    stem = conv2d(channels, arch.stem, 3)
    return build_staged_network(
        stem, stage_modules, norm_relu(arch.widths[-1]), arch.widths[-1], classes
    )


FAMILY = Family(
    revision=1,
    order=1,
    name_format="wrn<depth>-<width>, depth 6n+4, width may be a fraction (wrn16-2, wrn10-0.5)",
    name_pattern=family.compile_name_pattern("wrn"),
    suggest=suggest,
    parse=parse,
    check=family.check_size,
    cost=compute_cost,
    groups=family.stage_shapes_strided,
    build=build,
)
