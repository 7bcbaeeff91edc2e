"""Streams: batches of images that are read from their files while a network trains.

A `Streams` is asked as `images.Images` is. Files are read, decoded and cropped by PIL and
torchvision, in `workers` processes of torch's DataLoader or, with none, in this one. Everything
random about an image rests on the number of its view, which the run's own stream has drawn: the
bytes do not depend on the number of workers, nor on where a run was broken off.

An image as it is: the shorter side scaled to 256/224 of what the network gets, and the centre.
"""

import contextlib
import functools
import io
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Generator, Iterator
from multiprocessing import resource_tracker
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from kdpipe.data.images import Batch, Images, forward_size, normalisation, normalised, over
from kdpipe.data.listing import Files
from kdpipe.data.own import pictures
from kdpipe.data.splits import Part, Split
from kdpipe.data.views import PLAIN, Views
from kdpipe.errors import DataError

# Workers are forked from a server that has torch and nothing else: no CUDA, no lock, no handler.
START = "forkserver"
PRELOADED = [__name__, "torchvision.transforms.v2"]
# What DataLoader says of a worker that is gone, and torch of a full /dev/shm.
ENDED = ("exited unexpectedly", "killed by signal", "shared memory", "No space left on device")
LARGER = 256 / 224  # of the side, before the centre is cut out


def images(
    part: Part, views: Views, split: Split, device: torch.device | str = "cpu", workers: int = 0
) -> "Images | Streams":
    """The images of a part, from which batches are taken, wherever they lie."""
    if isinstance(part.images, Files):
        return Streams(part.images, views, split.mean, split.std, device, workers)
    return Images(part.images, views, split.mean, split.std, device)


def pixels(part: Part, size: int, workers: int = 0) -> Generator[np.ndarray, None, None]:
    """All images of a part in their order, as they are and not normalised: (B, C, H, W) uint8."""
    starts = range(0, len(part), size)
    if not isinstance(part.images, Files):
        yield from (np.asarray(part.images[start : start + size]) for start in starts)
        return
    zeros = np.zeros(part.images.shape[0])
    places = (np.arange(start, min(start + size, len(part))) for start in starts)
    asked = ((index, np.zeros_like(index)) for index in places)
    files = Streams(part.images, PLAIN, zeros, zeros + 1, "cpu", workers)
    for batch in files.loaded(PLAIN, asked):
        yield batch.permute(0, 3, 1, 2).contiguous().numpy()


class Streams:
    """Images in files, from which batches of normalised views are taken.

    mean, std: (C,) of pixels in [0, 1]. A file that cannot be read is a DataError that names it.
    """

    def __init__(
        self,
        files: Files,
        views: Views,
        mean,
        std,
        device: torch.device | str = "cpu",
        workers: int = 0,
    ):
        views.refuse_without("drawn" if views.endless else "image")
        self.files = files
        self.views = views
        self.device = torch.device(device)
        self.most = self.forward_size = forward_size(*files.shape[1:], self.device)
        self.workers = workers
        self.scale, self.shift = normalisation(mean, std, device)

    def __len__(self) -> int:
        return len(self.files)

    def batches(
        self, order: torch.Tensor, view: torch.Tensor, size: int, start: int = 0
    ) -> Generator[Batch, None, None]:
        """(index, view, x) of each batch of an order (N,) from batch `start` on."""
        yield from self._batches(self.views, order, view, size, start)

    def centres(self, size: int) -> Generator[torch.Tensor, None, None]:
        """All images in their order as they are, normalised: batches (B, C, H, W)."""
        order = torch.arange(len(self))
        for _, _, x in self._batches(PLAIN, order, torch.zeros_like(order), size, 0):
            yield x

    def _batches(
        self, views: Views, order: torch.Tensor, view: torch.Tensor, size: int, start: int
    ) -> Generator[Batch, None, None]:
        keys = [slice(first, first + size) for first in range(start * size, len(order), size)]
        asked = ((order[key].numpy(), view[key].numpy()) for key in keys)
        there = over(order, self.device), over(view, self.device)
        for key, pixels in zip(keys, self._ahead(self.loaded(views, asked)), strict=False):
            x = normalised(pixels, self.scale, self.shift)
            for digit, section, seed in views.values(view[key]):
                if digit.normalised is not None:
                    x = digit.normalised(section, seed, x)
            index, number = (one[key] for one in there)
            yield index, number, x

    def _ahead(self, loaded: Iterator[torch.Tensor]) -> Generator[torch.Tensor, None, None]:
        """The pixels on the device: the next are on their way there while one's are worked on."""
        if self.device.type == "cpu":
            yield from loaded
            return
        waiting = None
        for pixels in loaded:
            moved = pixels.to(self.device, non_blocking=True)  # pinned by `loaded`
            if waiting is not None:
                yield waiting
            waiting = moved
        if waiting is not None:
            yield waiting

    def loaded(self, views: Views, asked) -> Generator[torch.Tensor, None, None]:
        """Pixels (B, H, W, C) uint8 of each (index, view) that is asked for, in that order."""
        loader = DataLoader(
            _Decoder(self.files, views),
            sampler=asked,
            batch_size=None,
            num_workers=self.workers,
            pin_memory=self.device.type == "cuda",
            multiprocessing_context=_context() if self.workers else None,
            generator=torch.Generator(),  # or it would draw from the global one
            worker_init_fn=_end_with_parent,
        )
        with _without_sigterm():
            loaded = iter(loader)
        try:
            yield from _sound(loaded)
        finally:
            _end(loaded)


def _sound(loaded: Iterator) -> Generator[torch.Tensor, None, None]:
    """The pixels of each batch. Raises DataError for a file, or a worker, that is gone."""
    while True:
        try:
            pixels = next(loaded)
        except StopIteration:
            return
        except (RuntimeError, OSError, EOFError) as error:
            # OSError: the way to a worker; what is wrong with a file comes as a text.
            text = str(error) or repr(error)
            last = text.strip().splitlines()[-1]
            if isinstance(error, RuntimeError) and not any(end in text for end in ENDED):
                raise
            raise DataError(
                f"a process that reads images ended by itself ({last}): "
                "mostly for want of memory, or of shared memory (/dev/shm): start it again "
                "with fewer `workers`"
            ) from None
        if isinstance(pixels, str):
            raise DataError(pixels)
        yield pixels


def _end(loaded: Any) -> None:
    """End the workers now.

    Left to the collector, whatever holds the iterator (a traceback does) keeps them alive, and its
    queues may be gone before it can tell them; SIGTERM, torch's last word, does not reach them.
    """
    if (end := getattr(loaded, "_shutdown_workers", None)) is not None:
        end()
        for worker in loaded._workers:
            if worker.is_alive():
                worker.kill()


class _Decoder(Dataset):
    """Views of images, by (index, view); what is wrong with a file is said in place of pixels."""

    def __init__(self, files: Files, views: Views):
        self.files = files
        self.views = views
        self.opened: tuple[np.ndarray, np.ndarray] | None = None

    def __getitem__(self, key: tuple[np.ndarray, np.ndarray]) -> torch.Tensor | str:
        index, view = key
        channels, height, width = self.files.shape
        pixels = np.empty((len(index), height, width, channels), np.uint8)
        with torch.random.fork_rng(devices=[]):
            for row, (image, number) in enumerate(zip(index.tolist(), view.tolist(), strict=True)):
                try:
                    pixels[row] = self.view(image, number)
                except DataError as error:
                    return str(error)
        return torch.from_numpy(pixels)

    def view(self, index: int, number: int) -> np.ndarray:
        """(H, W, C) uint8."""
        image = self.decoded(index)
        if self.views.endless:
            # Of torch.manual_seed the part that does not look for a GPU.
            torch.default_generator.manual_seed(number)
            for change in self.drawn:
                image = change(image)
        else:
            image = self.as_it_is(image)
            for digit, keys, value in self.views.values(number):
                assert digit.image is not None
                image = digit.image(keys, value, image)
        pixels = np.asarray(image)
        return pixels[:, :, None] if pixels.ndim == 2 else pixels

    @functools.cached_property
    def drawn(self) -> list[Callable]:
        """What draws a view of its seed, in the order in which it draws."""
        side, last_first = self.files.shape[1], self.views.digits[::-1]
        first = [] if any(digit.sized for digit, _ in last_first) else [self.as_it_is]
        return first + [digit.drawn(keys, side) for digit, keys in last_first if digit.drawn]

    @functools.cached_property
    def as_it_is(self) -> Callable:
        """The centre of an image, scaled as validation and test are."""
        from torchvision.transforms import v2

        side = self.files.shape[1]
        return v2.Compose([v2.Resize(round(side * LARGER)), v2.CenterCrop(side)])

    def decoded(self, index: int):
        """An image of PIL, of the mode that the network wants. Raises DataError."""
        if self.opened is None:
            self.opened = self.files.opened()
        paths, sizes = self.opened
        place = int(self.files.chosen[index])
        path = self.files.root / os.fsdecode(bytes(paths[place]))
        try:
            content = path.read_bytes()
        except OSError as error:
            raise DataError(
                f"{path} was listed and cannot be read now ({error.strerror}): bring it back, or "
                "prepare the data set again"
            ) from None
        if len(content) != sizes[place]:
            raise DataError(
                f"{path} has {len(content):,} bytes, and {sizes[place]:,} when it was listed: "
                "bring the old file back, or prepare the data set again"
            )
        channels = self.files.shape[0]
        with pictures.opened(io.BytesIO(content), path) as image:
            if self.files.own:
                return pictures.converted(image, path, channels)
            return image.convert("L" if channels == 1 else "RGB")


@functools.cache
def _context():
    context = torch.multiprocessing.get_context(START)
    context.set_forkserver_preload(PRELOADED)
    return context


def _end_with_parent(_: int) -> None:
    """In a worker: end when the run has ended, be it killed.

    DataLoader's own watch is on the process that forked the worker, which is the server here, and
    the server waits for its workers.
    """
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


@contextlib.contextmanager
def _without_sigterm() -> Iterator[None]:
    """Processes started inside never see SIGTERM.

    A cluster sends it to every process of a job. The run saves its state then, and needs its
    batches until it has; its workers end with it.
    """
    resource_tracker.ensure_running()  # it unblocks SIGTERM when it starts: let it start before
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
