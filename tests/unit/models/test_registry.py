"""Names and costs, against parameter counts printed in the paper and worked out by hand."""

import re
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdpipe.errors import KdpipeError
from kdpipe.models import registry

CIFAR = (3, 32, 32)


@pytest.mark.parametrize(
    ("name", "classes", "parameters"),
    [
        ("wrn16-1", 10, 175_066),
        ("wrn16-1", 100, 180_916),
        ("wrn16-4", 10, 2_748_890),
        ("wrn16-4", 100, 2_772_020),
        ("wrn28-10", 10, 36_479_194),
        ("wrn28-10", 100, 36_536_884),
        ("wrn40-2", 10, 2_243_546),
        ("wrn40-2", 100, 2_255_156),
    ],
)
def test_known_parameter_counts(name, classes, parameters):
    assert registry.compute_cost(name, CIFAR, classes).parameters == parameters


@pytest.mark.parametrize(
    ("name", "millions"),
    [
        # Printed in the paper.
        ("wrn40-1", "0.56"),
        ("wrn52-1", "0.76"),
        ("wrn64-1", "0.95"),
        ("wrn76-1", "1.15"),
        ("wrn88-1", "1.34"),
        ("wrn100-1", "1.54"),
        ("wrn154-1", "2.41"),
        ("wrn250-1", "3.97"),
        ("densenet-bc40-24", "0.69"),
        ("densenet-bc100-12", "0.77"),
        ("densenet-bc40-48", "2.73"),
        ("densenet-bc100-24", "3.02"),
        ("densenet-bc40-12", "0.176"),
        ("resnet8", "0.075"),
        ("resnet14", "0.173"),
        # Worked out from the definition.
        ("wrn16-2", "0.692"),
        ("wrn16-3", "1.550"),
        ("wrn16-6", "6.172"),
        ("wrn16-8", "10.961"),
        ("wrn28-1", "0.369"),
        ("wrn28-2", "1.468"),
        ("wrn28-3", "3.294"),
        ("wrn28-4", "5.849"),
        ("wrn28-6", "13.145"),
        ("wrn28-8", "23.355"),
    ],
)
def test_parameter_counts_of_the_paper(name, millions):
    decimals = len(millions.split(".")[1])
    assert f"{registry.compute_cost(name, CIFAR, 10).parameters / 1e6:.{decimals}f}" == millions


def test_multiply_adds_by_hand():
    # resnet8 on one grey 4 x 4 image: sides 4, 2, 1, so 16, 4 and 1 pixels.
    stem = 9 * 1 * 16 * 16
    groups = 2 * 9 * 16 * 16 * 16, 9 * (16 + 32) * 32 * 4, 9 * (32 + 64) * 64 * 1
    assert (
        registry.compute_cost("resnet8", (1, 4, 4), 10).multiply_adds
        == stem + sum(groups) + 64 * 10
    )


def test_group_shapes():
    assert registry.compute_stage_shapes("wrn16-4", CIFAR) == [
        (64, 32, 32),
        (128, 16, 16),
        (256, 8, 8),
    ]
    assert registry.compute_stage_shapes("densenet-bc40-12", CIFAR) == [
        (96, 32, 32),
        (120, 16, 16),
        (132, 8, 8),
    ]
    # An odd side: a convolution keeps the last pixel, a pooling drops it.
    assert [s[1:] for s in registry.compute_stage_shapes("resnet8", (1, 7, 9))] == [
        (7, 9),
        (4, 5),
        (2, 3),
    ]
    odd = registry.compute_stage_shapes("densenet-bc10-8", (1, 7, 9))
    assert [s[1:] for s in odd] == [(7, 9), (3, 4), (1, 2)]


@pytest.mark.parametrize(
    ("name", "widths"),
    [
        ("wrn10-0.5", (8, 16, 32)),
        ("wrn10-0.7", (11, 22, 44)),
        ("wrn10-1.1", (17, 35, 70)),
        ("wrn10-0.0625", (1, 2, 4)),
    ],
)
def test_fractional_widths_are_cut_off(name, widths):
    network = registry.parse_name(name)
    assert network.widths == widths and network.stem == 16


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("wrn11-1", "depth must be 6n+4, from 10 to 1996, not 11; nearest: wrn10-1, wrn16-1;"),
        ("wrn4-1", "not 4; nearest: wrn10-1"),
        ("wrn2002-1", "not 2002; nearest: wrn1990-1, wrn1996-1;"),
        ("densenet-bc41-12", "not 41; nearest: densenet-bc40-12, densenet-bc46-12;"),
        ("wrn10-1.0", "must be written 'wrn10-1'"),
        ("wrn10-01", "must be written 'wrn10-1'"),
        ("wrn010-1", "must be written 'wrn10-1'"),
        ("wrn10-.5", "must be written 'wrn10-0.5'"),
        ("wrn10-0.50", "must be written 'wrn10-0.5'"),
        ("wrn16-1001", "width must be at most 1000, not 1001; nearest: wrn16-1000;"),
        ("wrn16-0.01", "int(16 * width) >= 1 channel, not 0.01; nearest: wrn16-0.0625;"),
        ("densenet-bc40-12.5", "growth must be a whole number of at least 1, not 12.5; nearest:"),
        ("densenet-bc41-0", "not 41 and growth must be a whole number of at least 1, not 0;"),
        ("wrn_16_1", "there is no network 'wrn_16_1'; nearest: wrn16-1"),
        ("WRN16-1", "nearest: wrn16-1"),
        ("wnr22-0.5", "nearest: wrn22-0.5"),
        ("densenet40-12", "nearest: densenet-bc40-12"),
        ("resnet9", "nearest: resnet8"),
        ("resnet08", "nearest: resnet8"),
        ("wrn16-1\n", "nearest: wrn16-1"),
        ("wrn999999999999-1", "there is no network"),
        ("", "there is no network ''; allowed: wrn<depth>-<width>"),
        ("x" * 100_000, "there is no network"),
    ],
)
def test_a_wrong_name_is_answered_with_the_right_one(name, problem):
    with pytest.raises(KdpipeError) as error:
        registry.check_shape(name, CIFAR)
    message = str(error.value)
    assert problem in message
    assert "wrn<depth>-<width>" in message and "densenet-bc<depth>" in message
    assert "resnet110" in message


@given(
    st.one_of(
        st.text(),
        st.from_regex(r"(wrn|densenet-bc|resnet)[0-9]+(-[0-9]*\.?[0-9]*)?", fullmatch=True),
    )
)
def test_any_text_is_a_network_or_a_mistake_with_usable_advice(name):
    try:
        network = registry.parse_name(name)
    except KdpipeError as error:
        match = re.search(r"nearest: ([^;]*);|must be written '([^']*)'", str(error))
        for advice in (match[1] or match[2]).split(", ") if match else []:
            registry.parse_name(advice)
    else:
        # Of torchvision's, as resnet34, no width is known.
        assert not network.widths or (min(network.widths) >= 1 and network.blocks >= 1)


@pytest.mark.parametrize("shape", [(3, 3, 32), (3, 32, 3), (1, 0, 0)])
def test_a_small_image_is_refused(shape):
    with pytest.raises(KdpipeError, match=f"{shape[1]} x {shape[2]} pixels are too small"):
        registry.compute_cost("wrn16-1", shape, 10)
    registry.check_shape("wrn16-1", (1, 4, 4))


def test_an_image_without_channels_is_refused():
    with pytest.raises(KdpipeError, match="at least 1 channel, not 0"):
        registry.check_shape("wrn16-1", (0, 32, 32))


def test_imports_no_torch():
    code = "import sys, kdpipe.models; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
