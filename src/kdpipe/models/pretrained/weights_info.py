"""Metadata of pretrained weights: their input and their classes.

For torchvision's weights it is in `torchvision_weights.json` next to this file, taken from
torchvision's own `transforms` and `meta` (a test compares), so that a plan needs no torch. An
export of kdpipe has it in its config, and timm in another format. A plain file has none.

A network that starts from weights, as in the specs of its runs.

It has the name that the study gives it, in place of the name of a network; `start` specifies which
network that is, and everything that determines how it is initialized and trained (see
`weights.load_init`). `input_transform.inner_spec` is the network itself.
"""

import functools
import json
import os
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from kdpipe import hashing
from kdpipe.models import registry
from kdpipe.models.config import InitFrom, PretrainedWeights
from kdpipe.models.pretrained import hub, kdpipe_export
from kdpipe.runs.spec import InitSpec, ModelSpec


@dataclass(frozen=True)
class WeightsInfo:
    """The images and classes that weights were trained for.

    Attributes
    ----------
    source : str
        Where it is specified, for messages.
    size : tuple of int
        Height and width.
    mean, std : tuple of float
        Per channel, for pixels in [0, 1]; empty where they are not specified for the channels of
        the network.
    interpolation : str
        How images are resized.
    classes : tuple of str
        Names of the classes; empty where they are not specified.
    outputs : int
        Number of classes.
    resize : int or None
        Length of the shorter side to which an image is resized before `size` is cropped from it.
    """

    source: str
    size: tuple[int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: str
    classes: tuple[str, ...]
    outputs: int
    resize: int | None = None


def load_weights_info(source: PretrainedWeights) -> WeightsInfo | None:
    """Return the metadata of the weights that a study names.

    Returns
    -------
    WeightsInfo or None
        None for a plain file, and for weights that are not in the cache of the Hub.

    Raises
    ------
    KdpipeError
        If a config cannot be read.
    """
    if source.weights is not None and hub.is_repository(source.weights):
        config = hub.find_cached(source.weights, hub.CONFIG_FILE)
        return _info_from_timm(source.weights, config) if config else None
    if source.weights is not None:
        entry = _load_torchvision_table()["weights"].get(source.network, {}).get(source.weights)
        return _info_from_torchvision(source.weights, entry) if entry else None
    if source.path is not None and os.path.isdir(source.path):
        if hub.is_timm_folder(source.path):
            return _info_from_timm(source.path, Path(source.path) / hub.CONFIG_FILE)
        return _info_from_export(kdpipe_export.read_export_config(Path(source.path)))
    return None


def find_weights_file(source: PretrainedWeights) -> str | None:
    """Return the weights file that a study names, or that of the named folder.

    Returns
    -------
    str or None
        None while it is not on this machine.

    Raises
    ------
    KdpipeError
        For a malformed name of a repository.
    """
    if source.weights is not None and hub.is_repository(source.weights):
        path = hub.find_cached(source.weights, *hub.WEIGHTS_FILES)
        return str(path) if path else None
    if source.path is None or not os.path.isdir(source.path):
        return source.path
    if hub.is_timm_folder(source.path):
        return hub.choose_weights_file(source.path)
    return os.path.join(source.path, kdpipe_export.WEIGHTS_FILE)


@functools.cache
def _load_torchvision_table() -> dict:
    text = resources.files("kdpipe.models.pretrained").joinpath("torchvision_weights.json")
    return json.loads(text.read_text("utf-8"))


def _info_from_torchvision(name: str, entry: dict) -> WeightsInfo:
    return WeightsInfo(
        source=f"torchvision's {name}",
        size=(entry["size"], entry["size"]),
        mean=tuple(entry["mean"]),
        std=tuple(entry["std"]),
        interpolation=entry["interpolation"],
        classes=tuple(_load_torchvision_table()["classes"]),
        outputs=len(_load_torchvision_table()["classes"]),
        resize=entry["resize"],
    )


def _info_from_export(config: dict) -> WeightsInfo:
    input_config = config["input"]
    return WeightsInfo(
        source=f"the export of {config['run']}",
        size=(input_config["height"], input_config["width"]),
        mean=tuple(input_config["mean"]),
        std=tuple(input_config["std"]),
        interpolation="bilinear",  # as kdpipe resizes images
        classes=tuple(config["classes"]),
        outputs=len(config["classes"]),
    )


def _info_from_timm(name: str, config: Path) -> WeightsInfo:
    return WeightsInfo(source=f"timm's config of {name}", **hub.parse_config(config))


PATTERN_KEYS = ("new", "unused", "freeze")


def get_checksum(source: PretrainedWeights) -> str | None:
    """Return the SHA-256 of a file of weights; of torchvision's, its first digits."""
    if source.weights is None:
        return source.sha256
    return registry.list_weights(source.network).get(source.weights, source.sha256)


def build_init_spec(start: InitFrom) -> InitSpec:
    """Build the `start` in the network of a spec."""
    return InitSpec(
        start_revision=hashing.REVISIONS["start"],
        network=start.network,
        weights=start.weights,
        sha256=get_checksum(start),
        new=sorted(set(start.new)),
        unused=sorted(set(start.unused)),
        freeze=["*"] if start.probe else sorted(set(start.freeze)),
        backbone_lr=start.backbone_lr,
    )


def is_valid_init(network: ModelSpec) -> bool:
    """Return whether the `start` in the network of a spec is well formed."""
    start = network.start
    return bool(
        start is not None
        and isinstance(start.network, str)
        and all(isinstance(value, str) or value is None for value in (start.weights, start.sha256))
        and (start.weights or start.sha256)
        and all(isinstance(pattern, str) for key in PATTERN_KEYS for pattern in getattr(start, key))
        and 0 < start.backbone_lr <= 1
    )
