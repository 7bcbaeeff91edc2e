"""Views: the augmented versions of an image, as a finite, numbered set.

An image is padded once; a view is a crop of the original size at one of (2p+1)^2 offsets, flipped
or not: pad 4 with flip has 9*9*2 = 162. View v has offset row v // F // (2p+1), offset column
v // F % (2p+1), and is flipped where v % F is 1 (F is 2 with flip, else 1). Pixels are padded
before they are normalised. A batch is one gather on the device: no image is touched by Python.
"""

from dataclasses import dataclass

import numpy as np
import torch


@dataclass(frozen=True)
class Views:
    """The view set of a study: `padding` is zero or reflect."""

    pad: int
    padding: str
    flip: bool

    @classmethod
    def of(cls, spec: dict) -> "Views":
        return cls(spec["pad"], spec["padding"], spec["flip"])

    @property
    def count(self) -> int:
        return (2 * self.pad + 1) ** 2 * (2 if self.flip else 1)

    @property
    def centre(self) -> int:
        """The view that is the image itself."""
        return self.pad * (2 * self.pad + 1) * (2 if self.flip else 1) + self.pad * (
            2 if self.flip else 1
        )


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
        self.scale = torch.tensor(1 / (255 * np.asarray(std)), dtype=torch.float32, device=device)
        self.shift = torch.tensor(-np.asarray(mean) / std, dtype=torch.float32, device=device)
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
        return torch.addcmul(self.shift, pixels.float(), self.scale).permute(0, 3, 1, 2)

    def centre(self, start: int, stop: int) -> torch.Tensor:
        """Images start..stop as they are, normalised: (B, C, H, W)."""
        index = torch.arange(start, min(stop, len(self)), device=self.padded.device)
        return self.batch(index, torch.full_like(index, self.views.centre))
