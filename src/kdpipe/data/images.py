"""Images in one array on a device, from which batches of normalised views are taken.

A batch is one gather: no image is touched by Python.
"""

from collections.abc import Callable, Generator
from typing import Any

import numpy as np
import torch

from kdpipe.data.views import Digit, Views

ACTIVATION, CHANNELS = 2**30, 64  # bytes of one, in float32, and its channels at full size
# A digit with its section; its values, as seeds on the CPU, and on the device to gather by.
Shown = tuple[Digit, Any, torch.Tensor, torch.Tensor]
Batch = tuple[torch.Tensor, torch.Tensor, torch.Tensor]  # index (B,), view (B,), x (B, C, H, W)


class Images:
    """Images on a device; DataError for views that such images cannot have.

    images: (N, C, H, W) uint8; mean, std: (C,) of pixels in [0, 1].
    """

    def __init__(
        self, images: np.ndarray, views: Views, mean, std, device: torch.device | str = "cpu"
    ):
        self.views = views
        self.height, self.width = images.shape[2:]
        views.refuse_without("gather")
        padded = np.array(images)  # a copy: theirs may be a mapped file
        for digit, keys in views.digits:
            if digit.margin is not None:
                padded = digit.margin(keys, padded)
        # Channels last, so that a batch comes out of the gather as convolutions like it.
        self.padded = torch.from_numpy(np.ascontiguousarray(padded.transpose(0, 2, 3, 1))).to(
            device
        )
        self.scale, self.shift = normalisation(mean, std, device)
        self.device = self.padded.device
        self.most = self.forward_size = forward_size(self.height, self.width, self.device)
        self.rows = torch.arange(self.height, device=device)[None]
        self.columns = torch.arange(self.width, device=device)[None]

    def __len__(self) -> int:
        return len(self.padded)

    def batch(self, index: torch.Tensor, view: torch.Tensor) -> torch.Tensor:
        """Views `view` (B,) of images `index` (B,): (B, C, H, W) float32, channels last."""
        return self._shown(index, self._values(view))

    def _values(self, view: torch.Tensor) -> list[Shown]:
        """What views (N,) mean to each digit, where each looks at it."""
        return [
            (digit, keys, value, over(value, self.device) if digit.gather else value)
            for digit, keys, value in self.views.values(view.cpu())
        ]

    def _shown(self, index: torch.Tensor, values: list[Shown]) -> torch.Tensor:
        pixels = self._gathered(index, values)
        for digit, keys, seed, _ in values:
            if digit.pixels is not None:
                pixels = digit.pixels(keys, seed, pixels)
        x = normalised(pixels, self.scale, self.shift)
        for digit, keys, seed, _ in values:
            if digit.normalised is not None:
                x = digit.normalised(keys, seed, x)
        return x

    def _gathered(self, index: torch.Tensor, values: list[Shown]) -> torch.Tensor:
        """Pixels (B, H, W, C) of images `index` (B,), as the values of the digits say."""
        rows, columns = self.rows, self.columns
        for digit, keys, _, value in values:
            if digit.gather is not None:
                rows, columns = digit.gather(keys, value, rows, columns)
        return self.padded[index[:, None, None], rows[:, :, None], columns[:, None, :]]

    def batches(
        self, order: torch.Tensor, view: torch.Tensor, size: int, start: int = 0
    ) -> Generator[Batch, None, None]:
        """(index, view, x) of each batch of an order (N,) from batch `start` on.

        All that an epoch needs beside its images goes over to the device at its beginning.
        """
        values = self._values(view)
        order, view = over(order, self.device), over(view, self.device)
        for first in range(start * size, len(order), size):
            key = slice(first, first + size)
            shown = [(digit, keys, seed[key], value[key]) for digit, keys, seed, value in values]
            yield order[key], view[key], self._shown(order[key], shown)

    def centres(self, size: int) -> Generator[torch.Tensor, None, None]:
        """All images in their order as they are, normalised: batches (B, C, H, W)."""
        for start in range(0, len(self), size):
            yield self.centre(start, start + size)

    def centre(self, start: int, stop: int) -> torch.Tensor:
        """Images start..stop as they are, normalised: (B, C, H, W)."""
        index = torch.arange(start, min(stop, len(self)), device=self.padded.device)
        plain = [
            (digit, keys, index, torch.full_like(index, digit.plain(keys)))
            for digit, keys in self.views.digits
        ]
        return normalised(self._gathered(index, plain), self.scale, self.shift)


def forward_size(height: int, width: int, device: torch.device) -> int:
    """How many images of height x width are classified at once.

    On a CPU what lies in its caches was fastest: 256 of 8 x 8 pixels, 32 of 32 x 32, a quarter
    faster than 256 of those (measured with WRN16-1 to WRN40-2). On a GPU, where it was not
    measured, 256, or as many as make one activation of a gibibyte: 83 of 224 x 224.
    """
    if device.type != "cpu":
        return max(16, min(256, ACTIVATION // (4 * CHANNELS * height * width)))
    return max(32, 2**14 // (height * width))


def at_once(images: Any) -> Callable[[int, int, torch.device], int]:
    """`forward_size` where a network scales these images: fewer, as memory had room for fewer of
    them (`memory.halved`).
    """

    def size(height: int, width: int, device: torch.device) -> int:
        fits = forward_size(height, width, device) * images.forward_size
        return max(1, fits // images.most)

    return size


def over(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """A tensor of the host on a device; the host does not wait for the copy."""
    if device.type == "cuda":
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)


def normalisation(mean, std, device: torch.device | str) -> tuple[torch.Tensor, torch.Tensor]:
    """Scale and shift (C,) of pixels from 0 to 255, for mean and std of pixels in [0, 1]."""
    scale = torch.tensor(1 / (255 * np.asarray(std)), dtype=torch.float32, device=device)
    shift = torch.tensor(-np.asarray(mean) / std, dtype=torch.float32, device=device)
    return scale, shift


def normalised(pixels: torch.Tensor, scale: torch.Tensor, shift: torch.Tensor) -> torch.Tensor:
    """Pixels (B, H, W, C) uint8 as a network takes them: (B, C, H, W) float32, channels last."""
    return torch.addcmul(shift, pixels.float(), scale).permute(0, 3, 1, 2)
