"""What is known of weights beside their numbers: the images they want, and what they tell apart.

torchvision says it of its weights: `torchvision_weights.json` beside this file holds it, taken from
torchvision's own `transforms` and `meta` (a test compares), so that a plan needs no torch. An
export of kdpipe says it in its config. A plain file of weights says nothing.
"""

import functools
import json
import os
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from kdpipe.networks.brought import exported
from kdpipe.networks.keys import Brought


@dataclass(frozen=True)
class WeightsCard:
    """The images that weights were made for, and the names of their classes.

    `size` is (height, width); mean and std are of each channel, of pixels in [0, 1]. `resize`: to
    what torchvision's own rule scales the shorter side of a picture, before it cuts `size` out.
    """

    source: str
    size: tuple[int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: str
    classes: tuple[str, ...]
    resize: int | None = None


def of(source: Brought) -> WeightsCard | None:
    """The card of what a study names; None of a plain file. Raises KdpipeError for a bad export."""
    if source.weights is not None:
        facts = _torchvision()["weights"].get(source.network, {}).get(source.weights)
        return _of_torchvision(source.weights, facts) if facts else None
    if source.path is not None and os.path.isdir(source.path):
        return _of_export(exported.read(Path(source.path)))
    return None


def file(path: str) -> str:
    """The file of weights that a path means: itself, or that of an export."""
    return os.path.join(path, exported.WEIGHTS) if os.path.isdir(path) else path


@functools.cache
def _torchvision() -> dict:
    text = resources.files("kdpipe.networks.brought").joinpath("torchvision_weights.json")
    return json.loads(text.read_text())


def _of_torchvision(name: str, facts: dict) -> WeightsCard:
    return WeightsCard(
        source=f"torchvision's {name}",
        size=(facts["size"], facts["size"]),
        mean=tuple(facts["mean"]),
        std=tuple(facts["std"]),
        interpolation=facts["interpolation"],
        classes=tuple(_torchvision()["classes"]),
        resize=facts["resize"],
    )


def _of_export(config: dict) -> WeightsCard:
    given = config["input"]
    return WeightsCard(
        source=f"the export of {config['run']}",
        size=(given["height"], given["width"]),
        mean=tuple(given["mean"]),
        std=tuple(given["std"]),
        interpolation="bilinear",  # as kdpipe scales images
        classes=tuple(config["classes"]),
    )
