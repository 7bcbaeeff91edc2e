"""The networks of the paper, built from their names: WideResNet, DenseNet-BC, CIFAR ResNet.

One module runs them all: stem, three groups, tail, average over the image, linear. A family is a
function that makes those parts. Networks for images of 224 are torchvision's own, as it builds
them. What a name means, and what it costs, is `networks`' business.
"""

"""TODO networks.models, from training."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from kdpipe.identity import stream_of
from kdpipe.networks import naming
from kdpipe.networks.blocks import (
    BasicBlock,
    DenseLayer,
    GroupedNetwork,
    Parts,
    PreActivationBlock,
    conv,
    initialise,
    norm_relu,
    stack,
    transition,
)
from kdpipe.networks.family import Network
from kdpipe.networks.own import building


def of(network: dict, code: Path | None = None) -> "Classifier":
    """The network of a run (`network` of its spec), in the memory format that it runs in.

    Initialised from torch's global generator. `code` is the folder of the modules that build
    networks of one's own. Raises KdpipeError if it cannot be built.
    """
    if "build" in network:
        model: Any = building.build(network, code)
    else:
        model = build(
            network["name"], num_classes=network["classes"], in_channels=network["channels"]
        )
    return model.to(memory_format=layout(network))


def layout(network: dict) -> torch.memory_format:
    """The memory format that the network of a run is used in."""
    if "build" in network:
        return building.LAYOUTS[network["layout"]]
    return memory_format(network["name"])


def build(name: str, *, num_classes: int, in_channels: int) -> "Classifier":
    """The network of that name, initialised from torch's global generator in a fixed order.

    `forward(x)` takes (B, in_channels, H, W) and gives logits (B, num_classes); `features(x)` gives
    (logits, [g1, g2, g3]) with the group outputs that attention transfer compares.
    Raises KdpipeError if there is no such network.
    """
    network = naming.parse(name)
    if network.family == "torchvision":
        return TorchvisionNetwork(name, num_classes)
    stem, groups, tail = FAMILIES[network.family](network, in_channels)
    model = GroupedNetwork(stem, groups, tail, nn.Linear(network.widths[-1], num_classes))
    initialise(model)
    return model


def memory_format(name: str) -> torch.memory_format:
    """channels_last, which is faster; but contiguous where a convolution has under 8 channels.

    On some CPUs the backward pass of torch 2.14.1 corrupts the heap for a channels_last 1x1
    convolution of stride 2 with 4 or 6 channels.
    """
    narrow = naming.parse(name).narrowest < 8
    return torch.contiguous_format if narrow else torch.channels_last


class TorchvisionNetwork(nn.Module):
    """A classifier of torchvision, for images of 3 x 224 x 224, initialised as it does itself."""

    def __init__(self, name: str, num_classes: int):
        super().__init__()
        from torchvision.models import get_model  # a second's import, of which few have need

        self.network = get_model(name, weights=None, num_classes=num_classes)

    def features(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Logits and the outputs of the four groups; only of a residual network."""
        network: Any = self.network
        outputs = []
        x = network.maxpool(network.relu(network.bn1(network.conv1(x))))
        for group in (network.layer1, network.layer2, network.layer3, network.layer4):
            x = group(x)
            outputs.append(x)
        return network.fc(network.avgpool(x).flatten(1)), outputs

    def forward(self, x: Tensor) -> Tensor:
        return self.network(x)


Classifier = GroupedNetwork | TorchvisionNetwork


def _wide_resnet(network: Network, in_channels: int) -> Parts:
    """Zagoruyko and Komodakis 2016, without dropout."""
    groups = stack(PreActivationBlock, network)
    return conv(in_channels, network.stem, 3), groups, norm_relu(network.widths[-1])


def _resnet(network: Network, in_channels: int) -> Parts:
    """He et al. 2015, section 4.2: the ResNet for CIFAR, with shortcuts that have no parameters."""
    stem = nn.Sequential(conv(in_channels, network.stem, 3), norm_relu(network.stem))
    return stem, stack(BasicBlock, network), nn.Identity()


def _densenet_bc(network: Network, in_channels: int) -> Parts:
    """Huang et al. 2017: dense blocks with bottlenecks, and transitions that halve the channels."""
    groups, channels = [], network.stem
    for index, width in enumerate(network.widths):
        layers: list[nn.Module] = []
        if index:
            layers.append(transition(channels))
            channels //= 2
        layers += [DenseLayer(c, network.growth) for c in range(channels, width, network.growth)]
        groups.append(nn.Sequential(*layers))
        channels = width
    return conv(in_channels, network.stem, 3), groups, norm_relu(channels)


FAMILIES = {"wrn": _wide_resnet, "resnet": _resnet, "densenet-bc": _densenet_bc}


def fresh(spec: dict, code: Path | None = None) -> Classifier:
    """The network of a spec at its initial weights; the global generator is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stream_of(spec, "init"))
        return of(spec["network"], code)
