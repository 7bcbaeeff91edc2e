"""Build custom networks: import the callable that a dotted path names, and call it.

An error in the user's code becomes one line with its file and line number (`kdpipe.user_code`).
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from kdpipe import user_code
from kdpipe.errors import KdpipeError
from kdpipe.models import memory_format
from kdpipe.models.custom import card as network_card
from kdpipe.models.custom import fingerprint
from kdpipe.models.family import Cost
from kdpipe.runs.spec import ModelSpec

STATE_DTYPES = (torch.float32, torch.int64, torch.int32, torch.uint8, torch.bool)


def build_custom_model(network: ModelSpec, code: Path | None) -> nn.Module:
    """Build the network that a run's spec describes, initialized from torch's global generator.

    Parameters
    ----------
    network : dict
        The `network` of the spec (`ModelInfo.spec`).
    code : Path or None
        Folder of the user's code.

    Raises
    ------
    KdpipeError
        If it cannot be built, or is not the network that the spec was made for: its parameters or
        outputs differ.
    """
    key = f"networks.{network.name}.build"
    factory = import_factory(key, network.build, code)
    model = call_factory(key, network.build, factory, network.classes, network.channels)
    if network_card.hash_state(describe_state(key, model)) != network.state:
        raise KdpipeError(
            f"{key}: the parameters of {network.build} have changed since this run was planned: "
            "its code was changed, or another module with that name was found; see kdpipe check "
            "STUDY"
        )
    _check_fingerprint(key, network, factory)
    return model


def import_factory(key: str, path: str, code: Path | None) -> Callable[..., Any]:
    """Import the callable that a dotted path names.

    Parameters
    ----------
    key : str
        Key of the study that holds the path.
    path : str
        Dotted path, `module.callable`.
    code : Path or None
        Folder of the user's code.

    Raises
    ------
    KdpipeError
        If it cannot be imported or called.
    """
    factory = user_code.import_object(key, path, code)
    if not callable(factory):
        type_name = type(factory).__name__
        raise KdpipeError(f"{key}: {path} is of type {type_name}, which is not callable")
    return factory


def call_factory(
    key: str, path: str, factory: Callable[..., Any], classes: int, channels: int
) -> nn.Module:
    """Build a network for the given numbers of classes and channels.

    Raises
    ------
    KdpipeError
        If the callable fails, or returns something else.
    """
    channels_argument = "in_chans" if path.startswith("timm.") else "in_channels"
    call = f"{path}(num_classes={classes}, {channels_argument}={channels})"
    try:
        model = factory(num_classes=classes, **{channels_argument: channels})
    except (Exception, SystemExit) as error:
        raise KdpipeError(f"{key}: {call} failed: {user_code.format_user_error(error)}") from None
    if not isinstance(model, nn.Module):
        raise KdpipeError(
            f"{key}: {call} returned {type(model).__name__}, expected a torch.nn.Module"
        )
    return model


def measure_cost(model: nn.Module, shape: tuple[int, int, int], layout: str) -> Cost:
    """Count the trainable parameters, and the multiply-adds for one image.

    The latter are half of what torch's FlopCounterMode counts. The model is on the CPU, in the
    memory format that it runs in, and is left in eval mode.
    """
    image = torch.randn(1, *shape, generator=torch.Generator().manual_seed(0))
    model.eval()
    # With gradients: without them torch uses fused operations that it does not count.
    with torch.enable_grad(), FlopCounterMode(display=False) as counter:
        model(image.contiguous(memory_format=memory_format.torch_memory_format(layout)))
    learned = sum(p.numel() for p in model.parameters() if p.requires_grad)
    return Cost(learned, counter.get_total_flops() // 2)


def describe_state(key: str, model: nn.Module) -> dict[str, str]:
    """Return the type and shape of each parameter and buffer, and which parameters are frozen.

    Raises
    ------
    KdpipeError
        If the state cannot be stored in a checkpoint.
    """
    frozen = {
        name
        for name, parameter in model.named_parameters(remove_duplicate=False)
        if not parameter.requires_grad
    }
    lines = {}
    for name, value in model.state_dict().items():
        if not isinstance(value, torch.Tensor) or isinstance(value, nn.UninitializedParameter):
            raise KdpipeError(
                f"{key}: {name} in its state_dict is not a tensor with a shape: checkpoints hold "
                "parameters and buffers of known size (no lazy layers, no extra state)"
            )
        if value.device.type != "cpu" or value.dtype not in STATE_DTYPES:
            raise KdpipeError(
                f"{key}: {name} is {value.dtype} on {value.device}: create it on the CPU, in "
                "float32 (counters may be integers); the run moves it to its device"
            )
        size = "x".join(map(str, value.shape)) or "one"
        kind = " fixed" if name in frozen else ""
        lines[name] = f"{str(value.dtype).removeprefix('torch.')} {size}{kind}"
    return lines


def _check_fingerprint(key: str, network: ModelSpec, factory: Callable[..., Any]) -> None:
    """Raise KdpipeError if a network's outputs differ from those recorded in its spec."""
    classes, shape = network.classes, (network.channels, *network.size)

    def build() -> nn.Module:
        return call_factory(key, network.build, factory, classes, shape[0])

    try:
        actual = fingerprint.compute_fingerprint(build, shape, network.layout)
    except KdpipeError:
        raise
    except (Exception, SystemExit) as error:
        raise KdpipeError(f"{key}: {network.build}: {user_code.format_user_error(error)}") from None
    if not fingerprint.matches_fingerprint(network.answer, actual):
        raise KdpipeError(
            f"{key}: the outputs of {network.build} have changed since this run was planned, under "
            f"the same revision: restore its code, or raise networks.{network.name}.revision and "
            "run: kdpipe check STUDY --write"
        )
