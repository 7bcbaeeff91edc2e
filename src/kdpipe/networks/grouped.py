"""Networks for small images, without torch: a stem, three groups, and a linear classifier.

The second and the third group halve height and width. What a family of them puts into its groups
is said in its file; what all of them say alike is here, and `blocks` has the modules.
"""

from kdpipe.errors import KdpipeError
from kdpipe.networks.family import Network, Shape

MIN_SIDE = 4  # pixels: one is left after two halvings


def check(network: Network, shape: Shape) -> None:
    """Raise KdpipeError unless images of that shape can be halved twice."""
    channels, height, width = shape
    if channels < 1:
        raise KdpipeError(
            f"network '{network.name}': images need at least 1 channel, not {channels}"
        )
    if min(height, width) < MIN_SIDE:
        raise KdpipeError(
            f"network '{network.name}': images of {height} x {width} pixels are too small; it "
            f"halves height and width twice and needs at least {MIN_SIDE} x {MIN_SIDE}"
        )


def strided(network: Network, shape: Shape) -> list[Shape]:
    """What each group puts out where a convolution of stride 2 halves: it keeps an odd pixel."""
    return _halved(network, shape, extra=1)


def pooled(network: Network, shape: Shape) -> list[Shape]:
    """What each group puts out where a pooling halves: it drops an odd pixel."""
    return _halved(network, shape, extra=0)


def _halved(network: Network, shape: Shape, extra: int) -> list[Shape]:
    _, height, width = shape
    groups = []
    for channels in network.widths:
        groups.append((channels, height, width))
        height, width = (height + extra) // 2, (width + extra) // 2
    return groups
