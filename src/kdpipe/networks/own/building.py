"""Networks of one's own: the callable that a dotted path names is imported and called.

What goes wrong in the user's code is one line, with its file and line (`learning.own.code`).
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from kdpipe.errors import KdpipeError
from kdpipe.learning.own import code as own_code
from kdpipe.networks import layouts
from kdpipe.networks.family import Cost
from kdpipe.networks.own import answer
from kdpipe.networks.own import card as network_card


def build(network: dict, code: Path | None) -> nn.Module:
    """The network that a run's spec describes, initialised from torch's global generator.

    Raises KdpipeError if it cannot be built, or is not the one that the spec was made for: it has
    other parameters, or computes something else.
    """
    where = f"networks.{network['name']}.build"
    made = found(where, network["build"], code)
    model = called(where, network["build"], made, network["classes"], network["channels"])
    if network_card.state_digest(state(where, model)) != network["state"]:
        raise KdpipeError(
            f"{where}: {network['build']} has other parameters than when this run was planned: its "
            "code was changed, or another module of that name was found; see kdpipe check STUDY"
        )
    _compare(where, network, made)
    return model


def _compare(where: str, network: dict, made: Callable[..., Any]) -> None:
    """Raise KdpipeError if a network computes something else than its spec was made for."""
    classes, shape = network["classes"], (network["channels"], *network["size"])

    def make() -> nn.Module:
        return called(where, network["build"], made, classes, shape[0])

    try:
        said = answer.of(make, shape, network["layout"])
    except KdpipeError:
        raise
    except (Exception, SystemExit) as error:
        raise KdpipeError(f"{where}: {network['build']}: {own_code.blamed(error)}") from None
    if not answer.compares(network["answer"], said):
        raise KdpipeError(
            f"{where}: {network['build']} computes something else than when this run was planned, "
            f"under the same revision: put its code back, or raise networks.{network['name']}."
            "revision and type: kdpipe network STUDY"
        )


def found(where: str, path: str, code: Path | None) -> Callable[..., Any]:
    """The callable that a dotted path names. Raises KdpipeError; `where` is its key in a study."""
    made = own_code.found(where, path, code)
    if not callable(made):
        kind = type(made).__name__
        raise KdpipeError(f"{where}: {path} is of type {kind}, and cannot be called")
    return made


def called(where: str, path: str, made: Callable[..., Any], classes: int, channels: int):
    """What the callable returns: a network. Raises KdpipeError."""
    word = "in_chans" if path.startswith("timm.") else "in_channels"
    call = f"{path}(num_classes={classes}, {word}={channels})"
    try:
        model = made(num_classes=classes, **{word: channels})
    except (Exception, SystemExit) as error:
        raise KdpipeError(f"{where}: {call} failed: {own_code.blamed(error)}") from None
    if not isinstance(model, nn.Module):
        raise KdpipeError(
            f"{where}: {call} returned {type(model).__name__}, a torch.nn.Module is wanted"
        )
    return model


def cost(model: nn.Module, shape: tuple[int, int, int], layout: str) -> Cost:
    """Learned numbers, and multiply-adds of one image: half of what torch's FlopCounterMode says.

    The model is on the CPU, in the memory format that it runs in, and is left in eval mode.
    """
    image = torch.randn(1, *shape, generator=torch.Generator().manual_seed(0))
    model.eval()
    # With gradient, or torch takes shortcuts that it does not count.
    with torch.enable_grad(), FlopCounterMode(display=False) as counter:
        model(image.contiguous(memory_format=layouts.memory_format(layout)))
    learned = sum(p.numel() for p in model.parameters() if p.requires_grad)
    return Cost(learned, counter.get_total_flops() // 2)


def state(where: str, model: nn.Module) -> dict[str, str]:
    """Type and shape of each parameter and buffer, and which parameters are not learned.

    Raises KdpipeError for what cannot be kept.
    """
    fixed = {
        name
        for name, parameter in model.named_parameters(remove_duplicate=False)
        if not parameter.requires_grad
    }
    lines = {}
    for name, value in model.state_dict().items():
        if not isinstance(value, torch.Tensor) or isinstance(value, nn.UninitializedParameter):
            raise KdpipeError(
                f"{where}: {name} in its state is no tensor with a shape: checkpoints hold "
                "parameters and buffers of a known size (no lazy layers, no extra state)"
            )
        if value.device.type != "cpu" or value.dtype not in KEPT:
            raise KdpipeError(
                f"{where}: {name} is {value.dtype} on {value.device}: build it on the CPU, in "
                "float32 (counters may be whole numbers); the run moves it"
            )
        size = "x".join(map(str, value.shape)) or "one"
        kind = " fixed" if name in fixed else ""
        lines[name] = f"{str(value.dtype).removeprefix('torch.')} {size}{kind}"
    return lines


KEPT = (torch.float32, torch.int64, torch.int32, torch.uint8, torch.bool)
