"""TODO networks.family, from networks."""

from dataclasses import dataclass
from typing import NamedTuple

MIN_SIDE = 4  # pixels: one is left after two halvings


@dataclass(frozen=True)
class Network:
    """A name taken apart; the widths are the channels that each group puts out.

    Of a network of torchvision nothing is known here but its family.
    """

    family: str
    blocks: int  # of each group; for DenseNet-BC the layers of each dense block
    stem: int  # channels
    widths: tuple[int, ...]
    growth: int  # channels a layer of a dense block adds; 0 for the other families

    @property
    def narrowest(self) -> int:
        """The fewest channels that any convolution puts out."""
        return self.growth or min((self.stem, *self.widths))


class Cost(NamedTuple):
    """Learned numbers of a network, and multiply-adds of classifying one image.

    Counted are convolutions and the linear layer (half of what torch's FlopCounterMode says), not
    normalisation, activation and pooling.
    """

    parameters: int
    multiply_adds: int


class Layer(NamedTuple):
    """One convolution, with the batch normalisation that belongs to it."""

    inputs: int
    outputs: int
    kernel: int
    pixels: int  # of its output
    normalised: int  # channels of the normalisation before it (resnet: after it), 0 if none


def sides(network: Network, shape: tuple[int, int, int]) -> list[tuple[int, int]]:
    # An odd side: a padded convolution of stride 2 keeps the last pixel, pooling drops it.
    extra = 0 if network.family == "densenet-bc" else 1
    sides = [(shape[1], shape[2])]
    for _ in range(2):
        height, width = sides[-1]
        sides.append(((height + extra) // 2, (width + extra) // 2))
    return sides
