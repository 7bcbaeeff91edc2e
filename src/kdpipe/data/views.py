"""Views: the augmented versions of an image, as a numbered set.

Of an array the set is finite. An image is padded once; a view is a crop of the original size at
one of (2p+1)^2 offsets, flipped or not: pad 4 with flip has 9*9*2 = 162. View v has offset row
v // F // (2p+1), offset column v // F % (2p+1), and is flipped where v % F is 1 (F is 2 with flip,
else 1). Pixels are padded before they are normalised. A batch is one gather on the device: no
image is touched by Python.

Of images that stream from their files the views may have no end: torchvision's RandomResizedCrop,
with a flip for half of them. The number of such a view is the seed that it is drawn with. Without
a crop they are the centre, and the centre mirrored.
"""

from collections.abc import Generator
from dataclasses import dataclass

import numpy as np
import torch

Batch = tuple[torch.Tensor, torch.Tensor, torch.Tensor]  # index (B,), view (B,), x (B, C, H, W)


@dataclass(frozen=True)
class Crop:
    """A crop of random place: its share of the area, and its width by its height, from .. to."""

    scale: tuple[float, float]
    ratio: tuple[float, float]


@dataclass(frozen=True)
class Views:
    """The view set of a study: `padding` is zero or reflect."""

    pad: int
    padding: str
    flip: bool
    crop: Crop | None = None

    @classmethod
    def of(cls, spec: dict) -> "Views":
        crop = spec.get("crop")
        return cls(
            spec["pad"],
            spec["padding"],
            spec["flip"],
            Crop(tuple(crop["scale"]), tuple(crop["ratio"])) if crop else None,
        )

    @property
    def count(self) -> int:
        """How many there are; of views without end, how many seeds."""
        if self.crop is not None:
            return 2**63 - 1
        return (2 * self.pad + 1) ** 2 * (2 if self.flip else 1)

    @property
    def centre(self) -> int:
        """The view that is the image itself."""
        return self.pad * (2 * self.pad + 1) * (2 if self.flip else 1) + self.pad * (
            2 if self.flip else 1
        )


PLAIN = Views(0, "zero", False)


class Images:
    """Images on a device, from which batches of normalised views are taken.

    images: (N, C, H, W) uint8; mean, std: (C,) of pixels in [0, 1].
    """

    def __init__(
        self, images: np.ndarray, views: Views, mean, std, device: torch.device | str = "cpu"
    ):
        self.views = views
        self.height, self.width = images.shape[2:]
        margin = (views.pad, views.pad)
        around = [(0, 0), (0, 0), margin, margin]
        if views.padding == "reflect":
            padded = np.pad(images, around, mode="reflect")
        else:
            padded = np.pad(images, around, mode="constant")
        # Channels last, so that a batch comes out of the gather as convolutions like it.
        self.padded = torch.from_numpy(np.ascontiguousarray(padded.transpose(0, 2, 3, 1))).to(
            device
        )
        self.scale, self.shift = normalisation(mean, std, device)
        self.device = self.padded.device
        self.forward_size = forward_size(self.height, self.width, self.device)
        self.rows = torch.arange(self.height, device=device)
        self.columns = torch.arange(self.width, device=device)

    def __len__(self) -> int:
        return len(self.padded)

    def batch(self, index: torch.Tensor, view: torch.Tensor) -> torch.Tensor:
        """Views `view` (B,) of images `index` (B,): (B, C, H, W) float32, channels last."""
        flips = 2 if self.views.flip else 1
        side = 2 * self.views.pad + 1
        offset = view // flips
        rows = (offset // side)[:, None] + self.rows
        columns = (offset % side)[:, None] + self.columns
        if self.views.flip:
            columns = torch.where((view % 2 == 1)[:, None], columns.flip(1), columns)
        pixels = self.padded[index[:, None, None], rows[:, :, None], columns[:, None, :]]
        return normalised(pixels, self.scale, self.shift)

    def batches(
        self, order: torch.Tensor, view: torch.Tensor, size: int, start: int = 0
    ) -> Generator[Batch, None, None]:
        """(index, view, x) of each batch of an order (N,) from batch `start` on."""
        order, view = order.to(self.device), view.to(self.device)
        for first in range(start * size, len(order), size):
            index, seen = order[first : first + size], view[first : first + size]
            yield index, seen, self.batch(index, seen)

    def centres(self, size: int) -> Generator[torch.Tensor, None, None]:
        """All images in their order as they are, normalised: batches (B, C, H, W)."""
        for start in range(0, len(self), size):
            yield self.centre(start, start + size)

    def centre(self, start: int, stop: int) -> torch.Tensor:
        """Images start..stop as they are, normalised: (B, C, H, W)."""
        index = torch.arange(start, min(stop, len(self)), device=self.padded.device)
        return self.batch(index, torch.full_like(index, self.views.centre))


def forward_size(height: int, width: int, device: torch.device) -> int:
    """How many images of height x width are classified at once.

    On a CPU what lies in its caches was fastest: 256 of 8 x 8 pixels, 32 of 32 x 32, a quarter
    faster than 256 of those (measured with WRN16-1 to WRN40-2).
    """
    if device.type != "cpu":
        return 256
    return max(32, 2**14 // (height * width))


def normalisation(mean, std, device: torch.device | str) -> tuple[torch.Tensor, torch.Tensor]:
    """Scale and shift (C,) of pixels from 0 to 255, for mean and std of pixels in [0, 1]."""
    scale = torch.tensor(1 / (255 * np.asarray(std)), dtype=torch.float32, device=device)
    shift = torch.tensor(-np.asarray(mean) / std, dtype=torch.float32, device=device)
    return scale, shift


def normalised(pixels: torch.Tensor, scale: torch.Tensor, shift: torch.Tensor) -> torch.Tensor:
    """Pixels (B, H, W, C) uint8 as a network takes them: (B, C, H, W) float32, channels last."""
    return torch.addcmul(shift, pixels.float(), scale).permute(0, 3, 1, 2)
