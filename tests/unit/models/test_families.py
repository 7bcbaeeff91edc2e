"""The families: what each file says, against the networks that it builds; and a new one.

What is said of all of them is held for every file that lies there, so a new family comes with a
line in `CASES`.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from helpers import tiny_study
from torch import nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode
from torchvision import models as theirs

import kdpipe
from kdpipe.errors import KdpipeError
from kdpipe.models import factory, memory_format, registry
from kdpipe.models.families import torchvision
from kdpipe.models.family import DEFAULT_SHAPE, Architecture, Family

CASES = {  # a name, images that it takes, classes
    "wrn": [
        ("wrn16-1", (3, 32, 32), 10),
        ("wrn28-10", (3, 32, 32), 100),
        ("wrn250-1", (3, 32, 32), 10),
        ("wrn16-2", (1, 28, 28), 10),
        ("wrn10-0.5", (1, 8, 8), 10),
        ("wrn16-0.7", (2, 7, 13), 3),
        ("wrn10-0.0625", (1, 4, 4), 2),
    ],
    "densenet-bc": [
        ("densenet-bc40-12", (3, 32, 32), 10),
        ("densenet-bc100-24", (3, 32, 32), 100),
        ("densenet-bc10-5", (1, 7, 13), 3),  # an odd number of channels to halve
    ],
    "resnet": [
        ("resnet8", (3, 32, 32), 10),
        ("resnet14", (1, 5, 6), 10),
        ("resnet110", (3, 32, 32), 100),
        ("resnet8x4", (3, 32, 32), 100),
        ("resnet32x4", (1, 9, 8), 10),
    ],
    "torchvision": [
        ("resnet18", DEFAULT_SHAPE, 1000),
        ("resnet34", DEFAULT_SHAPE, 10),
        ("shufflenet_v2_x0_5", DEFAULT_SHAPE, 10),
        ("shufflenet_v2_x0_5", DEFAULT_SHAPE, 1000),
        ("densenet121", DEFAULT_SHAPE, 10),
        ("densenet121", DEFAULT_SHAPE, 1000),
        ("squeezenet1_0", DEFAULT_SHAPE, 10),
    ],
}
EACH = [(family, *case) for family, cases in CASES.items() for case in cases]


# --- what every file says


def test_every_file_is_a_family_with_a_case():
    files = {path.stem for path in Path(torchvision.__file__).parent.glob("[!_]*.py")}
    assert {name.replace("-", "_") for name in registry.load_families()} == files
    assert list(registry.load_families()) == list(CASES), "a family has a case here, in order"
    assert all(isinstance(family, Family) for family in registry.load_families().values())


@pytest.mark.parametrize(("family", "name", "shape", "classes"), EACH)
def test_the_price_is_that_of_the_built_network(family, name, shape, classes):
    assert registry.get_family_name(name) == family
    with torch.device("meta"):
        model = factory.build_named_model(name, num_classes=classes, in_channels=shape[0]).eval()
        with FlopCounterMode(display=False) as counter:
            logits = model(torch.empty(1, *shape))
        parameters = sum(parameter.numel() for parameter in model.parameters())
        assert registry.compute_cost(name, shape, classes) == (
            parameters,
            counter.get_total_flops() // 2,
        )
        assert logits.shape == (1, classes)
        if shapes := registry.compute_stage_shapes(name, shape):
            logits, groups = model.features(torch.empty(1, *shape))
            assert [g.shape[1:] for g in groups] == shapes and logits.shape == (1, classes)
    if (narrowest := registry.parse_name(name).narrowest) is not None:
        convolutions = [m for m in model.modules() if isinstance(m, nn.Conv2d)]
        assert narrowest == min(c.out_channels for c in convolutions)
    linear = [m for m in model.modules() if isinstance(m, nn.Linear)]
    assert registry.has_linear_head(name) == (bool(linear) and linear[-1].out_features == classes)


@pytest.mark.parametrize("kind", CASES)
def test_its_names_mean_its_networks_and_no_others(kind):
    facts = registry.load_families()[kind]
    names = [*facts.suggest(""), *(name for name, *_ in CASES[kind])]
    assert names
    for name in names:
        mine = [other for other, each in registry.load_families().items() if each.parse(name)]
        assert mine == [kind] and isinstance(facts.parse(name), Architecture)
        assert registry.looks_like_name(name) and facts.parse(name).name == name
        registry.check_shape(
            name, DEFAULT_SHAPE
        )  # what the usual images are is true of every family
    assert facts.revision >= 1 and facts.name_format in refusal("?")
    assert facts.parse("?") is None


def refusal(name):
    with pytest.raises(KdpipeError) as error:
        registry.parse_name(name)
    return str(error.value)


def test_the_families_are_read_without_torch():
    code = (
        "import sys; from kdpipe.models import registry as r\n"
        "for name in sys.argv[1:]: r.compute_cost(name, (3, 224, 224), 10), r.get_revision(name)\n"
        "assert len(r.load_families()) > 3\n"
        "sys.exit(any(m in sys.modules for m in ('torch', 'torchvision', 'pandas')))"
    )
    names = [name for _, name, *_ in EACH]
    assert subprocess.run([sys.executable, "-c", code, *names]).returncode == 0


def test_the_narrow_rule_and_the_names_of_the_formats():
    assert [memory_format.choose_memory_format(n) for n in (1, 7, 8, None)] == [
        "contiguous"
    ] * 2 + ["channels_last"] * 2
    assert memory_format.torch_memory_format("contiguous") is torch.contiguous_format
    assert memory_format.torch_memory_format("channels_last") is torch.channels_last


# --- a new one is a file

PLAIN = """import re

from kdpipe.models import family
from kdpipe.models.family import Architecture, Family, Layer, classifier_layer, total_cost


def parse(name):
    found = re.fullmatch("plain([1-9][0-9]?)", name)
    if not (match := re.fullmatch("plain([1-9][0-9]?)", name)):
        return None
    return Architecture(name, widths=(int(match[1]),) * 3, narrowest=int(match[1]))


def cost(network, shape, classes):
    width, pixels = network.widths[0], shape[1] * shape[2]
    stem = Layer(shape[0], width, 3, pixels, width)
    return total_cost([stem, classifier_layer(width, classes)])


def build(network, classes, channels):
    from torch import nn
    from kdpipe.models.layers import build_staged_network, conv2d, norm_relu

    width = network.widths[0]
    stem = nn.Sequential(conv2d(channels, width, 3), norm_relu(width))
    stage_modules = [nn.AvgPool2d(1), *[nn.AvgPool2d(2)] * 2]
    return build_staged_network(stem, stage_modules, nn.Identity(), width, classes)


FAMILY = Family(
    revision=7,
    order=9,
    name_format="plain<width> (plain16)",
    name_pattern=re.compile("plain[0-9]+"),
    suggest=lambda name: ["plain8", "plain16"],
    parse=parse,
    check=family.check_size,
    cost=cost,
    groups=family.stage_shapes_pooled,
    build=build,
)
"""
USED = """
import sys
from helpers import tiny_study
from kdpipe.errors import KdpipeError
from kdpipe.models import registry
from kdpipe.jobs import validate

made = tiny_study.planned(main={"teachers": ["plain16"], "students": ["plain4", "wrn10-1"]})
runs = {run.network: run for run in made.runs.values() if not run.spec.teacher}
network = {"name": "plain16", "revision": 7, "classes": 10, "channels": 1}
assert runs["plain16"].spec.network.to_dict() == network
assert "torch" not in sys.modules, "planned"
for run in made.runs.values():
    validate.validate_spec(run.spec)
    assert run.spec.name == run.name
try:
    registry.parse_name("plain17000")
except KdpipeError as error:
    said = str(error)
assert "nearest: plain16" in said and "; plain<width> (plain16); or a custom network" in said, said
assert registry.looks_like_name("plain17000")

import torch
from torch.utils.flop_counter import FlopCounterMode
from kdpipe.models import factory

assert factory.get_memory_format(runs["plain4"].spec.network) is torch.contiguous_format
for name in ("plain4", "plain16"):
    model = factory.create_model(runs[name].spec).eval()
    with FlopCounterMode(display=False) as counter:
        _, groups = model.features(torch.zeros(1, 1, 8, 8))
    counted = sum(p.numel() for p in model.parameters()), counter.get_total_flops() // 2
    assert runs[name].cost == counted, name
    assert [g.shape[1:] for g in groups] == registry.compute_stage_shapes(name, (1, 8, 8))
"""


def with_family(folder, text, code):
    """Run code with a copy of the package that has the family `plain`."""
    source = Path(kdpipe.__file__).parent
    shutil.copytree(source, folder / "kdpipe", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "kdpipe/models/families/plain.py").write_text(text)
    path = os.pathsep.join([str(folder), str(Path(tiny_study.__file__).parents[1])])
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
    )


def test_a_new_family_is_one_file(tmp_path):
    """Planned, named, admitted, priced and built, by no other change of the package."""
    result = with_family(tmp_path, PLAIN, USED)
    assert result.returncode == 0, result.stderr


def test_a_file_that_defines_no_family_stops_everything(tmp_path):
    code = "from kdpipe.models import registry; print(registry.is_model_name('wrn16-1'))"
    result = with_family(tmp_path, PLAIN.replace("FAMILY =", "FAMILI ="), code)
    assert "plain.py: every file in families/ defines FAMILY, a Family" in result.stderr
    assert result.stdout == ""


# --- ResNet's wide ones


@pytest.mark.parametrize(
    ("name", "parameters"), [("resnet8x4", 1_233_540), ("resnet32x4", 7_433_860)]
)
def test_the_wide_ones_have_the_parameters_that_are_printed(name, parameters):
    assert registry.compute_cost(name, (3, 32, 32), 100).parameters == parameters


def test_a_wide_block_beside_the_layers_one_by_one():
    """Where the channels change, the way around it is a convolution and a normalisation."""
    torch.manual_seed(0)
    model = factory.build_named_model("resnet8x4", num_classes=7, in_channels=3).eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean)
            nn.init.uniform_(module.running_var, 0.5, 2)
    x = torch.randn(2, 3, 12, 12)

    def normal(x, norm):
        shape = (1, -1, 1, 1)
        scaled = (x - norm.running_mean.view(shape)) / (norm.running_var.view(shape) + 1e-5).sqrt()
        return scaled * norm.weight.view(shape) + norm.bias.view(shape)

    def convolved(x, weight, stride=1):
        return F.conv2d(x, weight, stride=stride, padding=weight.shape[-1] // 2)

    with torch.no_grad():
        inputs = normal(convolved(x, model.stem[0].weight), model.stem[1][0]).relu()
        for number, (block,) in enumerate(model.groups):
            stride = 2 if number else 1
            out = normal(convolved(inputs, block.conv1.weight, stride), block.after1[0]).relu()
            out = normal(convolved(out, block.conv2.weight), block.norm2)
            around = normal(convolved(inputs, block.shortcut[0].weight, stride), block.shortcut[1])
            inputs = (out + around).relu()
        by_hand = inputs.mean((2, 3)) @ model.linear.weight.T + model.linear.bias
        torch.testing.assert_close(model(x), by_hand, rtol=1e-4, atol=1e-4)
    narrow = factory.build_named_model("resnet8", num_classes=7, in_channels=3)
    assert not any("shortcut" in name for name in narrow.state_dict())


# --- torchvision's, measured once


@pytest.mark.parametrize(
    ("name", "millions"),
    [("resnet18", 11.69), ("resnet34", 21.80), ("resnet50", 25.56), ("resnet152", 60.19)],
)
def test_parameter_counts_that_are_printed_everywhere(name, millions):
    assert round(registry.compute_cost(name, DEFAULT_SHAPE, 1000).parameters / 1e6, 2) == millions


def test_names_and_weights_are_torchvisions():
    known, actual = set(theirs.list_models(module=theirs)), set(torchvision.load_table())
    assert actual <= known
    assert {"googlenet", "inception_v3"} <= known - actual
    for name in actual:
        for weights, digits in registry.list_weights(name).items():
            assert theirs.get_model_weights(name)[weights].url.endswith(f"-{digits}.pth")


def test_a_built_network_is_torchvisions_and_has_groups():
    torch.manual_seed(0)
    model = factory.build_named_model("resnet18", num_classes=7, in_channels=3).eval()
    torch.manual_seed(0)
    oracle = theirs.resnet18(num_classes=7).eval()
    x = torch.randn(2, *DEFAULT_SHAPE)
    with torch.no_grad():
        logits, groups = model.features(x)
        torch.testing.assert_close(model(x), oracle(x))
        torch.testing.assert_close(logits, oracle(x))
    assert [tuple(g.shape[1:]) for g in groups] == registry.compute_stage_shapes(
        "resnet18", DEFAULT_SHAPE
    )
    assert registry.compute_stage_shapes("resnet18", DEFAULT_SHAPE)[0] == (64, 56, 56)
    assert registry.compute_stage_shapes("densenet121", DEFAULT_SHAPE) == []


@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 224, 224), (3, 256, 256)])
def test_images_of_another_size_are_refused(shape):
    with pytest.raises(KdpipeError, match="for 3 x 224 x 224, the images are"):
        registry.check_shape("resnet18", shape)


def test_a_misspelt_name_finds_the_nearest():
    with pytest.raises(KdpipeError, match=r"nearest: .*resnet152"):
        registry.check_shape("resnet151", DEFAULT_SHAPE)
