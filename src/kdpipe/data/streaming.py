"""Streaming: batches of images that are read from their files while a network trains.

`StreamedBatches` has the interface of `batches.ImageBatches`. Files are read, decoded and cropped
by PIL and torchvision, in `workers` processes of torch's DataLoader or, without workers, in this
one. All randomness of an image depends on the number of its view, which the generator of the run
has drawn: the bytes depend neither on the number of workers nor on where a run was interrupted.

An image without augmentation has its shorter side scaled to 256/224 of the side that the network
gets, and its centre cut out.
"""

import contextlib
import functools
import io
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from multiprocessing import resource_tracker
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from kdpipe.data import mixtures
from kdpipe.data.batches import (
    Batch,
    ImageBatches,
    choose_eval_batch_size,
    compute_scale_and_shift,
    normalize,
    slice_batches,
    to_device,
)
from kdpipe.data.cache import ImageFiles
from kdpipe.data.imagefolder import decoding
from kdpipe.data.splits import Split, Subset
from kdpipe.data.views import IDENTITY_VIEWS, Views
from kdpipe.errors import DataError
from kdpipe.runs.files import read_regular_file

# Workers are forked from a server that has imported torch and nothing else: no CUDA, no locks, no
# signal handlers.
START_METHOD = "forkserver"
PRELOADED_MODULES = [__name__, "torchvision.transforms.v2"]
# From the messages of DataLoader about a worker that is gone, and of torch about a full /dev/shm.
WORKER_DIED_MESSAGES = (
    "exited unexpectedly",
    "killed by signal",
    "shared memory",
    "No space left on device",
)
RESIZE_RATIO = 256 / 224  # of the shorter side to that of the centre that is cut out


def create_batches(
    part: Subset, views: Views, split: Split, device: torch.device | str = "cpu", workers: int = 0
) -> "ImageBatches | StreamedBatches":
    """Return the batches of a part, in an array or in files.

    Parameters
    ----------
    part : Subset
        The images.
    views : Views
        Their augmented versions.
    split : Split
        The split, for mean and standard deviation.
    device : torch.device or str
        Where the batches are put.
    workers : int
        The number of processes that read files; 0: this one.

    Raises
    ------
    DataError
        If the images cannot have these views.
    """
    if isinstance(part.images, ImageFiles):
        return StreamedBatches(part.images, views, split.mean, split.std, device, workers)
    return ImageBatches(part.images, views, split.mean, split.std, device)


def iterate_pixels(part: Subset, size: int, workers: int = 0) -> Generator[np.ndarray, None, None]:
    """Yield all images of a part in their order, without augmentation or normalization.

    Parameters
    ----------
    part : Subset
        The images.
    size : int
        Images in a batch.
    workers : int
        The number of processes that read files; 0: this one.

    Yields
    ------
    ndarray of shape (B, C, H, W)
        Pixels, uint8.
    """
    starts = range(0, len(part), size)
    if not isinstance(part.images, ImageFiles):
        yield from (np.asarray(part.images[start : start + size]) for start in starts)
        return
    zeros = np.zeros(part.images.shape[0])
    index_batches = (np.arange(start, min(start + size, len(part))) for start in starts)
    requests = ((index, np.zeros_like(index)) for index in index_batches)
    files = StreamedBatches(part.images, IDENTITY_VIEWS, zeros, zeros + 1, "cpu", workers)
    for batch in files.load_pixels(IDENTITY_VIEWS, requests):
        yield batch.permute(0, 3, 1, 2).contiguous().numpy()


class StreamedBatches:
    """Images in files, of which batches of normalized views are taken.

    Raises DataError for views that images in files cannot have, and for a file that cannot be read,
    which it names.

    Parameters
    ----------
    files : ImageFiles
        The images.
    views : Views
        Their augmented versions.
    mean, std : array-like of shape (C,)
        Of pixels in [0, 1].
    device : torch.device or str
        Where the batches are put.
    workers : int
        The number of processes that read files; 0: this one.
    """

    def __init__(
        self,
        files: ImageFiles,
        views: Views,
        mean,
        std,
        device: torch.device | str = "cpu",
        workers: int = 0,
    ):
        views.check_supported("build_transform" if views.is_infinite else "transform_pil")
        self.files = files
        self.views = views
        self.height, self.width = files.shape[1:]
        self.device = torch.device(device)
        self.max_eval_batch_size = self.eval_batch_size = choose_eval_batch_size(
            self.height, self.width, self.device
        )
        self.workers = workers
        self.scale, self.shift = compute_scale_and_shift(mean, std, device)

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.files)

    def batches(
        self, order: torch.Tensor, view: torch.Tensor, size: int, start: int = 0
    ) -> Generator[Batch, None, None]:
        """Yield the batches of an epoch, from batch `start` on, as `ImageBatches.batches` does."""
        yield from self.batches_at(order, view, slice_batches(len(order), size, start))

    def batches_at(
        self, order: torch.Tensor, view: torch.Tensor, rows: Sequence[slice]
    ) -> Generator[Batch, None, None]:
        """Yield a batch for each of these slices of an order, as `batches` does."""
        unmixed = functools.partial(self._batches, self.views)
        if self.views.mixes:
            yield from mixtures.mix_batches(self, unmixed, order, view, rows)
        else:
            yield from unmixed(order, view, rows)

    def unaugmented_batches(self, size: int) -> Generator[torch.Tensor, None, None]:
        """Yield all images in their order, without augmentation, as batches (B, C, H, W)."""
        order = torch.arange(len(self))
        rows = slice_batches(len(order), size)
        for _, _, x in self._batches(IDENTITY_VIEWS, order, torch.zeros_like(order), rows):
            yield x

    def _batches(
        self, views: Views, order: torch.Tensor, view: torch.Tensor, rows: Sequence[slice]
    ) -> Generator[Batch, None, None]:
        """Yield (index, view, x) of each of these slices of an order (N,)."""
        requests = ((order[key].numpy(), view[key].numpy()) for key in rows)
        on_device = to_device(order, self.device), to_device(view, self.device)
        for key, pixels in zip(
            rows, self._prefetch(self.load_pixels(views, requests)), strict=False
        ):
            x = normalize(pixels, self.scale, self.shift)
            for augmentation, section, seed in views.decode(
                views.find_numbers(order[key], view[key])
            ):
                if augmentation.transform_tensor is not None:
                    x = augmentation.transform_tensor(section, seed, x)
            index, number = (tensor[key] for tensor in on_device)
            yield index, number, x

    def _prefetch(self, batches: Iterator[torch.Tensor]) -> Generator[torch.Tensor, None, None]:
        """Yield pixels on the device, each batch being copied while the one before is in use."""
        if self.device.type == "cpu":
            yield from batches
            return
        previous = None
        for pixels in batches:
            device_pixels = pixels.to(self.device, non_blocking=True)  # pinned by `load_pixels`
            if previous is not None:
                yield previous
            previous = device_pixels
        if previous is not None:
            yield previous

    def load_pixels(self, views: Views, requests) -> Generator[torch.Tensor, None, None]:
        """Yield the pixels of each request, in their order.

        Parameters
        ----------
        views : Views
            The augmented versions.
        requests : iterable of (ndarray, ndarray)
            Images and numbers of views, each of shape (B,).

        Yields
        ------
        Tensor of shape (B, H, W, C)
            Pixels, uint8.
        """
        loader = DataLoader(
            _DecodingDataset(self.files, views),
            sampler=requests,
            batch_size=None,
            num_workers=self.workers,
            pin_memory=self.device.type == "cuda",
            multiprocessing_context=get_worker_context() if self.workers else None,
            generator=torch.Generator(),  # else it draws from the global one
            worker_init_fn=exit_with_parent,
        )
        with block_sigterm():
            iterator = iter(loader)
        try:
            yield from _check_batches(iterator)
        finally:
            _shut_down_workers(iterator)


def _check_batches(iterator: Iterator) -> Generator[torch.Tensor, None, None]:
    """Yield the pixels of each batch; raise DataError for a file or a worker that is gone."""
    while True:
        try:
            pixels = next(iterator)
        except StopIteration:
            return
        except (RuntimeError, OSError, EOFError) as error:
            # OSError: the connection to a worker; an unreadable file comes as its message.
            text = str(error) or repr(error)
            last = text.strip().splitlines()[-1]
            if isinstance(error, RuntimeError) and not any(
                message in text for message in WORKER_DIED_MESSAGES
            ):
                raise
            raise DataError(
                f"a data loading worker exited unexpectedly ({last}), usually out of memory or "
                "shared memory (/dev/shm): restart with fewer `workers`"
            ) from None
        if isinstance(pixels, str):
            raise DataError(pixels)
        yield pixels


def _shut_down_workers(iterator: Any) -> None:
    """End the workers now.

    Left to the garbage collector, whatever holds the iterator (a traceback does) keeps them alive,
    and its queues may be gone before it can stop them; SIGTERM, torch's last resort, does not reach
    them.
    """
    if (shut_down := getattr(iterator, "_shutdown_workers", None)) is not None:
        shut_down()
        for worker in iterator._workers:
            if worker.is_alive():
                worker.kill()


class _DecodingDataset(Dataset):
    """Pixels of views of images, by (index, view); an unreadable file gives its message instead."""

    def __init__(self, files: ImageFiles, views: Views):
        self.files = files
        self.views = views
        self.file_index: tuple[np.ndarray, np.ndarray] | None = None

    def __getitem__(self, key: tuple[np.ndarray, np.ndarray]) -> torch.Tensor | str:
        index, view = key
        channels, height, width = self.files.shape
        pixels = np.empty((len(index), height, width, channels), np.uint8)
        with torch.random.fork_rng(devices=[]):
            for row, (image, number) in enumerate(zip(index.tolist(), view.tolist(), strict=True)):
                try:
                    pixels[row] = self.decode_view(image, number)
                except DataError as error:
                    return str(error)
        return torch.from_numpy(pixels)

    def decode_view(self, index: int, view: int) -> np.ndarray:
        """Return a view of an image, (H, W, C) uint8."""
        image = self.decode(index)
        number = self.views.find_numbers(index, view)
        if self.views.is_infinite:
            # As torch.manual_seed, but without looking for a GPU.
            torch.default_generator.manual_seed(number)
            for transform in self.transforms:
                image = transform(image)
        else:
            image = self.center_crop(image)
            for augmentation, keys, value in self.views.decode(number):
                assert augmentation.transform_pil is not None
                image = augmentation.transform_pil(keys, value, image)
        pixels = np.asarray(image)
        return pixels[:, :, None] if pixels.ndim == 2 else pixels

    @functools.cached_property
    def transforms(self) -> list[Callable]:
        """Return the transforms that draw a view from its seed, in the order in which they draw."""
        side, reversed_augmentations = self.files.shape[1], self.views.augmentations[::-1]
        first = (
            []
            if any(augmentation.sets_size for augmentation, _ in reversed_augmentations)
            else [self.center_crop]
        )
        return first + [
            augmentation.build_transform(keys, side)
            for augmentation, keys in reversed_augmentations
            if augmentation.build_transform
        ]

    @functools.cached_property
    def center_crop(self) -> Callable:
        """Return the transform of validation and test: scale the image, cut out its centre."""
        from torchvision.transforms import v2

        side = self.files.shape[1]
        return v2.Compose([v2.Resize(round(side * RESIZE_RATIO)), v2.CenterCrop(side)])

    def decode(self, index: int):
        """Read a PIL image in the mode that the network needs; raise DataError if it changed."""
        if self.file_index is None:
            self.file_index = self.files.open_index()
        paths, sizes = self.file_index
        row = int(self.files.indices[index])
        path = self.files.root / os.fsdecode(bytes(paths[row]))
        try:
            content = read_regular_file(path)
        except OSError as error:
            raise DataError(
                f"{path} was indexed but can no longer be read ({error.strerror}): restore it, or "
                "prepare the data set again"
            ) from None
        if len(content) != sizes[row]:
            raise DataError(
                f"{path} has {len(content):,} bytes, but had {sizes[row]:,} when it was indexed: "
                "restore the old file, or prepare the data set again"
            )
        channels = self.files.shape[0]
        with decoding.open_image(io.BytesIO(content), path) as image:
            if self.files.is_custom:
                return decoding.convert_image(image, path, channels)
            return image.convert("L" if channels == 1 else "RGB")


@functools.cache
def get_worker_context():
    """Return the multiprocessing context that workers are started in."""
    context = torch.multiprocessing.get_context(START_METHOD)
    context.set_forkserver_preload(PRELOADED_MODULES)
    return context


def exit_with_parent(_: int = 0) -> None:
    """Make a worker end when its run has ended, even if that was killed.

    DataLoader's own watchdog watches the process that forked the worker, which is the fork server
    here, and the server waits for its workers.
    """
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        """Exit when the run has ended."""
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


@contextlib.contextmanager
def block_sigterm() -> Iterator[None]:
    """Keep SIGTERM from processes that are started inside.

    A cluster sends it to every process of a job. The run saves its state then, and needs its
    batches until it has; its workers end with it.
    """
    resource_tracker.ensure_running()  # it unblocks SIGTERM when it starts: start it before
    previous_mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, previous_mask)
