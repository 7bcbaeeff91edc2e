"""Names of the form `<kind><depth>-<width>`: wrn16-2, densenet-bc40-12.

One network has one spelling, since its name is part of a run's identity. A name that is nearly
right is answered with the right one.
"""

import contextlib
import re
from collections.abc import Callable, Iterator

from kdpipe.errors import KdpipeError

DEPTHS = range(10, 2000, 6)  # three groups of n blocks, each of two layers, and four more: 6n+4
MAX_WIDTH = 1000

# What is wrong with a width, and the nearest right one; or None.
Mend = Callable[[float], tuple[str, float] | None]


def form(kind: str) -> re.Pattern[str]:
    """The names of a kind, right or nearly so."""
    # The digits are bounded, so that no name makes int() or float() fail.
    return re.compile(rf"{kind}([0-9]{{1,9}})-([0-9]{{0,9}}\.?[0-9]{{1,9}})")


def numbers(name: str, kind: str, noun: str, mend: Mend) -> tuple[int, float] | None:
    """Blocks of each group and the width that a name says; None if it is of another form.

    Raises KdpipeError with the nearest names if it is not spelt so or a number is out of bounds;
    `noun` is what the width is called.
    """
    if not (match := form(kind).fullmatch(name)):
        return None
    depth, width = int(match[1]), float(match[2])
    wrong, depths, nearest = [], [depth], width
    if depth not in DEPTHS:
        wrong.append(f"depth must be 6n+4, from {DEPTHS[0]} to {DEPTHS[-1]}, not {depth}")
        depths = sorted(sorted(DEPTHS, key=lambda d: abs(d - depth))[:2])
    if width > MAX_WIDTH:
        wrong.append(f"{noun} must be at most {MAX_WIDTH}, not {width:g}")
        nearest = MAX_WIDTH
    elif mended := mend(width):
        wrong.append(mended[0])
        nearest = mended[1]
    names = ", ".join(f"{kind}{d}-{nearest:g}" for d in depths)
    if wrong:
        raise KdpipeError(f"network '{name}': {' and '.join(wrong)}; nearest: {names}")
    if name != names:
        raise KdpipeError(f"network '{name}' must be written '{names}'")
    return (depth - 4) // 6, width


def of_its_numbers(name: str, kind: str, parse: Callable[[str], object]) -> Iterator[str]:
    """The name of that kind made of the numbers in a misspelt one, if it means a network."""
    found = re.findall(r"[0-9]{1,4}(?:\.[0-9]{1,4})?", name[:40])
    candidate = f"{kind}{'-'.join(found)}"
    with contextlib.suppress(KdpipeError):
        if parse(candidate) is not None:
            yield candidate
