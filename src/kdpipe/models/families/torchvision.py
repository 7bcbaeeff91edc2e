"""torchvision's classifiers for images of 224: what is known of each without importing torch.

`torchvision.json` beside this file was measured once, on images of 3 x 224 x 224, from torchvision
itself (a test measures some of it again): parameters and multiply-adds, those of a class apart;
the outputs of its four groups, where it has groups; and its weights, by torchvision's name, with
the digits of their SHA-256 that torchvision verifies. The few whose last layer is not linear state
so, and those whose weights are for larger images state what they cost there. A new one is a line.
"""

import functools
import json
from dataclasses import dataclass, field
from importlib import resources

from kdpipe.errors import KdpipeError
from kdpipe.models.family import Architecture, Cost, Family, Shape


@dataclass(frozen=True)
class TorchvisionModel:
    """One network of torchvision.

    Attributes
    ----------
    parameters, multiply_adds : int
        Without those of the classes.
    parameters_per_class, multiply_adds_per_class : int
        Those of one class.
    groups : tuple of tuple of int
        Output shape of each group.
    weights : dict of str to str
        Pretrained weights by name, with the first digits of their SHA-256.
    linear : bool
        Whether the last layer is a linear one.
    sizes : dict of str to int
        Multiply-adds on images of other sides, which its weights are for, without those of the
        classes.
    """

    parameters: int
    parameters_per_class: int
    multiply_adds: int
    multiply_adds_per_class: int
    groups: tuple[Shape, ...]
    weights: dict[str, str]
    linear: bool = True
    sizes: dict[str, int] = field(default_factory=dict)


@functools.cache
def load_table() -> dict[str, TorchvisionModel]:
    """Load every classifier, by torchvision's name."""
    text = resources.files("kdpipe.models.families").joinpath("torchvision.json").read_text("utf-8")
    return {
        name: TorchvisionModel(
            **{**entry, "groups": tuple(tuple(shape) for shape in entry["groups"])}
        )
        for name, entry in json.loads(text).items()
    }


def parse(name: str) -> Architecture | None:
    """Return the architecture of a name; None for a name of another form."""
    if (model := load_table().get(name)) is None:
        return None
    return Architecture(name, linear=model.linear, weights=model.weights)


def check(arch: Architecture, shape: Shape) -> None:
    """Raise KdpipeError unless the network takes such images."""
    sides = [*load_table()[arch.name].sizes, "224"]
    if shape not in [(3, int(side), int(side)) for side in sides]:
        allowed = " or ".join(f"3 x {side} x {side}" for side in sides)
        raise KdpipeError(
            f"network '{arch.name}' is torchvision's for {allowed}, the images are "
            f"{' x '.join(map(str, shape))}"
        )


def compute_cost(arch: Architecture, shape: Shape, classes: int) -> Cost:
    """Return the cost for images of a shape and a number of classes."""
    model = load_table()[arch.name]
    operations = model.sizes.get(str(shape[1]), model.multiply_adds)
    return Cost(
        model.parameters + model.parameters_per_class * classes,
        operations + model.multiply_adds_per_class * classes,
    )


def stage_shapes(arch: Architecture, shape: Shape) -> list[Shape]:
    """Return the output shape of each group."""
    return list(load_table()[arch.name].groups)


def build(arch: Architecture, classes: int, channels: int):
    """Build the network at its initial weights."""
    from kdpipe.models.layers import TorchvisionNetwork

    return TorchvisionNetwork(arch.name, classes)


FAMILY = Family(
    revision=1,
    order=4,
    name_format="for images of 224 any classifier of torchvision (resnet18, densenet121)",
    name_pattern=None,
    suggest=lambda name: sorted(load_table()),
    parse=parse,
    check=check,
    cost=compute_cost,
    groups=stage_shapes,
    build=build,
)
