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

# From a width to what is wrong with it and the nearest right one, or None.
WidthFix = Callable[[float], tuple[str, float] | None]


def compile_name_pattern(prefix: str) -> re.Pattern[str]:
    """Compile the pattern of the names of a kind, right or nearly so."""
    # The digits are bounded, so that no name makes int() or float() fail.
    return re.compile(rf"{prefix}([0-9]{{1,9}})-([0-9]{{0,9}}\.?[0-9]{{1,9}})")


def parse_depth_width(
    name: str, prefix: str, noun: str, fix_width: WidthFix
) -> tuple[int, float] | None:
    """Parse the numbers of a name.

    Parameters
    ----------
    name : str
        The name.
    prefix : str
        Name of the kind, before the numbers.
    noun : str
        What the width is called in messages.
    fix_width : callable
        From a width to what is wrong with it and the nearest right one, or None.

    Returns
    -------
    tuple of (int, float), or None
        Blocks of each group, and the width; None for a name of another form.

    Raises
    ------
    KdpipeError
        With the nearest names, if a number is out of bounds or the name is spelt differently.
    """
    if not (match := compile_name_pattern(prefix).fullmatch(name)):
        return None
    depth, width = int(match[1]), float(match[2])
    errors, depths, nearest = [], [depth], width
    if depth not in DEPTHS:
        errors.append(f"depth must be 6n+4, from {DEPTHS[0]} to {DEPTHS[-1]}, not {depth}")
        depths = sorted(sorted(DEPTHS, key=lambda d: abs(d - depth))[:2])
    if width > MAX_WIDTH:
        errors.append(f"{noun} must be at most {MAX_WIDTH}, not {width:g}")
        nearest = MAX_WIDTH
    elif fix := fix_width(width):
        errors.append(fix[0])
        nearest = fix[1]
    names = ", ".join(f"{prefix}{d}-{nearest:g}" for d in depths)
    if errors:
        raise KdpipeError(f"network '{name}': {' and '.join(errors)}; nearest: {names}")
    if name != names:
        raise KdpipeError(f"network '{name}' must be written '{names}'")
    return (depth - 4) // 6, width


def suggest_from_numbers(name: str, prefix: str, parse: Callable[[str], object]) -> Iterator[str]:
    """Yield the name of that kind made of a misspelt one's numbers, if there is one."""
    numbers = re.findall(r"[0-9]{1,4}(?:\.[0-9]{1,4})?", name[:40])
    candidate = f"{prefix}{'-'.join(numbers)}"
    with contextlib.suppress(KdpipeError):
        if parse(candidate) is not None:
            yield candidate
