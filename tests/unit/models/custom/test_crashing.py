"""Networks of one's own whose convolutions crash in channels_last stay contiguous.

Where they do not, the trial of the first of them ends here in a segmentation fault.
"""

import pytest
from torch import nn
from torch.nn import functional as F

from kdpipe.models.config import CustomModelConfig
from kdpipe.models.custom.validate import validate_model


class Residual(nn.Module):
    """A convolution, and a residual block of the given step whose shortcut is one by one."""

    def __init__(self, classes, channels, width, step, kernel, is_function):
        super().__init__()
        self.stem = nn.Conv2d(channels, width, 3, padding=1)
        self.conv = nn.Conv2d(width, 2 * width, 3, step, padding=1)
        self.shortcut = nn.Conv2d(width, 2 * width, kernel, step, padding=kernel // 2, bias=False)
        self.linear = nn.Linear(2 * width, classes)
        self.is_function = is_function

    def forward(self, x):
        x = self.stem(x)
        step, way = self.shortcut.stride, self.shortcut
        side = F.conv2d(x, way.weight, stride=step) if self.is_function else way(x)
        return self.linear(F.relu(self.conv(x) + side).mean((2, 3)))


shape: dict = {}  # of the network to build


def build(num_classes, in_channels):
    return Residual(num_classes, in_channels, **shape)


@pytest.mark.parametrize(
    "width, step, kernel, is_function, sides, layout",
    [
        (8, 2, 1, False, (64, 64), "contiguous"),
        (8, 2, 1, True, (64, 64), "contiguous"),
        (14, 2, 1, False, (96, 96), "contiguous"),
        (8, 2, 1, False, (46, 96), "contiguous"),
        (8, 2, 1, False, (46, 46), "contiguous"),
        (8, 3, 1, False, (99, 99), "contiguous"),
        (8, (1, 2), 1, False, (96, 96), "contiguous"),
        # What never crashed stays as it was, or its runs would get other names.
        (8, 2, 1, False, (44, 44), "channels_last"),
        (8, 2, 1, False, (65, 65), "channels_last"),
        (16, 2, 1, False, (64, 64), "channels_last"),
        (8, 1, 1, False, (64, 64), "channels_last"),
        (8, 2, 3, False, (64, 64), "channels_last"),
    ],
)
def test_it_stays_contiguous(width, step, kernel, is_function, sides, layout):
    shape.update(width=width, step=step, kernel=kernel, is_function=is_function)
    card = validate_model(
        "mine", CustomModelConfig(build=f"{__name__}.build"), (3, *sides), 4, None
    )
    assert card.layout == layout
