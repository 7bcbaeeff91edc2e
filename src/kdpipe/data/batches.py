"""Batches of normalized views of images in one array on a device.

A batch is one gather operation, without a Python loop over images.
"""

from collections.abc import Callable, Generator, Sequence
from typing import Any

import numpy as np
import torch

from kdpipe.data import mixtures
from kdpipe.data.views import Augmentation, Views

# Maximum size of a network's largest activation on a GPU, float32.
MAX_ACTIVATION_BYTES = 2**30
ACTIVATION_CHANNELS = 64  # at full resolution
# An augmentation with its keys; its values on the CPU, as seeds, and on the device, as indices.
AppliedAugmentation = tuple[Augmentation, Any, torch.Tensor, torch.Tensor]
Batch = tuple[torch.Tensor, torch.Tensor, torch.Tensor]  # index (B,), view (B,), x (B, C, H, W)


class ImageBatches:
    """Images on a device that yield batches of normalized views.

    Raises DataError for views that are not supported for images in memory.

    Parameters
    ----------
    images : ndarray of shape (N, C, H, W)
        Pixels, uint8.
    views : Views
        The augmented versions of an image.
    mean, std : array-like of shape (C,)
        Of pixels in [0, 1].
    device : torch.device or str
        Device of the images.
    """

    def __init__(
        self, images: np.ndarray, views: Views, mean, std, device: torch.device | str = "cpu"
    ):
        self.views = views
        self.height, self.width = images.shape[2:]
        views.check_supported("transform_indices")
        padded = np.array(images)  # a copy: the images may be a memory-mapped file
        for augmentation, keys in views.augmentations:
            if augmentation.pad_images is not None:
                padded = augmentation.pad_images(keys, padded)
        # Channels last, so that gathered batches have the memory format of convolutions.
        self.padded = torch.from_numpy(np.ascontiguousarray(padded.transpose(0, 2, 3, 1))).to(
            device
        )
        self.scale, self.shift = compute_scale_and_shift(mean, std, device)
        self.device = self.padded.device
        self.max_eval_batch_size = self.eval_batch_size = choose_eval_batch_size(
            self.height, self.width, self.device
        )
        self.rows = torch.arange(self.height, device=device)[None]
        self.columns = torch.arange(self.width, device=device)[None]

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.padded)

    def batch(self, index: torch.Tensor, view: torch.Tensor) -> torch.Tensor:
        """Return one batch of views.

        Parameters
        ----------
        index, view : Tensor of shape (B,)
            Image index and view number of each entry.

        Returns
        -------
        Tensor of shape (B, C, H, W)
            Normalized pixels, float32, channels last.
        """
        ((_, _, x),) = self.batches(index, view, len(index))
        return x

    def _augmentation_values(
        self, index: torch.Tensor, view: torch.Tensor
    ) -> list[AppliedAugmentation]:
        """Return the values of each augmentation in views (N,), on the device where it is used."""
        numbers = self.views.find_numbers(index.cpu(), view.cpu())
        return [
            (
                augmentation,
                keys,
                value,
                to_device(value, self.device) if augmentation.transform_indices else value,
            )
            for augmentation, keys, value in self.views.decode(numbers)
        ]

    def _apply_augmentations(
        self, index: torch.Tensor, values: list[AppliedAugmentation]
    ) -> torch.Tensor:
        """Return the normalized batch (B, C, H, W) of images under decoded views."""
        pixels = self._gather_pixels(index, values)
        for augmentation, keys, seed, _ in values:
            if augmentation.transform_uint8 is not None:
                pixels = augmentation.transform_uint8(keys, seed, pixels)
        x = normalize(pixels, self.scale, self.shift)
        for augmentation, keys, seed, _ in values:
            if augmentation.transform_tensor is not None:
                x = augmentation.transform_tensor(keys, seed, x)
        return x

    def _gather_pixels(
        self, index: torch.Tensor, values: list[AppliedAugmentation]
    ) -> torch.Tensor:
        """Gather pixels (B, H, W, C) at the rows and columns that the augmentations select."""
        rows, columns = self.rows, self.columns
        for augmentation, keys, _, value in values:
            if augmentation.transform_indices is not None:
                rows, columns = augmentation.transform_indices(keys, value, rows, columns)
        return self.padded[index[:, None, None], rows[:, :, None], columns[:, None, :]]

    def batches(
        self, order: torch.Tensor, view: torch.Tensor, size: int, start: int = 0
    ) -> Generator[Batch, None, None]:
        """Yield the batches of an epoch, from batch `start` on.

        All data of an epoch apart from the images is copied to the device at its beginning. Where
        the views are mixed, so are the images of a batch (`mixtures`).

        Parameters
        ----------
        order, view : Tensor of shape (N,)
            Image index and view number of each entry.
        size : int
            Images in a batch.
        start : int
            The first batch.

        Yields
        ------
        index, view, x : Tensor of shape (B,), (B,) and (B, C, H, W)
        """
        yield from self.batches_at(order, view, slice_batches(len(order), size, start))

    def batches_at(
        self, order: torch.Tensor, view: torch.Tensor, rows: Sequence[slice]
    ) -> Generator[Batch, None, None]:
        """Yield a batch for each of these slices of an order, as `batches` does."""
        if self.views.mixes:
            yield from mixtures.mix_batches(self, self._unmixed_batches, order, view, rows)
        else:
            yield from self._unmixed_batches(order, view, rows)

    def _unmixed_batches(
        self, order: torch.Tensor, view: torch.Tensor, rows: Sequence[slice]
    ) -> Generator[Batch, None, None]:
        """Yield batches of views as they are."""
        values = self._augmentation_values(order, view)
        order, view = to_device(order, self.device), to_device(view, self.device)
        for key in rows:
            batch_values = [
                (augmentation, keys, seed[key], value[key])
                for augmentation, keys, seed, value in values
            ]
            yield order[key], view[key], self._apply_augmentations(order[key], batch_values)

    def unaugmented_batches(self, size: int) -> Generator[torch.Tensor, None, None]:
        """Yield all images in their order, without augmentation, as batches (B, C, H, W)."""
        for start in range(0, len(self), size):
            yield self.unaugmented_batch(start, start + size)

    def unaugmented_batch(self, start: int, stop: int) -> torch.Tensor:
        """Return the images from `start` to `stop`, without augmentation, as (B, C, H, W)."""
        index = torch.arange(start, min(stop, len(self)), device=self.padded.device)
        identity_values = [
            (augmentation, keys, index, torch.full_like(index, augmentation.identity_value(keys)))
            for augmentation, keys in self.views.augmentations
        ]
        return normalize(self._gather_pixels(index, identity_values), self.scale, self.shift)


def slice_batches(images: int, size: int, start: int = 0) -> list[slice]:
    """Return the rows of each batch of an order of images, from batch `start` on."""
    return [slice(first, min(first + size, images)) for first in range(start * size, images, size)]


def choose_eval_batch_size(height: int, width: int, device: torch.device) -> int:
    """Return the evaluation batch size for images of height x width.

    On a CPU, batches that fit its caches were fastest: 256 of 8 x 8 pixels, 32 of 32 x 32, a
    quarter faster than 256 of those (measured with WRN16-1 to WRN40-2). On a GPU (not measured)
    256, or as many as give a largest activation of one gibibyte: 83 of 224 x 224.
    """
    if device.type != "cpu":
        return max(16, min(256, MAX_ACTIVATION_BYTES // (4 * ACTIVATION_CHANNELS * height * width)))
    return max(32, 2**14 // (height * width))


def limit_batch_size(batches: Any) -> Callable[[int, int, torch.device], int]:
    """Return `choose_eval_batch_size` for a network that rescales its input.

    It is smaller by the factor by which the batch size of `batches` was reduced after out-of-memory
    errors (`devices.cuda_errors`).
    """

    def choose_batch_size(height: int, width: int, device: torch.device) -> int:
        """Return the evaluation batch size for images of height x width."""
        size = choose_eval_batch_size(height, width, device)
        return max(1, size * batches.eval_batch_size // batches.max_eval_batch_size)

    return choose_batch_size


def to_device(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Copy a tensor from the host to a device without waiting for the copy."""
    if device.type == "cuda":
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)


def compute_scale_and_shift(
    mean, std, device: torch.device | str
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the scale and shift that normalize pixels from 0 to 255.

    Parameters
    ----------
    mean, std : array-like of shape (C,)
        Of pixels in [0, 1].
    device : torch.device or str
        Device of the result.

    Returns
    -------
    scale, shift : Tensor of shape (C,)
    """
    scale = torch.tensor(1 / (255 * np.asarray(std)), dtype=torch.float32, device=device)
    shift = torch.tensor(-np.asarray(mean) / std, dtype=torch.float32, device=device)
    return scale, shift


def normalize(pixels: torch.Tensor, scale: torch.Tensor, shift: torch.Tensor) -> torch.Tensor:
    """Return pixels as network input.

    Parameters
    ----------
    pixels : Tensor of shape (B, H, W, C)
        Pixels, uint8.
    scale, shift : Tensor of shape (C,)
        From `compute_scale_and_shift`.

    Returns
    -------
    Tensor of shape (B, C, H, W)
        Normalized pixels, float32, channels last.
    """
    return torch.addcmul(shift, pixels.float(), scale).permute(0, 3, 1, 2)
