"""The modules that families build from: whole classifiers, and the blocks in their groups.

The linear classifier at the end of a network, and its input: the network's embedding.

A probe takes it as features, loss terms compare it, and the trial of a custom network reports
whether there is one.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kdpipe.errors import KdpipeError
from kdpipe.models.family import Architecture
from kdpipe.models.memory_format import MAX_SAFE_SIDE, SAFE_SHORTCUT_CHANNELS
from kdpipe.models.pretrained.adapter import InputAdapter


class StagedNetwork(nn.Module):
    """A network of stem, three groups, tail, average over the image, and linear classifier."""

    def __init__(
        self, stem: nn.Module, stages: list[nn.Module], tail: nn.Module, linear: nn.Linear
    ):
        super().__init__()
        self.stem = stem
        self.groups = nn.ModuleList(stages)
        self.tail = tail
        self.linear = linear

    def features(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return logits (B, C) and the output of each group (B, channels, height, width).

        The group outputs of WideResNet and DenseNet-BC come before the activation that follows.
        """
        x = self.stem(x)
        outputs = []
        for stage in self.groups:
            x = stage(x)
            outputs.append(x)
        return self.linear(self.tail(x).mean((2, 3))), outputs

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (B, C)."""
        return self.features(x)[0]


def build_staged_network(
    stem: nn.Module, stages: list[nn.Module], tail: nn.Module, width: int, classes: int
) -> StagedNetwork:
    """Build a network of these parts at its initial weights.

    Parameters
    ----------
    stem : nn.Module
        What comes before the groups.
    stages : list of nn.Module
        The groups.
    tail : nn.Module
        What comes between the groups and the average over the image.
    width : int
        Output channels of the tail.
    classes : int
        Number of classes.
    """
    model = StagedNetwork(stem, stages, tail, nn.Linear(width, classes))
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
    """A classifier of torchvision for images of 3 x 224 x 224, initialized as by torchvision."""

    def __init__(self, name: str, num_classes: int):
        super().__init__()
        from torchvision.models import get_model  # a second's import, of which few have need

        self.network = get_model(name, weights=None, num_classes=num_classes)

    def features(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return logits and the outputs of the four groups, of a residual network."""
        network: Any = self.network
        outputs = []
        x = network.maxpool(network.relu(network.bn1(network.conv1(x))))
        for stage in (network.layer1, network.layer2, network.layer3, network.layer4):
            x = stage(x)
            outputs.append(x)
        return network.fc(network.avgpool(x).flatten(1)), outputs

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (B, C)."""
        return self.network(x)


Classifier = StagedNetwork | TorchvisionNetwork


def build_residual_stages(block: Callable[..., nn.Module], arch: Architecture) -> list[nn.Module]:
    """Build three groups of residual blocks; groups 2 and 3 begin with stride 2."""
    stages, inputs = [], arch.stem
    for index, width in enumerate(arch.widths):
        first = block(inputs, width, stride=2 if index else 1)
        rest = [block(width, width, stride=1) for _ in range(arch.blocks - 1)]
        stages.append(nn.Sequential(first, *rest))
        inputs = width
    return stages


class PreActivationBlock(nn.Module):
    """A residual block that normalizes, activates and convolves, twice."""

    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        self.before1 = norm_relu(inputs)
        self.conv1 = conv2d(inputs, outputs, 3, stride)
        self.before2 = norm_relu(outputs)
        self.conv2 = conv2d(outputs, outputs, 3)
        # A stride comes only with a change of channels: a group is twice as wide as the last.
        self.shortcut = conv2d(inputs, outputs, 1, stride) if inputs != outputs else None

    def forward(self, x: Tensor) -> Tensor:
        """Return the output of the block."""
        active = self.before1(x)
        residual = self.conv2(self.before2(self.conv1(active)))
        # The projection reads the activated input, the identity the raw one: the authors' code.
        return residual + (x if self.shortcut is None else self.shortcut(active))


class BasicBlock(nn.Module):
    """A residual block that convolves and normalizes, twice, and activates after each.

    `projected`: where the number of channels changes, the input is convolved too.
    """

    def __init__(self, inputs: int, outputs: int, stride: int, projected: bool = False):
        super().__init__()
        self.conv1 = conv2d(inputs, outputs, 3, stride)
        self.after1 = norm_relu(outputs)
        self.conv2 = conv2d(outputs, outputs, 3)
        self.norm2 = HostCountBatchNorm(outputs)
        self.stride = stride
        self.missing = outputs - inputs
        self.shortcut = None
        if projected and self.missing:
            self.shortcut = nn.Sequential(
                conv2d(inputs, outputs, 1, stride), HostCountBatchNorm(outputs)
            )

    def forward(self, x: Tensor) -> Tensor:
        """Return the output of the block."""
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
            conv2d(inputs, 4 * growth, 1),
            norm_relu(4 * growth),
            conv2d(4 * growth, growth, 3),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return the input with the new channels behind it."""
        return torch.cat([x, self.new(x)], dim=1)


def transition_layer(inputs: int) -> nn.Module:
    """Build what is between two dense blocks: it halves channels, height and width."""
    return nn.Sequential(norm_relu(inputs), conv2d(inputs, inputs // 2, 1), nn.AvgPool2d(2))


def conv2d(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Conv2d:
    """Build a convolution without bias, since a normalization follows.

    It is padded, so that a stride of 1 keeps the size.
    """
    conv_class = StridedShortcut if (kernel, stride) == (1, 2) else nn.Conv2d
    return conv_class(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False)


class HostCountBatchNorm(nn.BatchNorm2d):
    """Batch normalization whose batches are counted on the host.

    To count them on a GPU takes a kernel for each layer and step, and nothing here reads the count.
    `num_batches_tracked` is what torch's own would be when the state is read, and after `count`.
    """

    def __init__(self, channels: int):
        super().__init__(channels)
        self.uncounted = 0

    def forward(self, input: Tensor) -> Tensor:
        """Normalize a batch, and count it in training."""
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

    def _save_to_state_dict(self, *args: Any) -> None:
        self.count()
        super()._save_to_state_dict(*args)

    def _load_from_state_dict(self, *args: Any) -> None:
        self.uncounted = 0
        super()._load_from_state_dict(*args)


class StridedShortcut(nn.Conv2d):
    """A 1x1 convolution of stride 2 that avoids torch's crash in channels_last.

    On some CPUs the backward pass of torch 2.14.1 writes beyond its buffers there, for few channels
    and a large even side (`memory_format`). Such images are convolved at every second pixel
    instead; where no crash was seen it stays torch's own, to the byte.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Return the convolution of every second pixel."""
        large = any(side > MAX_SAFE_SIDE and side % 2 == 0 for side in x.shape[2:])
        if x.is_cuda or self.in_channels >= SAFE_SHORTCUT_CHANNELS or not large:
            return super().forward(x)
        return F.conv2d(x[:, :, ::2, ::2], self.weight, self.bias)


def norm_relu(channels: int) -> nn.Module:
    """Build a normalization and an activation."""
    return nn.Sequential(HostCountBatchNorm(channels), nn.ReLU(inplace=True))


def find_head(model: nn.Module, classes: int, name: str) -> nn.Linear:
    """Return the last linear layer with as many outputs as classes.

    Parameters
    ----------
    model : nn.Module
        The network; of an adapted one the classes that it tells apart count, before those of the
        study are picked.
    classes : int
        Number of classes of the study.
    name : str
        Name of the network in the message.

    Raises
    ------
    KdpipeError
        If there is none.
    """
    if isinstance(model, InputAdapter):
        classes = model.input_spec.classes
    layers = [
        module
        for module in model.modules()
        if isinstance(module, nn.Linear) and module.out_features == classes
    ]
    if not layers:
        raise KdpipeError(
            f"{name} has no linear layer with {classes} outputs: only the input of a final linear "
            "classifier can be probed or compared"
        )
    return layers[-1]


class InputHook:
    """Records the input of a network's last linear layer in each forward pass.

    Parameters
    ----------
    model : nn.Module
        The network.
    classes : int
        Number of classes of the study.
    name : str
        Name of the network in messages.
    """

    def __init__(self, model: nn.Module, classes: int, name: str):
        self.name = name
        self.last: tuple[Tensor, Tensor] | None = None  # input and output of the layer
        self.hooks = [find_head(model, classes, name).register_forward_hook(self._record_input)]
        if isinstance(model, InputAdapter):
            self.hooks.append(model.select_classes.register_forward_hook(self._record_selection))

    def _record_input(self, layer: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> None:
        self.last = args[0], output

    def _record_selection(
        self, select: nn.Module, args: tuple[Tensor, ...], output: Tensor
    ) -> None:
        """Take picked classes of the layer's output for the logits of the network."""
        if self.last is not None and self.last[1] is args[0]:
            self.last = self.last[0], output

    def get_input(self, logits: Tensor) -> Tensor:
        """Return the input (B, F) that gave these logits, with its gradient.

        Raises
        ------
        KdpipeError
            If the network does not end in its classifier.
        """
        last, self.last = self.last, None  # it would keep the graph of a step alive
        if last is None or last[0].ndim != 2 or last[1] is not logits:
            raise KdpipeError(
                f"{self.name} does not end in its linear classifier: its input can be neither "
                "probed nor compared"
            )
        return last[0]

    def close(self) -> None:
        """Remove the hooks."""
        for hook in self.hooks:
            hook.remove()


@contextlib.contextmanager
def record_head_input(
    model: nn.Module, classes: int, name: str
) -> Iterator[Callable[[Tensor], Tensor]]:
    """Give a function from images (B, C, H, W) to the classifier's input (B, F), in eval mode.

    The function raises KdpipeError if the network does not end in its classifier.
    """
    model.eval()
    with contextlib.closing(InputHook(model, classes, name)) as hook, torch.inference_mode():
        yield lambda x: hook.get_input(model(x))
