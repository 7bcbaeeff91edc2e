"""The slow twin of a run that sees images without labels: one image at a time, and no kdpipe loop.

Batches of labelled images come in the order and the views of the run's own stream, which is not
what is tested here.
"""

from collections.abc import Iterator

import numpy as np
import torch
from torch.nn import functional as F

from kdpipe import hashing
from kdpipe.data import splits
from kdpipe.data.views import Views
from kdpipe.models import factory
from kdpipe.runs.spec import RunSpec
from kdpipe.training import loop
from kdpipe.training.teachers import online


def iterate_rounds(spec: RunSpec, images: int) -> Iterator[tuple[int, int]]:
    """(image, view) one after the other, without end: each image once a round."""
    for number in range(1000):
        order = torch.randperm(images, generator=_stream(spec, "order", number))
        view = torch.randint(9, (images,), generator=_stream(spec, "views", number))
        assert sorted(order.tolist()) == list(range(images))
        yield from ((int(image), int(view[index])) for index, image in enumerate(order))


def view_image(image, view: int, split) -> np.ndarray:
    """A normalised view of an image: its crop from zeros around it."""
    row, column = divmod(view, 3)
    height, width = image.shape[1:]
    cut = np.pad(image, [(0, 0), (1, 1), (1, 1)])
    cut = cut[:, row : row + height, column : column + width]
    return (cut / 255 - split.mean[:, None, None]) / split.std[:, None, None]


def train_plain(spec: RunSpec, store, unlabelled: np.ndarray) -> torch.nn.Module:
    """A run of two epochs, KD at T = 4 in the first; `unlabelled` are images without labels.

    Cross-entropy of the labelled, KL of both, the network run once on the joined batch.
    """
    size, extra = spec.recipe.batch_size, spec.method["unlabelled"]
    images = spec.data.train_size
    split = splits.load_split(spec.data, store)
    model = factory.create_model(spec)
    teacher = online.load_online_teacher(spec, store).members[0][1]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4)
    others = iterate_rounds(spec, len(unlabelled))
    for epoch in range(2):
        optimizer.param_groups[0]["lr"] = [0.05, 0.01][epoch]
        order, view = loop._draw_order_and_views(
            spec, epoch, images, Views.from_spec(spec.data.views)
        )
        model.train()
        for start in range(0, images, size):
            rows = slice(start, start + size)
            pairs = zip(order[rows].tolist(), view[rows].tolist(), strict=True)
            batch = [
                view_image(split.train.images[index], number, split) for index, number in pairs
            ]
            y = torch.from_numpy(split.train.labels[order[rows].numpy()])
            if epoch == 0:
                more = [next(others) for _ in range(extra)]
                batch += [view_image(unlabelled[index], number, split) for index, number in more]
            x = torch.tensor(np.array(batch), dtype=torch.float32)
            logits = model(x)
            loss = F.cross_entropy(logits[: len(y)], y)
            if epoch == 0:
                assert len(x) == len(y) + extra
                p, q = F.softmax(teacher(x).detach() / 4, 1), F.log_softmax(logits / 4, 1)
                loss = 0.1 * loss + 0.9 * 16 * (p * (p.log() - q)).sum(1).mean()
            else:
                loss = 0.5 * loss
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return model


def _stream(spec: RunSpec, purpose: str, number: int) -> torch.Generator:
    seed = hashing.derive_run_seed(spec, f"unlabelled {purpose}", number)
    return torch.Generator().manual_seed(seed)
