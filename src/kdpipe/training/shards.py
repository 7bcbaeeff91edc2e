"""Batches that are cut into parts (`recipe.shards`), so that several processes train one network.

What is computed depends on the number of parts alone: each part is augmented, mixed, normalized by
batch normalization and compared with its teacher by itself, with random streams of its own, and
starts from the buffers (the running statistics) that the step began with. Its loss is weighted by
its images. The gradients are summed in the order of the parts, the optimizer makes one step with
the sum, and each buffer becomes the mean of what the parts made of it. How many processes compute
the parts changes no byte, since each sum is taken over all parts, in their order, in every process.

A sum over processes of sums over their parts would round differently for each number of processes,
as torch's DistributedDataParallel does.
"""

import itertools
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from kdpipe.errors import KdpipeError
from kdpipe.models.layers import HostCountBatchNorm
from kdpipe.runs.recipe import count_parts_each

MIN_IMAGES = 2  # of a part: batch normalization of 1 x 1 features needs as many


@dataclass(frozen=True)
class Part:
    """A part of a step's batch, or the whole batch.

    Attributes
    ----------
    number : int or None
        Its position among the parts of a batch that is cut; None for a whole batch.
    rows : slice
        Its labelled images, as rows of the epoch's order.
    extra_rows : slice
        Its unlabelled images, as rows of their order.
    share, extra_share : float
        Its share of the labelled images of the batch, and of all its images.
    """

    number: int | None
    rows: slice
    extra_rows: slice
    share: float = 1.0
    extra_share: float = 1.0

    def purpose(self, purpose: str, step: int) -> str:
        """Return the name of a random stream of this part in a step of an epoch."""
        return f"{purpose} {step}" + ("" if self.number is None else f" part {self.number}")


def cut_batch(rows: slice, extra_rows: slice, shards: int, min_images: int) -> list[Part]:
    """Cut a batch into nearly equal parts, the larger ones first.

    There are fewer of them where one would have less than `min_images` labelled images, which
    happens in the last batch of an epoch.

    Parameters
    ----------
    rows, extra_rows : slice
        The labelled and the unlabelled images of the batch.
    shards : int
        The number of parts; a batch in one part is left whole.
    min_images : int
        What the network and the loss terms need in a part.

    Returns
    -------
    list of Part
    """
    if shards == 1:
        return [Part(None, rows, extra_rows)]
    n_images, n_extra = rows.stop - rows.start, extra_rows.stop - extra_rows.start
    n_parts = max(1, min(shards, n_images // min_images))
    cuts = zip(_cut_evenly(rows, n_parts), _cut_evenly(extra_rows, n_parts), strict=True)
    return [
        Part(
            number,
            part,
            extra,
            (part.stop - part.start) / n_images,
            (part.stop - part.start + extra.stop - extra.start) / (n_images + n_extra),
        )
        for number, (part, extra) in enumerate(cuts)
    ]


def _cut_evenly(rows: slice, parts: int) -> list[slice]:
    """Cut rows into consecutive parts whose sizes differ by at most one."""
    size, larger = divmod(rows.stop - rows.start, parts)
    starts = [rows.start + size * part + min(part, larger) for part in range(parts + 1)]
    return [slice(*ends) for ends in itertools.pairwise(starts)]


def select_parts(parts: Sequence[Part], shards: int, rank: int, processes: int) -> list[Part]:
    """Return the parts that a process computes.

    A process for which a short batch has no part left computes the first one again, whose result
    nobody reads, so that its own counters of batches go on as everywhere.
    """
    slots = count_parts_each(shards, processes)
    return list(parts[rank * slots : (rank + 1) * slots]) or [parts[0]]


class ShardedGradients:
    """Gradients and buffers of the parts of a step, summed over all processes.

    Parameters
    ----------
    modules : list of nn.Module
        The network, and the loss terms with parameters.
    shards : int
        `shards` of the recipe.
    rank, processes : int
        Which process this is, and of how many.
    gather : callable, optional
        From a tensor of this process to a tensor (processes, ...) of all of them.
    """

    def __init__(
        self,
        modules: Sequence[nn.Module],
        shards: int,
        rank: int = 0,
        processes: int = 1,
        gather: Callable[[Tensor], Tensor] = lambda own: own[None],
    ):
        self.parameters = [p for each in modules for p in each.parameters() if p.requires_grad]
        self.buffers = [buffer for each in modules for buffer in each.buffers()]
        layers = [layer for each in modules for layer in each.modules()]
        self.counters = [layer for layer in layers if isinstance(layer, HostCountBatchNorm)]
        self.shards = shards
        self.rank = rank
        self.processes = processes
        self.gather = gather
        self.uneven = torch.zeros((), dtype=torch.bool, device=next(modules[0].parameters()).device)

    def select_parts(self, parts: Sequence[Part]) -> list[Part]:
        """Return those parts of a batch that this process computes."""
        return select_parts(parts, self.shards, self.rank, self.processes)

    def compute(
        self, parts: Sequence[Part], n_parts: int, compute_part: Callable[[Part], Tensor]
    ) -> Tensor:
        """Compute this process's parts of a batch, and put the sums over all parts in place.

        Parameters
        ----------
        parts : sequence of Part
            The parts of this process.
        n_parts : int
            All parts of the batch.
        compute_part : callable
            Computes the gradients of a part, and returns its values to log (columns,), float32.

        Returns
        -------
        Tensor of shape (columns,)
            The sums of the logged values.
        """
        starts = [buffer.clone() for buffer in self.buffers]
        counts = [layer.uncounted for layer in self.counters]
        vectors: list[list[Tensor]] = []
        firsts, trained = starts, [False] * len(self.parameters)
        for part in parts:
            if vectors:
                _copy_all(self.buffers, starts)
            row = compute_part(part)
            if not vectors:  # the counts of batches, which are the same after each part
                firsts = [buffer.clone() for buffer in self.buffers]
                trained = [parameter.grad is not None for parameter in self.parameters]
            vectors.append(self._flatten(row))
        for layer, count in zip(self.counters, counts, strict=True):
            layer.uncounted = min(layer.uncounted, count + 1)
        totals = [self._sum_parts(list(each), n_parts) for each in zip(*vectors, strict=True)]
        return self._unflatten(totals, trained, firsts, n_parts)

    def raise_if_uneven(self) -> None:
        """Raise KdpipeError if the parts of a batch have trained different parameters."""
        if bool(self.uneven):
            raise KdpipeError(
                "recipe.shards: the parts of a batch train different parameters (a network that "
                "leaves out layers at random), so their gradients cannot be summed: use shards: 1"
            )

    def _flatten(self, row: Tensor) -> list[Tensor]:
        """Take gradients, floating-point buffers and logged values as a vector for each type."""
        n_trained = sum(parameter.grad is not None for parameter in self.parameters)
        values = [
            torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
            for parameter in self.parameters
        ]
        values += [buffer for buffer in self.buffers if buffer.is_floating_point()]
        values.append(torch.cat([row, torch.full_like(row[:1], n_trained)]))
        by_type: dict[torch.dtype, list[Tensor]] = defaultdict(list)
        for value in values:
            by_type[value.dtype].append(value.reshape(-1))
        for parameter in self.parameters:
            parameter.grad = None
        return [torch.cat(each) for each in by_type.values()]

    def _sum_parts(self, own: list[Tensor], n_parts: int) -> Tensor:
        """Return the sum of vectors over all parts of the batch, in the order of the parts."""
        missing = count_parts_each(self.shards, self.processes) - len(own)
        rows = self.gather(torch.stack(own + own[:1] * missing)).flatten(0, 1)[:n_parts]
        if rows.dtype == torch.float32:  # which ends in the number of trained parameters
            self.uneven |= (rows[:, -1] != rows[0, -1]).any()
        total = rows[0].clone()
        for row in rows[1:]:
            total += row
        return total

    @torch.no_grad()
    def _unflatten(
        self, totals: list[Tensor], trained: list[bool], firsts: list[Tensor], n_parts: int
    ) -> Tensor:
        """Put the sums where the optimizer and the next step read them; return the logged ones."""
        rest = {total.dtype: total for total in totals}

        def take(like: Tensor) -> Tensor:
            size = like.numel()
            value, rest[like.dtype] = rest[like.dtype][:size], rest[like.dtype][size:]
            return value.view(like.shape)

        for parameter, is_trained in zip(self.parameters, trained, strict=True):
            gradient = take(parameter)
            if is_trained:
                # Fused optimizers expect the memory format of the parameter.
                parameter.grad = torch.empty_like(parameter).copy_(gradient)
        for buffer, first in zip(self.buffers, firsts, strict=True):
            buffer.copy_(take(buffer) / n_parts if buffer.is_floating_point() else first)
        return rest[torch.float32][:-1]


def _copy_all(targets: Sequence[Tensor], sources: Sequence[Tensor]) -> None:
    """Copy tensors into others."""
    with torch.no_grad():
        for target, source in zip(targets, sources, strict=True):
            target.copy_(source)
