"""torchvision's networks: the table that was measured once, and the networks that are built."""

import subprocess
import sys

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from torchvision import models as theirs

from kdpipe.errors import KdpipeError
from kdpipe.networks import models, naming, zoo

SHAPE = (3, 224, 224)


@pytest.mark.parametrize("name", ["resnet18", "resnet34", "shufflenet_v2_x0_5", "densenet121"])
@pytest.mark.parametrize("classes", [10, 1000])
def test_the_table_is_what_torchvision_has(name, classes):
    with torch.device("meta"):
        model = models.build(name, num_classes=classes, in_channels=3).eval()
        with FlopCounterMode(display=False) as counter:
            model(torch.empty(1, *SHAPE))
    parameters = sum(parameter.numel() for parameter in model.parameters())
    assert naming.cost(name, SHAPE, classes) == (parameters, counter.get_total_flops() // 2)


@pytest.mark.parametrize(
    ("name", "millions"),
    [("resnet18", 11.69), ("resnet34", 21.80), ("resnet50", 25.56), ("resnet152", 60.19)],
)
def test_parameter_counts_that_are_printed_everywhere(name, millions):
    assert round(naming.cost(name, SHAPE, 1000).parameters / 1e6, 2) == millions


def test_names_and_weights_are_torchvisions():
    known = set(theirs.list_models(module=theirs))
    assert set(zoo.names()) <= known
    assert {"googlenet", "inception_v3"} <= known - set(zoo.names())
    assert not set(zoo.names()) & set(naming._RESNETS)  # a CIFAR network keeps its name
    for name in zoo.names():
        for weights, digits in zoo.facts(name).weights.items():
            assert theirs.get_model_weights(name)[weights].url.endswith(f"-{digits}.pth")


def test_a_built_network_is_torchvisions_and_has_groups():
    torch.manual_seed(0)
    model = models.build("resnet18", num_classes=7, in_channels=3).eval()
    torch.manual_seed(0)
    oracle = theirs.resnet18(num_classes=7).eval()
    x = torch.randn(2, *SHAPE)
    with torch.no_grad():
        logits, groups = model.features(x)
        torch.testing.assert_close(model(x), oracle(x))
        torch.testing.assert_close(logits, oracle(x))
    assert [tuple(g.shape[1:]) for g in groups] == naming.group_shapes("resnet18", SHAPE)
    assert naming.group_shapes("resnet18", SHAPE)[0] == (64, 56, 56)
    assert naming.group_shapes("densenet121", SHAPE) == []


@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 224, 224), (3, 256, 256)])
def test_images_of_another_size_are_refused(shape):
    with pytest.raises(KdpipeError, match="for 3 x 224 x 224, the images are"):
        naming.check("resnet18", shape)


def test_random_networks_can_teach_and_not_be_trained():
    naming.check("vgg11", SHAPE)
    with pytest.raises(KdpipeError, match="drops activations at random"):
        naming.check("vgg11", SHAPE, trained=True)
    naming.check("resnet50", SHAPE, trained=True)


def test_a_misspelt_name_finds_the_nearest():
    with pytest.raises(KdpipeError, match=r"nearest: .*resnet152"):
        naming.check("resnet151", SHAPE)


def test_nothing_of_it_imports_torch():
    code = (
        "import sys; from kdpipe.networks import naming; naming.cost('resnet50', (3, 224, 224), 10);"
        "sys.exit(any(m in sys.modules for m in ('torch', 'torchvision')))"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
