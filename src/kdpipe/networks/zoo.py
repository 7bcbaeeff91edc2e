"""torchvision's classifiers: what is known of each without importing torch.

`zoo.json` was measured once, on images of 3 x 224 x 224, from torchvision itself (a test measures
some of it again): parameters and multiply-adds, those of a class apart; whether it drops
activations at random in training; what its four groups put out, where it has groups; and its
weights, by torchvision's name, with the digits of their SHA-256 that torchvision verifies. Of the
few whose last layer is not linear it says so.
"""

import functools
import json
from dataclasses import dataclass
from importlib import resources

SHAPE = (3, 224, 224)


@dataclass(frozen=True)
class Facts:
    """One network of torchvision."""

    parameters: int
    parameters_per_class: int
    multiply_adds: int
    multiply_adds_per_class: int
    random: bool
    groups: tuple[tuple[int, int, int], ...]
    weights: dict[str, str]
    linear: bool = True  # whether the last layer is one


def names() -> list[str]:
    return sorted(_table())


def facts(name: str) -> Facts | None:
    """What is known of a network; None if torchvision has no such classifier."""
    return _table().get(name)


@functools.cache
def _table() -> dict[str, Facts]:
    text = resources.files("kdpipe").joinpath("zoo.json").read_text()
    return {
        name: Facts(**{**known, "groups": tuple(tuple(shape) for shape in known["groups"])})
        for name, known in json.loads(text).items()
    }
