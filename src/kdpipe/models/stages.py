"""Networks for small images, without torch: a stem, three groups, and a linear classifier.

The second and the third group halve height and width. What the groups of a family are made of is
in its file; what all have in common is here, and their modules are in `layers`.
"""

from kdpipe.errors import KdpipeError
from kdpipe.models.family import Architecture, Shape

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
