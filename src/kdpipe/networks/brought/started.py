"""A network that begins from weights: they are put into it, and what of it learns, and how fast.

What the file has and the network has not, or the other way round, is refused by name unless the
study allows it by pattern. Alone a classifier of other classes is new unasked, and said.
"""

from collections.abc import Collection, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from kdpipe.errors import KdpipeError
from kdpipe.networks import last_layer, models
from kdpipe.networks.blocks import TorchvisionNetwork
from kdpipe.networks.brought import weights

COUNTS = "num_batches_tracked"  # which files of old lack, and no network of a fixed momentum reads


class Begun(NamedTuple):
    """How many arrays were taken over, the names of those that begin at random instead, and how
    many of the arrays stay as they are."""

    taken: int
    new: tuple[str, ...]
    frozen: int

    def __str__(self) -> str:
        new = f"new, at random: {', '.join(self.new)}" if self.new else "nothing is new"
        frozen = f"; {self.frozen:,} frozen" if self.frozen else ""
        return f"{self.taken:,} arrays taken over, {new}{frozen}"


class Backbone:
    """What of a network is not its classifier, nor new: parts of it may stay, or learn slower.

    Of a network that begins at random nothing does. `network` is that of a spec; `begun` is what
    `begin` has found. Raises KdpipeError for a pattern that means nothing, and where nothing is
    left to learn.
    """

    begun: Begun | None = None

    def __init__(self, model: nn.Module, network: dict):
        self.model = model
        self.still: list[nn.Module] = []
        self.pace: dict[str, float] = {}  # factors on the learning rate, by parameter
        self.frozen = 0  # arrays
        if (start := network.get("start")) is None:
            return
        plain = _plain(model)
        before = "" if plain is model else "network."
        apart = _matching(start["new"], plain.state_dict()) | _classifier(plain, network["classes"])
        names = [name for name in plain.state_dict() if name not in apart]
        stays = _matching(start["freeze"], names)
        _refuse_idle("freeze", start["freeze"], names, network["name"])
        self.frozen = len(stays)
        for name, parameter in plain.named_parameters():
            if name in stays:
                parameter.requires_grad_(False)
            elif name not in apart and start["backbone_lr"] != 1:
                self.pace[before + name] = start["backbone_lr"]
        if not any(parameter.requires_grad for parameter in plain.parameters()):
            raise KdpipeError(
                f"starts.{network['name']}.freeze: nothing of {start['network']} is left to learn"
            )
        for prefix, module in plain.named_modules():
            own = [name for name, _ in module.named_parameters(prefix, recurse=False)]
            own = own or [name for name, _ in module.named_buffers(prefix, recurse=False)]
            if own and stays.issuperset(own):
                self.still.append(module)

    def train(self) -> None:
        """Put its network into training mode; what stays as it is keeps its statistics."""
        self.model.train()
        for module in self.still:
            module.training = False


def begin(model: nn.Module, network: dict, path: Path | None) -> Backbone:
    """Put the weights that the network of a spec begins from into it, if it begins from any.

    `path` is their file; None where it is to be downloaded, by their name. Raises KdpipeError.
    """
    backbone = Backbone(model, network)
    if (start := network.get("start")) is not None:
        if path is None:
            path = weights.downloaded(start["network"], start["weights"])
        plain = _plain(model)
        state, backbone.begun = _fitting(plain, network, path, backbone.frozen)
        models.put(plain, state)
    return backbone


def fits(network: dict, path: Path, code: Path | None = None) -> Begun:
    """What would be taken over; raises KdpipeError for a file that is another, or does not fit.

    `code` is the folder of networks of one's own. The network is not made: its shapes suffice.
    """
    with torch.device("cpu" if "build" in network else "meta"):
        model = models.of(network, code)
    frozen = Backbone(model, network).frozen
    return _fitting(_plain(model), network, path, frozen)[1]


def _plain(model: nn.Module) -> nn.Module:
    """The network whose names its authors know."""
    return model.network if isinstance(model, TorchvisionNetwork) else model


def _fitting(
    model: nn.Module, network: dict, path: Path, frozen: int
) -> tuple[dict[str, Tensor], Begun]:
    """The whole state of a network at its start."""
    start, name = network["start"], network["name"]
    try:
        state = weights.read(path, start["sha256"], start["network"])
    except KdpipeError as error:
        raise KdpipeError(f"starts.{name}: {error}") from None
    if state and all(key.startswith("network.") for key in state):  # of a run of kdpipe's
        state = {key.removeprefix("network."): value for key, value in state.items()}
    own = model.state_dict()
    _refuse_idle("new", start["new"], own, name)
    _refuse_idle("unused", start["unused"], state, name)
    new = _matching(start["new"], own)
    head = _classifier(model, network["classes"])
    if any(key in state and state[key].shape[:1] != own[key].shape[:1] for key in head):
        new |= head
    unused = _matching(start["unused"], state) | new
    given = {key: value for key, value in state.items() if key not in unused}
    old = {key for key in own if key.endswith(COUNTS) and key not in state}
    wanted = {key: value for key, value in own.items() if key not in new | old}
    weights.refuse_unlike(
        wanted,
        given,
        f"starts.{name}: {path} does not fit {start['network']}",
        f"what is to begin at random stands in starts.{name}.new, what the file has too much in "
        f"starts.{name}.unused",
    )
    begun = Begun(len(given), tuple(key for key in own if key in new), frozen)
    return {**own, **given}, begun


def _classifier(model: nn.Module, classes: int) -> set[str]:
    """The names of the last linear layer's parameters, if the network has one for its classes."""
    try:
        own = {id(parameter) for parameter in last_layer.of(model, classes, "").parameters()}
    except KdpipeError:
        return set()
    return {name for name, parameter in model.named_parameters() if id(parameter) in own}


def _matching(patterns: Collection[str], names: Collection[str] | Mapping[str, object]) -> set[str]:
    return {name for name in names for pattern in patterns if fnmatchcase(name, pattern)}


def _refuse_idle(key: str, patterns: Collection[str], names: Collection[str], name: str) -> None:
    """Raise KdpipeError for a pattern that matches none of the names."""
    for pattern in patterns:
        if not _matching([pattern], names):
            some = ", ".join([*names][:6]) or "nothing"
            raise KdpipeError(
                f"starts.{name}.{key}: {pattern!r} matches none of {len(names):,} names ({some}, "
                "...)"
            )
