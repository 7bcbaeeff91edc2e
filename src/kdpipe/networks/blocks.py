"""The modules that families build from: whole classifiers, and the blocks in their groups."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kdpipe.networks.family import Network
from kdpipe.networks.layouts import SAFE, SMALL


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


def grouped_network(
    stem: nn.Module, groups: list[nn.Module], tail: nn.Module, width: int, classes: int
) -> GroupedNetwork:
    """A network of these parts, whose tail puts out `width` channels, at its initial weights."""
    model = GroupedNetwork(stem, groups, tail, nn.Linear(width, classes))
    # As in the WideResNet and ResNet papers: normal with variance 2 / (kernel^2 * outputs) for
    # convolutions, no bias in the classifier to begin with. torch's own start stays for the rest:
    # normalisation at weight 1 and bias 0, linear weights uniform in +-1/sqrt(inputs).
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(module, nn.Linear):
            nn.init.zeros_(module.bias)
    return model


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


def stack(block: Callable[..., nn.Module], network: Network) -> list[nn.Module]:
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
        self.before1 = norm_relu(inputs)
        self.conv1 = conv(inputs, outputs, 3, stride)
        self.before2 = norm_relu(outputs)
        self.conv2 = conv(outputs, outputs, 3)
        # A stride comes only with a change of channels: a group is twice as wide as the last.
        self.shortcut = conv(inputs, outputs, 1, stride) if inputs != outputs else None

    def forward(self, x: Tensor) -> Tensor:
        active = self.before1(x)
        residual = self.conv2(self.before2(self.conv1(active)))
        # The projection reads the activated input, the identity the raw one: the authors' code.
        return residual + (x if self.shortcut is None else self.shortcut(active))


class BasicBlock(nn.Module):
    """Convolve and normalise, twice, with an activation between; plus the input; activate.

    `projected`: where the number of channels changes, the input is convolved too.
    """

    def __init__(self, inputs: int, outputs: int, stride: int, projected: bool = False):
        super().__init__()
        self.conv1 = conv(inputs, outputs, 3, stride)
        self.after1 = norm_relu(outputs)
        self.conv2 = conv(outputs, outputs, 3)
        self.norm2 = Norm(outputs)
        self.stride = stride
        self.missing = outputs - inputs
        self.shortcut = None
        if projected and self.missing:
            self.shortcut = nn.Sequential(conv(inputs, outputs, 1, stride), Norm(outputs))

    def forward(self, x: Tensor) -> Tensor:
        residual = self.norm2(self.conv2(self.after1(self.conv1(x))))
        if self.shortcut is not None:
            x = self.shortcut(x)
        elif self.missing:  # option A: every other pixel, zeros for the new channels
            x = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.missing))
        return F.relu(residual + x)


class DenseLayer(nn.Module):
    """A bottleneck of 4 x growth channels, then `growth` new channels beside the input."""

    def __init__(self, inputs: int, growth: int):
        super().__init__()
        self.new = nn.Sequential(
            norm_relu(inputs),
            conv(inputs, 4 * growth, 1),
            norm_relu(4 * growth),
            conv(4 * growth, growth, 3),
        )

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, self.new(x)], dim=1)


def transition(inputs: int) -> nn.Module:
    """Between two dense blocks: half the channels, half the height and width."""
    return nn.Sequential(norm_relu(inputs), conv(inputs, inputs // 2, 1), nn.AvgPool2d(2))


def conv(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Conv2d:
    """Padded, so that a stride of 1 keeps the size; normalisation has the bias."""
    kind = Shortcut if (kernel, stride) == (1, 2) else nn.Conv2d
    return kind(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False)


class Norm(nn.BatchNorm2d):
    """Batch normalisation whose batches are counted on the host.

    To count them on a GPU is a kernel for each layer and step, and nothing here reads the count.
    `num_batches_tracked` is what torch's own would be wherever the state is asked for, and after
    `count`.
    """

    def __init__(self, channels: int):
        super().__init__(channels)
        self.uncounted = 0

    def forward(self, input: Tensor) -> Tensor:
        if not self.training or torch.compiler.is_compiling():
            return super().forward(input)
        self.uncounted += 1
        factors = self.weight, self.bias, True, self.momentum or 0.0, self.eps
        return F.batch_norm(input, self.running_mean, self.running_var, *factors)

    def count(self) -> None:
        """Bring `num_batches_tracked` up to date."""
        if self.uncounted and self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(self.uncounted)
        self.uncounted = 0

    def _save_to_state_dict(self, *given: Any) -> None:
        self.count()
        super()._save_to_state_dict(*given)

    def _load_from_state_dict(self, *given: Any) -> None:
        self.uncounted = 0
        super()._load_from_state_dict(*given)


class Shortcut(nn.Conv2d):
    """A 1x1 convolution of stride 2, of every second pixel where its own backward pass crashes.

    On some CPUs torch 2.14.1 writes beyond its buffers there, of channels_last images (`layouts`):
    of few channels and a large even side. Where it was never seen to crash it stays as it is, to
    the byte.
    """

    def forward(self, x: Tensor) -> Tensor:
        large = any(side > SMALL and side % 2 == 0 for side in x.shape[2:])
        if x.is_cuda or self.in_channels >= SAFE or not large:
            return super().forward(x)
        return F.conv2d(x[:, :, ::2, ::2], self.weight)


def norm_relu(channels: int) -> nn.Module:
    """Normalise, activate."""
    return nn.Sequential(Norm(channels), nn.ReLU(inplace=True))
