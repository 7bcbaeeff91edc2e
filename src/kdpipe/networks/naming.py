"""What the name of a network means, what it costs, and which images fit it.

Imports no torch: the plan prices thousands of runs from here. Every network of the paper's for
small images is a stem, three groups of equal blocks, and a linear classifier on the average over
the image; the second and the third group halve height and width. `models` builds from the same
facts (`parse`), and a test holds the cost computed here to the built network: every parameter,
every multiply-add. Networks for images of 224 are torchvision's, by its names (`zoo`).
"""

import contextlib
import difflib
import re
from collections.abc import Iterator

from kdpipe.errors import KdpipeError
from kdpipe.networks import zoo
from kdpipe.networks.family import MIN_SIDE, Cost, Layer, Network, sides

# What a network of a family computes, raised by hand when that changes: part of a run's digest.
REVISIONS = {"wrn": 1, "densenet-bc": 1, "resnet": 1, "torchvision": 1}

_RESNETS = {f"resnet{depth}": depth for depth in (8, 14, 20, 32, 44, 56, 110)}
_FORMS = (
    "allowed: wrn<depth>-<width>, depth 6n+4, width may be a fraction (wrn16-2, wrn10-0.5); "
    "densenet-bc<depth>-<growth>, depth 6n+4 (densenet-bc40-12); "
    f"{', '.join(_RESNETS)}; "
    "for images of 224 any classifier of torchvision (resnet18, densenet121); "
    "or one of your own, defined under `networks`"
)
_DEPTHS = range(10, 2000, 6)
_MIN_WIDTH, _MAX_WIDTH = 1 / 16, 1000  # 1/16: one channel in the first group of a wrn

# The digits are bounded, so that no name makes int() or float() fail.
_DEPTH_AND_WIDTH = re.compile(r"(wrn|densenet-bc)([0-9]{1,9})-([0-9]{0,9}\.?[0-9]{1,9})")
_COMMON = (
    *_RESNETS,
    *(f"wrn{depth}-{width}" for depth in (10, 16, 22, 28, 40) for width in (1, 2, 4, 8, 10)),
    *(f"densenet-bc{depth}-{growth}" for depth in (40, 100) for growth in (12, 24, 48)),
)


def family(name: str) -> str:
    """The family of a network, a key of REVISIONS. KdpipeError if there is no such network."""
    return parse(name).family


def check(name: str, shape: tuple[int, int, int], trained: bool = False) -> None:
    """Raise KdpipeError unless the network exists and takes images of (channels, height, width).

    `trained` asks as well whether it can be trained here.
    """
    parse(name)
    channels, height, width = shape
    if (facts := zoo.facts(name)) is not None:
        if shape != zoo.SHAPE:
            raise KdpipeError(
                f"network '{name}' is torchvision's for 3 x 224 x 224, the images are "
                f"{' x '.join(map(str, shape))}"
            )
        if trained and facts.random:
            raise KdpipeError(draws_at_random(name))
        return
    if channels < 1:
        raise KdpipeError(f"network '{name}': images need at least 1 channel, not {channels}")
    if min(height, width) < MIN_SIDE:
        raise KdpipeError(
            f"network '{name}': images of {height} x {width} pixels are too small; it halves "
            f"height and width twice and needs at least {MIN_SIDE} x {MIN_SIDE}"
        )


def draws_at_random(name: str) -> str:
    """Why a network that draws random numbers in training is not trained here."""
    return (
        f"network '{name}' drops activations at random in training, which cannot be made again "
        "after an interruption; it can teach, with weights it brings (pretrained)"
    )


def is_known(name: str) -> bool:
    """Whether a name by its form means a network."""
    try:
        parse(name)
    except KdpipeError:
        return False
    return True


def has_form(name: str) -> bool:
    """Whether a name means a network, or could be taken for one: none of one's own has it."""
    return bool(_DEPTH_AND_WIDTH.fullmatch(name) or re.fullmatch("resnet[0-9]+", name)) or (
        zoo.facts(name) is not None
    )


def cost(name: str, shape: tuple[int, int, int], num_classes: int) -> Cost:
    """The exact cost of a network on images of (channels, height, width)."""
    check(name, shape)
    if (facts := zoo.facts(name)) is not None:
        return Cost(
            facts.parameters + facts.parameters_per_class * num_classes,
            facts.multiply_adds + facts.multiply_adds_per_class * num_classes,
        )
    network = parse(name)
    parameters = (network.widths[-1] + 1) * num_classes  # the linear layer has a bias
    multiply_adds = network.widths[-1] * num_classes
    if network.family != "resnet":
        parameters += 2 * network.widths[-1]  # the normalisation after the last group
    for layer in _layers(network, shape):
        weights = layer.kernel**2 * layer.inputs * layer.outputs
        parameters += weights + 2 * layer.normalised
        multiply_adds += weights * layer.pixels
    return Cost(parameters, multiply_adds)


def group_shapes(name: str, shape: tuple[int, int, int]) -> list[tuple[int, int, int]]:
    """(channels, height, width) of what each group puts out for images of such a shape.

    Two networks can exchange attention (`losses.attention_loss`) if heights and widths agree.
    Empty for one that has no groups.
    """
    check(name, shape)
    if (facts := zoo.facts(name)) is not None:
        return list(facts.groups)
    network = parse(name)
    return [(w, *side) for w, side in zip(network.widths, sides(network, shape), strict=True)]


def _layers(network: Network, shape: tuple[int, int, int]) -> Iterator[Layer]:
    pixels = [height * width for height, width in sides(network, shape)]
    residual = network.family == "resnet"
    yield Layer(shape[0], network.stem, 3, pixels[0], network.stem if residual else 0)
    if network.family == "densenet-bc":
        yield from _dense_layers(network, pixels)
        return
    inputs = network.stem
    for outputs, size in zip(network.widths, pixels, strict=True):
        for _ in range(network.blocks):
            yield Layer(inputs, outputs, 3, size, outputs if residual else inputs)
            yield Layer(outputs, outputs, 3, size, outputs)
            if inputs != outputs and network.family == "wrn":
                yield Layer(inputs, outputs, 1, size, 0)
            inputs = outputs


def _dense_layers(network: Network, pixels: list[int]) -> Iterator[Layer]:
    channels = network.stem
    for group, size in enumerate(pixels):
        if group:  # the transition: its convolution runs before it pools
            yield Layer(channels, channels // 2, 1, pixels[group - 1], channels)
            channels //= 2
        for _ in range(network.blocks):
            bottleneck = 4 * network.growth
            yield Layer(channels, bottleneck, 1, size, channels)
            yield Layer(bottleneck, network.growth, 3, size, bottleneck)
            channels += network.growth


def parse(name: str) -> Network:
    """Take a name apart. KdpipeError says what is wrong, nearest names, allowed forms."""
    if match := _DEPTH_AND_WIDTH.fullmatch(name):
        kind, depth, width = match[1], int(match[2]), float(match[3])
        _refuse(name, kind, depth, width)
        blocks = (depth - 4) // 6
        if kind == "densenet-bc":
            return _densenet(blocks, growth=int(width))
        widths = (int(16 * width), int(32 * width), int(64 * width))
        return Network(kind, blocks, stem=16, widths=widths, growth=0)
    if name in _RESNETS:
        return Network("resnet", (_RESNETS[name] - 2) // 6, stem=16, widths=(16, 32, 64), growth=0)
    if zoo.facts(name) is not None:
        return Network("torchvision", blocks=0, stem=64, widths=(), growth=0)
    raise KdpipeError(f"there is no network {name[:60]!r}; {_nearest(name)}{_FORMS}")


def _densenet(blocks: int, growth: int) -> Network:
    first = 2 * growth + blocks * growth
    second = first // 2 + blocks * growth  # a transition halves the channels (compression 0.5)
    third = second // 2 + blocks * growth
    return Network("densenet-bc", blocks, 2 * growth, (first, second, third), growth)


def _refuse(name: str, kind: str, depth: int, width: float) -> None:
    noun = "width" if kind == "wrn" else "growth"
    wrong, depths, nearest_width = [], [depth], width
    if depth not in _DEPTHS:
        wrong.append(f"depth must be 6n+4, from {_DEPTHS[0]} to {_DEPTHS[-1]}, not {depth}")
        depths = sorted(sorted(_DEPTHS, key=lambda d: abs(d - depth))[:2])
    if width > _MAX_WIDTH:
        wrong.append(f"{noun} must be at most {_MAX_WIDTH}, not {width:g}")
        nearest_width = _MAX_WIDTH
    elif kind == "wrn" and width < _MIN_WIDTH:
        wrong.append(f"width must leave int(16 * width) >= 1 channel, not {width:g}")
        nearest_width = _MIN_WIDTH
    elif kind == "densenet-bc" and (width < 1 or width % 1):
        wrong.append(f"growth must be a whole number of at least 1, not {width:g}")
        nearest_width = max(1, round(width))
    names = ", ".join(f"{kind}{d}-{nearest_width:g}" for d in depths)
    if wrong:
        raise KdpipeError(f"network '{name}': {' and '.join(wrong)}; nearest: {names}; {_FORMS}")
    if name != names:  # one network, one spelling: it is part of a run's identity
        raise KdpipeError(f"network '{name}' must be written '{names}'; {_FORMS}")


def _nearest(name: str) -> str:
    """'nearest: ...; ', found among common names and those made of the numbers in `name`."""
    candidates = [*_COMMON, *zoo.names()]
    numbers = re.findall(r"[0-9]{1,4}(?:\.[0-9]{1,4})?", name[:40])
    for kind in ("wrn", "densenet-bc"):
        with contextlib.suppress(KdpipeError):
            candidate = f"{kind}{'-'.join(numbers)}"
            if _DEPTH_AND_WIDTH.fullmatch(candidate):
                parse(candidate)
                candidates.append(candidate)
    close = difflib.get_close_matches(name[:40].lower(), dict.fromkeys(candidates))
    return f"nearest: {', '.join(close)}; " if close else ""
