"""What a brought network is fed with, where it wants other images or tells other classes apart.

It is worked out from the keys of a study and the card of the weights, without torch, and stands as
`input` in the `network` of a spec: the network of such a run is an adapter around the one that the
weights belong to (`adapted`), for images and classes of the study. A network that asks for nothing
has no such part, and its runs the names that they always had.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from kdpipe import identity
from kdpipe.errors import KdpipeError
from kdpipe.networks.brought import cards, hub
from kdpipe.networks.brought.cards import WeightsCard
from kdpipe.networks.family import Shape
from kdpipe.networks.keys import Pretrained
from kdpipe.wording import listed, nearest, shown

KEYS = {"input_revision", "channels", "classes", "size", "resize", "interpolation"}
KEYS |= {"mean", "std", "picked"}
INTERPOLATIONS = ("bilinear", "bicubic")


@dataclass(frozen=True)
class Fed:
    """The images (channels, height, width) of a network, and how it comes by them.

    mean, std: of each channel, None where pixels stay normalised as the students'. picked: for each
    class of the data which of its `classes` is meant; None where these are the same.
    """

    shape: Shape
    classes: int
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    resize: int | None = None
    interpolation: str = "bilinear"
    picked: tuple[int, ...] | None = None
    source: str = "the study"  # who says so
    rule: int | None = None  # the `resize` of its card, whether or not it is heeded

    def spec(self) -> dict:
        """The `input` of the network of a spec."""
        return {
            "input_revision": identity.REVISIONS["input"],
            "channels": self.shape[0],
            "classes": self.classes,
            "size": list(self.shape[1:]),
            "resize": self.resize,
            "interpolation": self.interpolation,
            "mean": self.mean and list(self.mean),
            "std": self.std and list(self.std),
            "picked": self.picked and list(self.picked),
        }

    def __str__(self) -> str:
        channels, height, width = self.shape
        if self.mean is None or self.std is None:
            said = "as the students are"
        else:
            kind = "grey" if channels == 1 else "coloured"
            scaled = f"the crop scaled to {height} x {width} ({self.interpolation}, antialiased)"
            if self.resize is not None:
                scaled = (
                    f"{height} x {width} out of the centre of the crop scaled to {self.resize} "
                    f"({self.interpolation}, antialiased)"
                )
            numbers = ", std ".join(
                " ".join(f"{n:g}" for n in each) for each in (self.mean, self.std)
            )
            said = f"{scaled}, {kind}, mean {numbers} ({self.source})"
        if self.picked is not None:
            said += f"; {len(self.picked):,} of its {self.classes:,} classes are asked for"
        return said


class Seen(NamedTuple):
    """What its students see: images (channels, height, width), and classes, by name or without."""

    shape: Shape
    classes: int
    names: Sequence[str] = ()


def of(source: Pretrained, data: Seen) -> Fed | None:
    """What a network is fed with beside students of such data; None where nothing is asked.

    Raises KdpipeError, which begins with the key, for what cannot be.
    """
    if source.input is None and source.classes is None and source.outputs is None:
        return None
    known = cards.of(source)
    names = known.classes if known else ()
    theirs = known.outputs if known else None
    classes = source.outputs or theirs or data.classes
    if known and source.outputs not in (None, known.outputs):
        raise KdpipeError(
            f"outputs: {source.outputs}, and {known.source} has {known.outputs} classes"
        )
    picked = _picked(source, data, names, theirs, classes)
    if source.input is None:
        return Fed(data.shape, classes, picked=picked)
    return _fed(source, data, known, classes, picked)


def inner(network: dict) -> dict:
    """Of the `network` of a spec the one that weights belong to: itself, or what is adapted.

    One that begins from weights is known by a name of its own, and here by that of its network.
    """
    if "start" in network:
        found = {key: value for key, value in network.items() if key != "start"}
        return found | {"name": network["start"]["network"]}
    if "input" not in network:
        return network
    given = network["input"]
    theirs = {"classes": given["classes"], "channels": given["channels"]}
    return {key: value for key, value in network.items() if key != "input"} | theirs


def whole(given: dict) -> dict:
    """The `input` of a spec with what the canonical form leaves out."""
    return dict.fromkeys(("mean", "std", "resize")) | given


def is_sound(network: dict) -> bool:
    """Whether the `input` in the network of a spec is well formed."""
    given, picked = whole(network["input"]), network["input"]["picked"]
    counts = [given["channels"], given["classes"], *given["size"]]
    counts += [] if given["resize"] is None else [given["resize"]]
    outputs = given["classes"] if picked is None else len(picked)
    return bool(
        given.keys() == KEYS
        and len(given["size"]) == 2
        and all(type(count) is int and 0 < count <= 10**6 for count in counts)
        and given["interpolation"] in INTERPOLATIONS
        and all(
            given[key] is None or len(given[key]) == given["channels"] for key in ("mean", "std")
        )
        and (picked is None or all(0 <= number < given["classes"] for number in picked))
        and outputs == network["classes"]
    )


def _fed(
    source: Pretrained,
    data: Seen,
    known: WeightsCard | None,
    classes: int,
    picked: tuple[int, ...] | None,
) -> Fed:
    """With an `input` of its own."""
    assert source.input is not None
    asked = source.input
    if asked.card and known is None:
        raise KdpipeError(f"input.card: {_why_no_card(source)}")
    said = known if asked.card else None
    mean, std, interpolation = asked.mean, asked.std, asked.interpolation or "bilinear"
    if said is not None:
        mean, std = mean or said.mean, std or said.std
        interpolation = asked.interpolation or said.interpolation
        if not mean or not std:
            raise KdpipeError(
                f"input.card: {said.source} does not say mean and std for as many channels as its "
                "network takes: write both"
            )
        if interpolation not in INTERPOLATIONS:
            raise KdpipeError(
                f"input.card: {said.source} has the interpolation {shown(interpolation)}, which is "
                f"none of {listed(INTERPOLATIONS)}: write one as input.interpolation"
            )
    assert mean and std  # or the keys were refused
    size = (asked.size, asked.size) if asked.size else said.size if said else data.shape[1:]
    if len(mean) != data.shape[0] and data.shape[0] not in (1, 3):
        raise KdpipeError(
            f"input.mean: of {len(mean)} channels, and images of {data.shape[0]} channels become "
            "neither grey nor coloured ones"
        )
    height, width = size
    if asked.resize is not None and asked.resize < max(size):
        raise KdpipeError(
            f"input.resize: {asked.resize} is less than size, {max(size)}, which is cut out of it"
        )
    return Fed(
        (len(mean), height, width),
        classes,
        tuple(mean),
        tuple(std),
        asked.resize,
        interpolation,
        picked,
        said.source if said else "the study",
        said.resize if said else None,
    )


def _why_no_card(source: Pretrained) -> str:
    if source.weights is not None and hub.is_repository(source.weights):
        command = hub.command(source.weights)
        return f"the config of {source.weights} is not on this machine; type: {command}"
    return (
        "only weights of torchvision and of the Hub by name, exports of kdpipe and timm's folders "
        "have a card: write mean and std, and size where it is another one than the study's"
    )


def _picked(
    source: Pretrained, data: Seen, names: Sequence[str], theirs: int | None, classes: int
) -> tuple[int, ...] | None:
    """Which class of the network each class of the data is."""
    wanted = source.classes
    if wanted is None:
        if classes != data.classes:
            raise KdpipeError(
                f"outputs: it tells {classes:,} classes apart, and the data have {data.classes}: "
                "say which is which (classes: a list, or by-name)"
            )
        return None
    if theirs is None and source.outputs is None:
        raise KdpipeError("outputs: this key is missing; how many classes does it tell apart?")
    if wanted == "by-name":
        if not data.names:
            raise KdpipeError("classes: by-name, and the card of the data names no classes")
        wanted = list(data.names)
    if len(wanted) != data.classes:
        raise KdpipeError(f"classes: {len(wanted)} for the {data.classes} classes of the data")
    picked = [_number(one, names, classes) for one in wanted]
    if twice := [each for each, count in Counter(picked).items() if count > 1]:
        raise KdpipeError(f"classes: two classes of the data are its class {twice[0]}")
    return tuple(picked)


def _number(wanted: int | str, names: Sequence[str], classes: int) -> int:
    if isinstance(wanted, int):
        if wanted >= classes:
            raise KdpipeError(f"classes: {wanted} is not below {classes:,}, the classes it has")
        return wanted
    if not names:
        raise KdpipeError(
            f"classes: {shown(wanted)}: its weights have no card that names classes; give numbers"
        )
    found = [number for number, name in enumerate(names) if name == wanted]
    if not found:
        known = "" if len(names) > 20 else f" (it has {listed(names)})"
        raise KdpipeError(
            f"classes: it has no class {shown(wanted)}{nearest(wanted, names)}{known}"
        )
    if len(found) > 1:
        raise KdpipeError(f"classes: {shown(wanted)} names its classes {listed(found)}: give one")
    return found[0]
