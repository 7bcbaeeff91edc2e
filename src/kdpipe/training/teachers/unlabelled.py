"""Unlabelled images: some in each batch, which the teacher's terms use and cross-entropy does not.

They are drawn from separate streams, in an order that is reshuffled whenever it is exhausted: the
n-th of a run is always the same image in the same view, so a run can be resumed anywhere.
"""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from kdpipe.data import splits, streaming
from kdpipe.data.batches import Batch
from kdpipe.data.splits import Split
from kdpipe.data.views import Views
from kdpipe.hashing import derive_run_seed
from kdpipe.losses.base import ModelOutput
from kdpipe.runs.execution_options import ExecutionOptions
from kdpipe.runs.spec import RunSpec, select_unlabelled_keys
from kdpipe.runs.store import Store
from kdpipe.training.objective import Objective, TermWeights
from kdpipe.training.teachers import cached
from kdpipe.training.teachers.cached import CachedTeacher
from kdpipe.training.teachers.online import OnlineTeacher


class UnlabelledImages:
    """The unlabelled images of a run, and the teacher with outputs for them."""

    def __init__(
        self,
        spec: RunSpec,
        split: Split,
        teacher: OnlineTeacher | CachedTeacher,
        store: Store,
        device: torch.device,
        options: ExecutionOptions,
    ):
        assert spec.method is not None
        self.spec = spec
        self.size: int = spec.method["unlabelled"]
        unlabelled_spec = select_unlabelled_keys(spec.method)
        part = splits.load_unlabelled(spec.data, unlabelled_spec["unlabelled_from"], store)
        views = replace(Views.from_spec(spec.data.views), mixes=())
        self.images = streaming.create_batches(part, views, split, device, options.workers)
        self.teacher = teacher
        if isinstance(teacher, CachedTeacher):
            self.teacher = cached.load_cached_teacher(
                spec, store, device, options.code, unlabelled_spec
            )

    def append_unlabelled(
        self,
        x: Tensor,
        teacher_output: ModelOutput,
        extra_batch: Batch,
        objective: Objective,
        weights: TermWeights,
    ) -> tuple[Tensor, ModelOutput]:
        """Return a batch and its teacher's outputs with unlabelled images appended."""
        index, view, y = extra_batch
        extra_output = objective.teacher_outputs(self.teacher, y, index, view, weights)
        assert extra_output is not None
        return torch.cat([x, y]), _concat_outputs(teacher_output, extra_output)


def load_unlabelled(
    spec: RunSpec,
    split: Split,
    teacher: OnlineTeacher | CachedTeacher | None,
    store: Store,
    device: torch.device,
    options: ExecutionOptions,
) -> UnlabelledImages | None:
    """Return the unlabelled images of a run; None if its method uses none."""
    if teacher is None or not spec.method or not spec.method.get("unlabelled"):
        return None
    return UnlabelledImages(spec, split, teacher, store, device, options)


@contextlib.contextmanager
def iterate_batches(
    unlabelled_images: UnlabelledImages | None,
    weights: TermWeights,
    epoch: int,
    steps: int,
    rows: Sequence[slice],
) -> Iterator[Iterator[Batch] | None]:
    """Yield an iterator of (index, view, x) for slices of the order of an epoch of some steps.

    It is None if there are no unlabelled images, or no terms that use them.
    """
    if unlabelled_images is None or not weights.terms:
        yield None
        return
    order, view = draw_unlabelled_order(
        unlabelled_images.spec,
        len(unlabelled_images.images),
        unlabelled_images.images.views,
        epoch,
        steps,
    )
    with contextlib.closing(
        unlabelled_images.images.batches_at(order, view, rows)
    ) as extra_batches:
        yield extra_batches


def draw_unlabelled_order(
    spec: RunSpec, images: int, views: Views, epoch: int, steps: int
) -> tuple[Tensor, Tensor]:
    """Return the images and views of an epoch: (steps * images per step,) each.

    Epochs take consecutive slices of rounds that have each image once.
    """
    assert spec.method is not None
    n_drawn = steps * spec.method["unlabelled"]
    first, last = epoch * n_drawn, (epoch + 1) * n_drawn
    rounds = range(first // images, -(-last // images))
    skipped = first - rounds.start * images
    order = [torch.randperm(images, generator=_make_generator(spec, "order", r)) for r in rounds]
    view = [
        torch.randint(views.count, (images,), generator=_make_generator(spec, "views", r))
        for r in rounds
    ]
    rows = slice(skipped, skipped + n_drawn)
    return torch.cat(order)[rows], torch.cat(view)[rows]


def _concat_outputs(a: ModelOutput, b: ModelOutput) -> ModelOutput:
    """Return the concatenated outputs of two batches."""
    groups = [torch.cat(pair) for pair in zip(a.groups, b.groups, strict=True)]
    embedding = None
    if a.embedding is not None and b.embedding is not None:
        embedding = torch.cat([a.embedding, b.embedding])
    return ModelOutput(torch.cat([a.logits, b.logits]), groups, embedding)


def _make_generator(spec: RunSpec, purpose: str, number: int) -> torch.Generator:
    """Return the generator for one purpose in a round."""
    return torch.Generator().manual_seed(derive_run_seed(spec, f"unlabelled {purpose}", number))
