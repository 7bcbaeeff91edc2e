"""Mixtures: drawn views of an image, each of them mixed once with a view of another image.

`training.mixup` mixes a batch anew at each step, so that a logit cache cannot hold what its teacher
answers. With `data.views`, each of the K views of an image has instead a partner, one of the K
views of another image, and a share or a rectangle of its own. These depend on the seed of the drawn
views, the image and the number of its view, and on nothing else: neither on the batch, the epoch or
the device, nor on where a run was interrupted.

The formulas of the pixels and shares are those of torchvision's MixUp and CutMix.

References
----------
Faghri et al., "Reinforce Data, Multiply Impact: Improved Model Accuracy and Robustness with Dataset
Reinforcement", ICCV 2023, arXiv 2303.08983: a teacher's outputs for a fixed number of augmented and
mixed views of each image, stored once.
"""

import contextlib
import functools
import itertools
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from kdpipe.data.views import Views

# Beta(alpha, alpha) is drawn from as many of its quantiles: all devices gather the same numbers.
N_QUANTILES = 2**16

_Batch = tuple[Tensor, Tensor, Tensor]  # index (B,), view (B,), x (B, C, H, W)


class _Images(Protocol):
    """The part of `ImageBatches` and `StreamedBatches` that mixtures are drawn for."""

    views: Views
    height: int
    width: int
    device: torch.device

    def __len__(self) -> int: ...


@dataclass(frozen=True)
class Mixtures:
    """The mixtures of views (B,), on one device.

    Attributes
    ----------
    index, view : Tensor of shape (B,)
        The partners: images, and the numbers of their views.
    share : Tensor of shape (B,)
        The share of the view's own label, float32.
    opacity : Tensor of shape (B,)
        The share of its own pixels, float32: with CutMix 1, outside of the rectangle.
    rectangle : Tensor of shape (B, 4)
        The top, bottom, left and right of the partner's pixels; all 0 with mixup.
    """

    index: Tensor
    view: Tensor
    share: Tensor
    opacity: Tensor
    rectangle: Tensor

    def __getitem__(self, rows: slice) -> "Mixtures":
        """Return the mixtures of some of the views."""
        return Mixtures(*(getattr(self, name)[rows] for name in vars(self)))

    def to(self, device: torch.device) -> "Mixtures":
        """Return the mixtures on a device."""
        return Mixtures(*(getattr(self, name).to(device) for name in vars(self)))

    def mix_pixels(self, x: Tensor, partners: Tensor) -> Tensor:
        """Return views (B, C, H, W) mixed with the views of their partners."""
        top, bottom, left, right = self.rectangle[:, :, None, None].unbind(1)
        row = torch.arange(x.shape[2], device=x.device)[:, None]
        column = torch.arange(x.shape[3], device=x.device)
        inside = (row >= top) & (row < bottom) & (column >= left) & (column < right)
        own = torch.where(inside, 0.0, self.opacity[:, None, None])[:, None]
        return x * own + partners * (1 - own)

    def mix_labels(self, labels: Tensor, partners: Tensor, classes: int) -> Tensor:
        """Return the shares of the classes (B, classes) for labels (B,) and those of partners."""
        own, other = (F.one_hot(each, classes).float() for each in (labels, partners))
        return own * self.share[:, None] + other * (1 - self.share)[:, None]


def draw_mixtures(images: _Images, index: Tensor, view: Tensor) -> Mixtures | None:
    """Return the mixtures of views of images; None if these are not mixed.

    Each is of one kind, chosen with equal chances where both are enabled. Its partner is any other
    image, with equal chances.

    Parameters
    ----------
    images : ImageBatches or StreamedBatches
    index, view : Tensor of shape (B,)
        The images, and the numbers of their views, on the CPU.

    Returns
    -------
    Mixtures or None
        On the CPU.
    """
    views, height, width = images.views, images.height, images.width
    if not views.mixes:
        return None
    seeds = views.split_mixture_seeds(index, view)
    partner_seed, view_seed, kind_seed, level_seed, row_seed, column_seed = seeds
    n_others = len(images) - 1  # a single image is mixed with itself
    partner = (index + 1 + partner_seed % n_others) % len(images) if n_others else index
    level = level_seed % N_QUANTILES
    lam = torch.zeros(len(index))
    is_cut = torch.zeros(len(index), dtype=torch.bool)
    for position, (kind, alpha) in enumerate(views.mixes):
        is_kind = kind_seed % len(views.mixes) == position
        lam = torch.where(is_kind, _compute_beta_quantiles(alpha)[level], lam)
        is_cut |= is_kind & (kind == "cutmix")
    edges = []
    for seed, side in ((row_seed, height), (column_seed, width)):
        center, half = seed % side, (0.5 * torch.sqrt(1 - lam.double()) * side).long()
        edges += [(center - half).clamp(min=0), (center + half).clamp(max=side)]
    rectangle = torch.stack(edges, 1) * is_cut[:, None]
    top, bottom, left, right = rectangle.unbind(1)
    remaining = 1 - (bottom - top) * (right - left) / (height * width)
    return Mixtures(
        partner,
        view_seed % views.drawn,
        torch.where(is_cut, remaining, lam),
        torch.where(is_cut, 1.0, lam),
        rectangle,
    )


def mix_batches(
    images: _Images,
    unmixed: Callable[[Tensor, Tensor, Sequence[slice]], Generator[_Batch, None, None]],
    order: Tensor,
    view: Tensor,
    rows: Sequence[slice],
) -> Generator[_Batch, None, None]:
    """Yield batches of mixed views of an epoch, as `ImageBatches.batches_at` does.

    Parameters
    ----------
    images : ImageBatches or StreamedBatches
    unmixed : callable
        Yields the batches of an order (N,) of views as they are; it gets each batch with its
        partners behind it, as one of twice the size.
    order, view, rows
        As those of `ImageBatches.batches_at`.
    """
    if not rows:
        return
    order, view = order.cpu(), view.cpu()
    mixtures = draw_mixtures(images, order, view)
    assert mixtures is not None
    both_orders, both_views = (
        torch.cat([part[key] for key in rows for part in parts])
        for parts in ((order, mixtures.index), (view, mixtures.view))
    )
    ends = list(itertools.accumulate(2 * (key.stop - key.start) for key in rows))
    both_rows = [slice(first, last) for first, last in itertools.pairwise([0, *ends])]
    mixtures = mixtures.to(images.device)
    with contextlib.closing(unmixed(both_orders, both_views, both_rows)) as batches:
        for key, (index, views, x) in zip(rows, batches, strict=True):
            n_images = len(index) // 2
            mixed = mixtures[key].mix_pixels(x[:n_images], x[n_images:])
            yield index[:n_images], views[:n_images], mixed


@functools.cache
def _compute_beta_quantiles(alpha: float) -> Tensor:
    """Return the midpoint quantiles (N_QUANTILES,) of Beta(alpha, alpha), float32."""
    from scipy.special import betaincinv

    levels = (np.arange(N_QUANTILES) + 0.5) / N_QUANTILES
    return torch.from_numpy(betaincinv(alpha, alpha, levels).astype(np.float32))
