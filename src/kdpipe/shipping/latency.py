"""How long exported graphs take for a batch, on this machine.

All of them take turns, in every round each with every batch, the first one another each time: what
the machine does beside falls on all alike. The first rounds are not counted.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

BATCHES = (1, 64)
WARM_UP = 3  # rounds
FEWEST, MOST = 5, 200  # rounds that count
SECONDS = 3.0  # of measuring, if that is enough for the fewest


@dataclass(frozen=True)
class Times:
    """Milliseconds of a batch: the median of `rounds`, and the quartiles."""

    median: float
    low: float
    high: float
    rounds: int


def measure(
    answers: Mapping[str, Callable[[np.ndarray], object]], shape: tuple[int, int, int]
) -> dict[str, dict[int, Times]]:
    """By the name of a graph and the images of a batch.

    answers: what runs each graph on pixels (B, C, H, W) uint8; shape: (C, H, W).
    """
    rng = np.random.default_rng(0)
    pixels = {size: rng.integers(0, 256, (size, *shape), np.uint8) for size in BATCHES}
    turns = [(name, size) for name in answers for size in BATCHES]
    seconds: dict[tuple[str, int], list[float]] = {turn: [] for turn in turns}
    began, round_ = time.perf_counter(), -WARM_UP
    while round_ < FEWEST or (round_ < MOST and time.perf_counter() - began < SECONDS):
        if round_ == 0:
            began = time.perf_counter()
        first = round_ % len(turns)
        for name, size in turns[first:] + turns[:first]:
            start = time.perf_counter()
            answers[name](pixels[size])
            if round_ >= 0:
                seconds[name, size].append(time.perf_counter() - start)
        round_ += 1
    found: dict[str, dict[int, Times]] = {name: {} for name in answers}
    for (name, size), taken in seconds.items():
        low, median, high = (1000 * float(x) for x in np.quantile(taken, (0.25, 0.5, 0.75)))
        found[name][size] = Times(median, low, high, len(taken))
    return found
