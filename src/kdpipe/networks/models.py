"""The network of a run, built: by the family that knows its name, or by one's own callable.

What a name means, and what it costs, is the business of `naming`.
"""

from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from kdpipe.identity import stream_of
from kdpipe.networks import layouts, naming
from kdpipe.networks.blocks import Classifier
from kdpipe.networks.brought import fed
from kdpipe.networks.brought.adapted import Adapted
from kdpipe.networks.own import building


def fresh(spec: dict, code: Path | None = None) -> Classifier:
    """The network of a spec at its initial weights; the global generator is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stream_of(spec, "init"))
        return of(spec["network"], code)


def of(network: dict, code: Path | None = None) -> Classifier:
    """The network of a run (`network` of its spec), in the memory format that it runs in.

    Initialised from torch's global generator. `code` is the folder of the modules that build
    networks of one's own. One that brings its weights and wants other images than the run's is
    adapted to these (`brought`). Raises KdpipeError if it cannot be built.
    """
    inner = fed.inner(network)
    if "build" in network:
        model: Any = building.build(inner, code)
    else:
        model = build(inner["name"], num_classes=inner["classes"], in_channels=inner["channels"])
    model = model.to(memory_format=layout(network))
    if "input" in network:
        model = Adapted(model, network["channels"], network["input"], layout(network))
    return model


def put(model: nn.Module, state: Mapping[str, torch.Tensor]) -> None:
    """Put weights into a network by name: those of a file, which says no more than names.

    A layer may take up only a state that says of which version of the layer it is (torchvision's
    MNASNet does): the files are kept apart by revisions, so it is that of the code that is here.
    """
    versioned: Any = OrderedDict(state)
    current: Any = model.state_dict()
    versioned._metadata = current._metadata
    model.load_state_dict(versioned)


def layout(network: dict) -> torch.memory_format:
    """The memory format that the network of a run is used in."""
    if "build" in network:
        return layouts.memory_format(network["layout"])
    return memory_format(fed.inner(network)["name"])


def build(name: str, *, num_classes: int, in_channels: int) -> Classifier:
    """The network of that name, initialised from torch's global generator in a fixed order.

    `forward(x)` takes (B, in_channels, H, W) and gives logits (B, num_classes); `features(x)` gives
    (logits, [g1, g2, g3]) with the group outputs that attention transfer compares.
    Raises KdpipeError if there is no such network.
    """
    kind, network = naming.known(name)
    return naming.families()[kind].build(network, num_classes, in_channels)


def memory_format(name: str) -> torch.memory_format:
    """The memory format that a network known by its name is used in."""
    return layouts.memory_format(layouts.of(naming.parse(name).narrowest))
