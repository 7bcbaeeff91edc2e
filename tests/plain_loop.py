"""The slow twin of a run that sees images without labels: one image at a time, and no kdpipe loop.

Batches of labelled images come in the order and the views of the run's own stream, which is not
what is tested here.
"""

from collections.abc import Iterator

import numpy as np
import torch
from torch.nn import functional as F

from kdpipe import identity
from kdpipe.data import splits
from kdpipe.data.views import Views
from kdpipe.networks import models
from kdpipe.training import loop
from kdpipe.training.teachers import live


def rounds(spec: dict, there: int) -> Iterator[tuple[int, int]]:
    """(image, view) one behind the other, without end: each image once a round."""
    for number in range(1000):
        order = torch.randperm(there, generator=_stream(spec, "order", number))
        view = torch.randint(9, (there,), generator=_stream(spec, "views", number))
        assert sorted(order.tolist()) == list(range(there))
        yield from ((int(image), int(view[place])) for place, image in enumerate(order))


def seen(image, view: int, split) -> np.ndarray:
    """A normalised view of an image: its crop from zeros around it."""
    row, column = divmod(view, 3)
    height, width = image.shape[1:]
    cut = np.pad(image, [(0, 0), (1, 1), (1, 1)])
    cut = cut[:, row : row + height, column : column + width]
    return (cut / 255 - split.mean[:, None, None]) / split.std[:, None, None]


def trained(spec: dict, place, left: np.ndarray) -> torch.nn.Module:
    """A run of two epochs, KD at T = 4 in the first; `left` are the images without labels.

    Cross-entropy of the labelled, KL of both, the network run once on the joined batch.
    """
    size, beside = spec["recipe"]["batch_size"], spec["method"]["unlabelled"]
    images = spec["data"]["train_size"]
    split = splits.load(spec["data"], place)
    model = models.fresh(spec)
    taught = live.load(spec, place).members[0][1]
    optimiser = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4)
    others = rounds(spec, len(left))
    for epoch in range(2):
        optimiser.param_groups[0]["lr"] = [0.05, 0.01][epoch]
        order, view = loop._presentation(spec, epoch, images, Views.of(spec["data"]["views"]))
        model.train()
        for start in range(0, images, size):
            rows = slice(start, start + size)
            shown = zip(order[rows].tolist(), view[rows].tolist(), strict=True)
            batch = [seen(split.train.images[index], number, split) for index, number in shown]
            y = torch.from_numpy(split.train.labels[order[rows].numpy()])
            if epoch == 0:
                more = [next(others) for _ in range(beside)]
                batch += [seen(left[index], number, split) for index, number in more]
            x = torch.tensor(np.array(batch), dtype=torch.float32)
            logits = model(x)
            loss = F.cross_entropy(logits[: len(y)], y)
            if epoch == 0:
                assert len(x) == len(y) + beside
                p, q = F.softmax(taught(x).detach() / 4, 1), F.log_softmax(logits / 4, 1)
                loss = 0.1 * loss + 0.9 * 16 * (p * (p.log() - q)).sum(1).mean()
            else:
                loss = 0.5 * loss
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    return model


def _stream(spec: dict, purpose: str, number: int) -> torch.Generator:
    found = identity.stream_of(spec, f"unlabelled {purpose}", number)
    return torch.Generator().manual_seed(found)
