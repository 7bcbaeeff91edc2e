"""How fast this machine trains a network: a few steps on made images, on one thread, as a run."""

import functools
import time

import torch
from torch.nn import functional as F

from kdpipe.networks import models
from kdpipe.networks.family import Shape

STEPS = 3


@functools.cache
def step(network: str, shape: Shape, classes: int, batch: int) -> float:
    """Seconds of one training step of a batch: the fastest of a few, after one that warms up.

    On the first GPU, if there is one, else on one thread of the CPU.
    """
    where = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        model = models.build(network, num_classes=classes, in_channels=shape[0]).to(where)
        model = model.to(memory_format=models.memory_format(network))  # pyright: ignore
        x = torch.rand(batch, *shape, device=where)
        x = x.contiguous(memory_format=models.memory_format(network))
        labels = torch.zeros(batch, dtype=torch.int64, device=where)
        return min([_one(model, x, labels) for _ in range(1 + STEPS)][1:])
    finally:
        torch.set_num_threads(threads)


def _one(model, x: torch.Tensor, labels: torch.Tensor) -> float:
    # On a CPU the work of the thread, not what else the machine does.
    clock = time.perf_counter if x.is_cuda else time.thread_time
    began = clock()
    model.zero_grad()
    F.cross_entropy(model(x), labels).backward()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter -= 1e-4 * parameter.grad
    if x.is_cuda:
        torch.cuda.synchronize()
    return clock() - began
