"""What is known of weights beside their numbers: the images they want, and what they tell apart.

torchvision says it of its weights: `torchvision_weights.json` beside this file holds it, taken from
torchvision's own `transforms` and `meta` (a test compares), so that a plan needs no torch. An
export of kdpipe says it in its config, timm in one of another form. A plain file of weights says
nothing.
"""

import functools
import json
import os
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from kdpipe.networks.brought import exported, hub
from kdpipe.networks.keys import Brought


@dataclass(frozen=True)
class WeightsCard:
    """The images that weights were made for, and the names of their classes.

    `size` is (height, width); mean and std are of each channel, of pixels in [0, 1], empty where
    the card does not say them for the channels that the network takes. `resize`: to what their
    own rule scales the shorter side of a picture, before it cuts `size` out. `outputs`: how many
    classes, whether or not it names them.
    """

    source: str
    size: tuple[int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: str
    classes: tuple[str, ...]
    outputs: int
    resize: int | None = None


def of(source: Brought) -> WeightsCard | None:
    """The card of what a study names; None of a plain file, and of weights of the Hub not yet here.

    Raises KdpipeError for a bad one.
    """
    if source.weights is not None and hub.is_repository(source.weights):
        config = hub.cached(source.weights, hub.CONFIG)
        return _of_timm(source.weights, config) if config else None
    if source.weights is not None:
        facts = _torchvision()["weights"].get(source.network, {}).get(source.weights)
        return _of_torchvision(source.weights, facts) if facts else None
    if source.path is not None and os.path.isdir(source.path):
        if hub.is_folder(source.path):
            return _of_timm(source.path, Path(source.path) / hub.CONFIG)
        return _of_export(exported.read(Path(source.path)))
    return None


def file(source: Brought) -> str | None:
    """The file of weights that a study means, or that of the folder; None while it is not here.

    Raises KdpipeError for a repository's name that is none.
    """
    if source.weights is not None and hub.is_repository(source.weights):
        path = hub.cached(source.weights, *hub.FILES)
        return str(path) if path else None
    if source.path is None or not os.path.isdir(source.path):
        return source.path
    if hub.is_folder(source.path):
        return hub.file(source.path)
    return os.path.join(source.path, exported.WEIGHTS)


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
        outputs=len(_torchvision()["classes"]),
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
        outputs=len(config["classes"]),
    )


def _of_timm(name: str, config: Path) -> WeightsCard:
    return WeightsCard(source=f"timm's config of {name}", **hub.facts(config))
