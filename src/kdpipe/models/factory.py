"""Build the network of a run: by the family that knows its name, or by a custom callable.

What a name stands for, and what a network costs, is in `registry`.
"""

from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from kdpipe.hashing import derive_run_seed
from kdpipe.models import memory_format, registry
from kdpipe.models.custom import builder
from kdpipe.models.layers import Classifier
from kdpipe.models.pretrained import input_transform
from kdpipe.models.pretrained.adapter import InputAdapter
from kdpipe.runs.spec import ModelSpec, RunSpec


def create_model(spec: RunSpec, code: Path | None = None) -> Classifier:
    """Build the network of a spec at its initial weights; leave the global generator as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_run_seed(spec, "init"))
        return build_model(spec.network, code)


def build_model(network: ModelSpec, code: Path | None = None) -> Classifier:
    """Build the network of a run, initialized from torch's global generator.

    Parameters
    ----------
    network : ModelSpec
        The `network` of the run's spec. A pretrained one that takes other images than the run's is
        wrapped in an adapter (`pretrained.adapter`).
    code : Path, optional
        Folder of the modules that build custom networks.

    Returns
    -------
    nn.Module
        In the memory format that it runs in.

    Raises
    ------
    KdpipeError
        If it cannot be built.
    """
    inner = input_transform.inner_spec(network)
    if network.build:
        model: Any = builder.build_custom_model(inner, code)
    else:
        model = build_named_model(inner.name, num_classes=inner.classes, in_channels=inner.channels)
    model = model.to(memory_format=get_memory_format(network))
    if network.input:
        model = InputAdapter(model, network.channels, network.input, get_memory_format(network))
    return model


def load_state(model: nn.Module, state: Mapping[str, torch.Tensor]) -> None:
    """Load weights by name, from a file that holds no more than names and tensors.

    A layer may accept only a state with the version of the layer (torchvision's MNASNet does).
    Files are kept apart by revisions, so it is the version of the code that is here.
    """
    versioned: Any = OrderedDict(state)
    current: Any = model.state_dict()
    versioned._metadata = current._metadata
    model.load_state_dict(versioned)


def get_memory_format(network: ModelSpec) -> torch.memory_format:
    """Return the memory format that the network of a run is used in."""
    if network.build:
        return memory_format.torch_memory_format(network.layout)
    return get_named_memory_format(input_transform.inner_spec(network).name)


def build_named_model(name: str, *, num_classes: int, in_channels: int) -> Classifier:
    """Build a network by its name, initialized from torch's global generator in a fixed order.

    Its `forward(x)` takes (B, in_channels, H, W) and gives logits (B, num_classes); `features(x)`
    gives (logits, [g1, g2, g3]) with the group outputs that attention transfer compares.

    Raises
    ------
    KdpipeError
        If there is no such network.
    """
    family_name, arch = registry.lookup_name(name)
    return registry.load_families()[family_name].build(arch, num_classes, in_channels)


def get_named_memory_format(name: str) -> torch.memory_format:
    """Return the memory format of a network that is known by its name."""
    return memory_format.torch_memory_format(
        memory_format.choose_memory_format(registry.parse_name(name).narrowest)
    )
