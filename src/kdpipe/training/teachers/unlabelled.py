"""Images without labels: beside each batch some that the teacher's terms see, and CE does not.

They are drawn from streams of their own, in an order that is shuffled anew as often as it is used
up: the n-th of a run is always the same image in the same view, so a run goes on anywhere.
"""

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor

from kdpipe.data import splits, streams
from kdpipe.data.images import Batch
from kdpipe.data.splits import Split
from kdpipe.data.views import Views
from kdpipe.identity import stream_of
from kdpipe.learning.term import Said
from kdpipe.results.store import Store
from kdpipe.specs.equipment import Means
from kdpipe.specs.made import unlabelled_of
from kdpipe.training.objective import Objective, Weights
from kdpipe.training.teachers import tables
from kdpipe.training.teachers.live import Live
from kdpipe.training.teachers.tables import Tables


class Unlabelled:
    """The images without labels of a run, and the teacher that is asked of them."""

    def __init__(
        self,
        spec: dict,
        split: Split,
        teacher: Live | Tables,
        place: Store,
        device: torch.device,
        means: Means,
    ):
        self.spec = spec
        self.size: int = spec["method"]["unlabelled"]
        of = unlabelled_of(spec["method"])
        part = splits.unlabelled(spec["data"], of["unlabelled_from"], place)
        views = Views.of(spec["data"]["views"])
        self.images = streams.images(part, views, split, device, means.workers)
        self.teacher = teacher
        if isinstance(teacher, Tables):
            self.teacher = tables.load(spec, place, device, means.code, of)

    def joined(
        self, x: Tensor, taught: Said, beside: Batch, objective: Objective, weights: Weights
    ) -> tuple[Tensor, Said]:
        """A batch and what its teacher says of it, those without labels behind the labelled."""
        index, view, y = beside
        said = objective.taught(self.teacher, y, index, view, weights)
        assert said is not None
        return torch.cat([x, y]), _joined(taught, said)


def of(
    spec: dict,
    split: Split,
    teacher: Live | Tables | None,
    place: Store,
    device: torch.device,
    means: Means,
) -> Unlabelled | None:
    """Those of a run; None where its method asks for none."""
    if teacher is None or not spec["method"].get("unlabelled"):
        return None
    return Unlabelled(spec, split, teacher, place, device, means)


@contextlib.contextmanager
def batches(
    more: Unlabelled | None, weights: Weights, epoch: int, steps: int, start: int
) -> Iterator[Iterator[Batch] | None]:
    """(index, view, x) for each step of an epoch of `steps` from step `start` on.

    None where there are none, or no term of the teacher's to see them.
    """
    if more is None or not weights.terms:
        yield None
        return
    order, view = drawn(more.spec, len(more.images), more.images.views, epoch, steps)
    with contextlib.closing(more.images.batches(order, view, more.size, start)) as found:
        yield found


def drawn(spec: dict, images: int, views: Views, epoch: int, steps: int) -> tuple[Tensor, Tensor]:
    """Which images, in which views, stand beside the batches of an epoch: (steps * size,) each.

    All epochs cut theirs, one behind the other, out of rounds that have each image once.
    """
    wanted = steps * spec["method"]["unlabelled"]
    first, last = epoch * wanted, (epoch + 1) * wanted
    rounds = range(first // images, -(-last // images))
    skipped = first - rounds.start * images
    order = [torch.randperm(images, generator=_generator(spec, "order", r)) for r in rounds]
    view = [
        torch.randint(views.count, (images,), generator=_generator(spec, "views", r))
        for r in rounds
    ]
    rows = slice(skipped, skipped + wanted)
    return torch.cat(order)[rows], torch.cat(view)[rows]


def _joined(one: Said, other: Said) -> Said:
    """What a network says of two batches, as of one."""
    groups = [torch.cat(pair) for pair in zip(one.groups, other.groups, strict=True)]
    embedding = None
    if one.embedding is not None and other.embedding is not None:
        embedding = torch.cat([one.embedding, other.embedding])
    return Said(torch.cat([one.logits, other.logits]), groups, embedding)


def _generator(spec: dict, purpose: str, number: int) -> torch.Generator:
    return torch.Generator().manual_seed(stream_of(spec, f"unlabelled {purpose}", number))
