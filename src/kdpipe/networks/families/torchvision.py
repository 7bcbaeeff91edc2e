"""torchvision's classifiers for images of 224: what is known of each without importing torch.

`torchvision.json` beside this file was measured once, on images of 3 x 224 x 224, from torchvision
itself (a test measures some of it again): parameters and multiply-adds, those of a class apart;
what its four groups put out, where it has groups; and its weights, by torchvision's name, with the
digits of their SHA-256 that torchvision verifies. Of the few whose last layer is not linear it says
so, and of those whose weights are for larger images what they cost there. A new one is a line.
"""

import functools
import json
from dataclasses import dataclass, field
from importlib import resources

from kdpipe.errors import KdpipeError
from kdpipe.networks.family import Cost, Family, Network, Shape


@dataclass(frozen=True)
class Facts:
    """One network of torchvision."""

    parameters: int
    parameters_per_class: int
    multiply_adds: int
    multiply_adds_per_class: int
    groups: tuple[Shape, ...]
    weights: dict[str, str]
    linear: bool = True  # whether the last layer is one
    # Multiply-adds, without those of classes, on images of other sides, which its weights are for.
    sizes: dict[str, int] = field(default_factory=dict)


@functools.cache
def table() -> dict[str, Facts]:
    """Every classifier, by torchvision's name."""
    text = resources.files("kdpipe.networks.families").joinpath("torchvision.json").read_text()
    return {
        name: Facts(**{**known, "groups": tuple(tuple(shape) for shape in known["groups"])})
        for name, known in json.loads(text).items()
    }


def parse(name: str) -> Network | None:
    if (facts := table().get(name)) is None:
        return None
    return Network(name, linear=facts.linear, weights=facts.weights)


def check(network: Network, shape: Shape) -> None:
    sides = [*table()[network.name].sizes, "224"]
    if shape not in [(3, int(side), int(side)) for side in sides]:
        allowed = " or ".join(f"3 x {side} x {side}" for side in sides)
        raise KdpipeError(
            f"network '{network.name}' is torchvision's for {allowed}, the images are "
            f"{' x '.join(map(str, shape))}"
        )


def cost(network: Network, shape: Shape, classes: int) -> Cost:
    facts = table()[network.name]
    operations = facts.sizes.get(str(shape[1]), facts.multiply_adds)
    return Cost(
        facts.parameters + facts.parameters_per_class * classes,
        operations + facts.multiply_adds_per_class * classes,
    )


def groups(network: Network, shape: Shape) -> list[Shape]:
    return list(table()[network.name].groups)


def build(network: Network, classes: int, channels: int):
    from kdpipe.networks.blocks import TorchvisionNetwork

    return TorchvisionNetwork(network.name, classes)


FAMILY = Family(
    revision=1,
    order=4,
    spelling="for images of 224 any classifier of torchvision (resnet18, densenet121)",
    form=None,
    near=lambda name: sorted(table()),
    parse=parse,
    check=check,
    cost=cost,
    groups=groups,
    build=build,
)
