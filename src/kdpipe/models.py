"""The networks of the paper, built from their names: WideResNet, DenseNet-BC, CIFAR ResNet.

One module runs them all: stem, three groups, tail, average over the image, linear. A family is a
function that makes those parts. Networks for images of 224 are torchvision's own, as it builds
them. What a name means, and what it costs, is `networks`' business.
"""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kdpipe import networks, own_networks
from kdpipe.networks import Network

__all__ = ["Classifier", "build", "layout", "memory_format", "of"]


def of(network: dict, code: Path | None = None) -> "Classifier":
    """The network of a run (`network` of its spec), in the memory format that it runs in.

    Initialised from torch's global generator. `code` is the folder of the modules that build
    networks of one's own. Raises KdpipeError if it cannot be built.
    """
    if "build" in network:
        model: Any = own_networks.build(network, code)
    else:
        model = build(
            network["name"], num_classes=network["classes"], in_channels=network["channels"]
        )
    return model.to(memory_format=layout(network))


def layout(network: dict) -> torch.memory_format:
    """The memory format that the network of a run is used in."""
    if "build" in network:
        return own_networks.LAYOUTS[network["layout"]]
    return memory_format(network["name"])


def build(name: str, *, num_classes: int, in_channels: int) -> "Classifier":
    """The network of that name, initialised from torch's global generator in a fixed order.

    `forward(x)` takes (B, in_channels, H, W) and gives logits (B, num_classes); `features(x)` gives
    (logits, [g1, g2, g3]) with the group outputs that attention transfer compares.
    Raises KdpipeError if there is no such network.
    """
    network = networks.parse(name)
    if network.family == "torchvision":
        return TorchvisionNetwork(name, num_classes)
    stem, groups, tail = FAMILIES[network.family](network, in_channels)
    model = GroupedNetwork(stem, groups, tail, nn.Linear(network.widths[-1], num_classes))
    _initialise(model)
    return model


def memory_format(name: str) -> torch.memory_format:
    """channels_last, which is faster; but contiguous where a convolution has under 8 channels.

    On some CPUs the backward pass of torch 2.14.1 corrupts the heap for a channels_last 1x1
    convolution of stride 2 with 4 or 6 channels.
    """
    narrow = networks.parse(name).narrowest < 8
    return torch.contiguous_format if narrow else torch.channels_last


class GroupedNetwork(nn.Module):
    """stem -> group 1 -> group 2 -> group 3 -> tail -> average over the image -> linear."""

    def __init__(
        self, stem: nn.Module, groups: list[nn.Module], tail: nn.Module, linear: nn.Linear
    ):
        super().__init__()
        self.stem = stem
        self.groups = nn.ModuleList(groups)
        self.tail = tail
        self.linear = linear

    def features(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Logits (B, C) and the output of each group (B, channels, height, width).

        The group outputs of WideResNet and DenseNet-BC come before the activation that follows.
        """
        x = self.stem(x)
        outputs = []
        for group in self.groups:
            x = group(x)
            outputs.append(x)
        return self.linear(self.tail(x).mean((2, 3))), outputs

    def forward(self, x: Tensor) -> Tensor:
        return self.features(x)[0]


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


def _initialise(model: nn.Module) -> None:
    # As in the WideResNet and ResNet papers: normal with variance 2 / (kernel^2 * outputs) for
    # convolutions, no bias in the classifier to begin with. torch's own start stays for the rest:
    # normalisation at weight 1 and bias 0, linear weights uniform in +-1/sqrt(inputs).
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(module, nn.Linear):
            nn.init.zeros_(module.bias)


Parts = tuple[nn.Module, list[nn.Module], nn.Module]  # stem, groups, tail


def _wide_resnet(network: Network, in_channels: int) -> Parts:
    """Zagoruyko and Komodakis 2016, without dropout."""
    groups = _stack(PreActivationBlock, network)
    return _conv(in_channels, network.stem, 3), groups, _norm_relu(network.widths[-1])


def _resnet(network: Network, in_channels: int) -> Parts:
    """He et al. 2015, section 4.2: the ResNet for CIFAR, with shortcuts that have no parameters."""
    stem = nn.Sequential(_conv(in_channels, network.stem, 3), _norm_relu(network.stem))
    return stem, _stack(BasicBlock, network), nn.Identity()


def _densenet_bc(network: Network, in_channels: int) -> Parts:
    """Huang et al. 2017: dense blocks with bottlenecks, and transitions that halve the channels."""
    groups, channels = [], network.stem
    for index, width in enumerate(network.widths):
        layers: list[nn.Module] = []
        if index:
            layers.append(_transition(channels))
            channels //= 2
        layers += [DenseLayer(c, network.growth) for c in range(channels, width, network.growth)]
        groups.append(nn.Sequential(*layers))
        channels = width
    return _conv(in_channels, network.stem, 3), groups, _norm_relu(channels)


def _stack(block: type[nn.Module], network: Network) -> list[nn.Module]:
    """Three groups of residual blocks; the first block of groups 2 and 3 has stride 2."""
    groups, inputs = [], network.stem
    for index, width in enumerate(network.widths):
        first = block(inputs, width, stride=2 if index else 1)
        rest = [block(width, width, stride=1) for _ in range(network.blocks - 1)]
        groups.append(nn.Sequential(first, *rest))
        inputs = width
    return groups


class PreActivationBlock(nn.Module):
    """Normalise, activate, convolve, twice; plus the input."""

    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        self.before1 = _norm_relu(inputs)
        self.conv1 = _conv(inputs, outputs, 3, stride)
        self.before2 = _norm_relu(outputs)
        self.conv2 = _conv(outputs, outputs, 3)
        # A stride comes only with a change of channels: a group is twice as wide as the last.
        self.shortcut = _conv(inputs, outputs, 1, stride) if inputs != outputs else None

    def forward(self, x: Tensor) -> Tensor:
        active = self.before1(x)
        residual = self.conv2(self.before2(self.conv1(active)))
        # The projection reads the activated input, the identity the raw one: the authors' code.
        return residual + (x if self.shortcut is None else self.shortcut(active))


class BasicBlock(nn.Module):
    """Convolve and normalise, twice, with an activation between; plus the input; activate."""

    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        self.conv1 = _conv(inputs, outputs, 3, stride)
        self.after1 = _norm_relu(outputs)
        self.conv2 = _conv(outputs, outputs, 3)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.stride = stride
        self.missing = outputs - inputs

    def forward(self, x: Tensor) -> Tensor:
        residual = self.norm2(self.conv2(self.after1(self.conv1(x))))
        if self.missing:  # option A: every other pixel, zeros for the new channels
            x = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.missing))
        return F.relu(residual + x)


class DenseLayer(nn.Module):
    """A bottleneck of 4 x growth channels, then `growth` new channels beside the input."""

    def __init__(self, inputs: int, growth: int):
        super().__init__()
        self.new = nn.Sequential(
            _norm_relu(inputs),
            _conv(inputs, 4 * growth, 1),
            _norm_relu(4 * growth),
            _conv(4 * growth, growth, 3),
        )

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, self.new(x)], dim=1)


def _transition(inputs: int) -> nn.Module:
    return nn.Sequential(_norm_relu(inputs), _conv(inputs, inputs // 2, 1), nn.AvgPool2d(2))


def _conv(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False)


def _norm_relu(channels: int) -> nn.Module:
    return nn.Sequential(nn.BatchNorm2d(channels), nn.ReLU(inplace=True))


FAMILIES = {"wrn": _wide_resnet, "resnet": _resnet, "densenet-bc": _densenet_bc}
