"""Built networks, against second implementations."""

import subprocess
import sys

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torchvision.models.densenet import DenseNet
from torchvision.models.resnet import BasicBlock

from kdpipe.errors import KdpipeError
from kdpipe.models import layers
from kdpipe.models.factory import build_named_model, get_named_memory_format


def randomised(name, **options):
    """A float64 model whose normalisations are no identity, so that a swap of two would show."""
    torch.manual_seed(0)
    model = build_named_model(name, **options).double()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter.uniform_(0.5, 1.5)
    return model


@pytest.mark.parametrize("name", ["wrn16-1", "wrn10-2", "wrn10-0.7"])
def test_wide_resnet_is_its_definition(name):
    model = randomised(name, num_classes=10, in_channels=3)
    p = dict(model.named_parameters())
    x = torch.randn(4, 3, 12, 12, dtype=torch.float64)

    def active(h, key):
        return F.relu(F.batch_norm(h, None, None, p[f"{key}.weight"], p[f"{key}.bias"], True))

    h, expected = F.conv2d(x, p["stem.weight"], padding=1), []
    for group in range(3):
        for block in range((int(name[3:5]) - 4) // 6):
            key = f"groups.{group}.{block}"
            stride = 2 if group and not block else 1
            a = active(h, f"{key}.before1.0")
            r = F.conv2d(a, p[f"{key}.conv1.weight"], padding=1, stride=stride)
            r = F.conv2d(active(r, f"{key}.before2.0"), p[f"{key}.conv2.weight"], padding=1)
            if h.shape[1] != r.shape[1]:
                h = F.conv2d(a, p[f"{key}.shortcut.weight"], stride=stride)
            h = h + r
        expected.append(h)
    pooled = active(h, "tail.0").flatten(2).mean(2)
    logits, groups = model.features(x)
    torch.testing.assert_close(logits, pooled @ p["linear.weight"].T + p["linear.bias"])
    torch.testing.assert_close(groups, expected)  # before activation
    torch.testing.assert_close(model(x), logits)


def test_densenet_is_torchvisions():
    model = randomised("densenet-bc22-6", num_classes=10, in_channels=3)
    oracle = DenseNet(6, (3, 3, 3), num_init_features=12, bn_size=4, num_classes=10)
    oracle.features.conv0 = nn.Conv2d(3, 12, 3, padding=1, bias=False)
    for part in ("norm0", "relu0", "pool0"):  # of the stem for large images
        setattr(oracle.features, part, nn.Identity())
    same_output(model, oracle)


def test_resnet_is_torchvisions_with_shortcut_a():
    class ShortcutA(nn.Module):
        def forward(self, x):
            half = x[..., ::2, ::2]
            return torch.cat([half, torch.zeros_like(half)], 1)

    model = randomised("resnet14", num_classes=10, in_channels=3)
    parts = [nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU()]
    parts += [BasicBlock(16, 16), BasicBlock(16, 16)]
    for width in (32, 64):
        parts += [BasicBlock(width // 2, width, 2, ShortcutA()), BasicBlock(width, width)]
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10)]
    same_output(model, nn.Sequential(*parts, *head))


def same_output(model, oracle):
    """Both define their parameters in one order, so those of the one fit the other."""
    oracle.double()
    with torch.no_grad():
        for actual, reference in zip(model.parameters(), oracle.parameters(), strict=True):
            reference.copy_(actual)
    x = torch.randn(4, 3, 12, 12, dtype=torch.float64)
    torch.testing.assert_close(model(x), oracle(x))
    torch.testing.assert_close(model.eval()(x), oracle.eval()(x))  # running statistics


@pytest.mark.parametrize("name", ["wrn16-2", "densenet-bc40-12", "resnet14"])
def test_initialisation(name):
    torch.manual_seed(3)
    model = build_named_model(name, num_classes=10, in_channels=3)
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            assert module.bias is None
            spread = (2 / (module.kernel_size[0] ** 2 * module.out_channels)) ** 0.5
            tolerance = 5 / (2 * module.weight.numel()) ** 0.5  # five standard errors
            assert module.weight.std().item() == pytest.approx(spread, rel=tolerance)
        elif isinstance(module, nn.BatchNorm2d):
            assert (module.weight == 1).all() and (module.bias == 0).all()
        elif isinstance(module, nn.Linear):
            assert (module.bias == 0).all()
            assert 0 < module.weight.abs().max() <= module.in_features**-0.5

    torch.manual_seed(3)
    again = build_named_model(name, num_classes=10, in_channels=3).state_dict()
    assert all(torch.equal(value, again[key]) for key, value in model.state_dict().items())
    other = build_named_model(name, num_classes=10, in_channels=3).state_dict()
    assert not torch.equal(other["linear.weight"], again["linear.weight"])


def test_an_unknown_network_is_refused():
    with pytest.raises(KdpipeError, match="nearest: wrn16-1"):
        build_named_model("wrn-16-1", num_classes=10, in_channels=3)


def test_memory_format():
    fast = ("wrn10-0.5", "wrn16-1", "densenet-bc10-8", "resnet8")
    slow = ("wrn10-0.4375", "wrn10-0.25", "wrn16-0.125", "densenet-bc10-7", "densenet-bc40-4")
    assert {get_named_memory_format(name) for name in fast} == {torch.channels_last}
    assert {get_named_memory_format(name) for name in slow} == {torch.contiguous_format}


@pytest.mark.parametrize("name", ["wrn10-1", "densenet-bc10-8", "resnet8"])
def test_memory_format_changes_no_result(name):
    model = randomised(name, num_classes=10, in_channels=3)
    x = torch.randn(4, 3, 9, 9, dtype=torch.float64)

    def gradients(layout):
        model.zero_grad()
        model.to(memory_format=layout)(x.to(memory_format=layout)).square().sum().backward()
        return [parameter.grad.clone() for parameter in model.parameters()]

    torch.testing.assert_close(
        gradients(torch.contiguous_format), gradients(torch.channels_last), check_stride=False
    )


NARROW = [
    *(f"wrn10-{channels / 16:g}" for channels in range(1, 17)),
    *("wrn16-0.125", "wrn16-0.25", "wrn16-0.375"),
    *(f"densenet-bc10-{growth}" for growth in range(1, 13)),
    *("densenet-bc16-3", "resnet8", "resnet14"),
]
ONE_STEP = """
import sys, torch
from kdpipe.models.factory import build_named_model, get_named_memory_format
torch.set_num_threads(1)
for name in sys.argv[1:]:
    layout = get_named_memory_format(name)
    model = build_named_model(name, num_classes=10, in_channels=1).to(memory_format=layout)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    for _ in range(2):
        optimizer.zero_grad()
        images = torch.randn(16, 1, 8, 8).to(memory_format=layout)
        torch.nn.functional.cross_entropy(model(images), torch.arange(16) % 10).backward()
        optimizer.step()
    assert all(p.isfinite().all() and p.grad.isfinite().all() for p in model.parameters())
    print(name, flush=True)
"""


def test_narrow_networks_train():
    # In a process of its own: what it guards against is a corrupted heap, which kills the process.
    result = subprocess.run([sys.executable, "-c", ONE_STEP, *NARROW], capture_output=True)
    assert result.stdout.decode().split() == NARROW, result.stderr.decode()
    assert result.returncode == 0


LARGE_IMAGES = """
import sys, torch
from kdpipe.models.layers import conv2d
torch.set_num_threads(1)
for channels in (8, 12, 15):
    for side in (44, 46, 64, 96):
        layer = conv2d(channels, 2 * channels, 1, 2)
        found = []
        for layout in (torch.contiguous_format, torch.channels_last):
            torch.manual_seed(side)
            x = torch.randn(32, channels, side, side).to(memory_format=layout).requires_grad_()
            layer.zero_grad()
            layer.to(memory_format=layout)(x).square().sum().backward()
            found.append((x.grad, layer.weight.grad.clone()))
        for one, other in zip(*found):
            torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-3, check_stride=False)
print("whole")
"""


def test_narrow_shortcuts_of_large_images_do_not_crash():
    """The backward pass of torch alone segfaults there on some CPUs, so in its own process."""
    process = subprocess.run([sys.executable, "-c", LARGE_IMAGES], capture_output=True, text=True)
    assert process.stdout == "whole\n", (process.returncode, process.stderr[-500:])


@pytest.mark.parametrize("side", [8, 32, 44, 63])
def test_where_nothing_crashes_a_shortcut_is_torchs_own_to_the_byte(side):
    layer, x = layers.conv2d(8, 16, 1, 2), torch.randn(4, 8, side, side)
    x = x.contiguous(memory_format=torch.channels_last)
    layer.to(memory_format=torch.channels_last)

    def gradients(forward):
        layer.zero_grad()
        forward(x).square().sum().backward()
        return layer.weight.grad.clone()

    own = gradients(lambda x: F.conv2d(x, layer.weight, stride=2))
    assert torch.equal(gradients(layer), own)
