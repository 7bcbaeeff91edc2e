"""Views: the augmented versions of an image, as a numbered set.

Each augmentation is a digit of the number of a view, with as many values as it makes views. The
last digit says whether the image is mirrored, the one before it where a crop is taken: pad 4 with
flip has 81 * 2 = 162 views, of which view v is mirrored where v % 2 is 1, and cropped at row
v // 2 // 9 and column v // 2 % 9. Without flip that digit is gone: it has one value.

A new augmentation goes in front, with a higher `place` than all others and 0 for the image as it
is: every number that there was before means the same view. Once it is in use it keeps its place.

The views may have no end. Then the number of a view is the seed that it is drawn with, and each
augmentation draws what it needs: of images in an array from a seed of its own that is split off; of
images that stream from torch's generator, the last digit first.
"""

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from kdpipe import discovery
from kdpipe.errors import DataError
from kdpipe.section import Section

SEEDS = 2**63 - 1
ENDLESS = 0  # a count: there are as many as seeds
# Of SplitMix64, as signed numbers.
GOLDEN = 0x9E3779B97F4A7C15 - 2**64
FIRST, SECOND = 0xBF58476D1CE4E5B9 - 2**64, 0x94D049BB133111EB - 2**64


def first(_: Any) -> int:
    """The value 0, whatever the keys."""
    return 0


@dataclass(frozen=True)
class Digit:
    """An augmentation, `DIGIT` of a file in `augmentations/`: a digit of the number of a view.

    `keys`: a section of `data` in a study, neutral as it comes: one view, as the image is. All that
    follows takes such a section first.
    `place`: counted from the end of the number, from 0.
    `count`: how many values the digit has; ENDLESS for views without end.
    `plain`: the value at which the image is as it is.

    Of images in one array:
    `margin`: images (N, C, H, W) with what a view may show beside them.
    `gather`: given values (B,) of the digit, the rows (B or 1, H) and columns (B or 1, W) that are
    taken of an image with its margin, as tensors, what it makes of them.
    `pixels`: of views without end: given seeds of its own (B,), on the CPU, and images (B, H, W, C)
    uint8, which it may overwrite, the new images.

    Of images that stream:
    `image`: given a value and an image of PIL, which has its size already, the new image.
    `drawn`: given the side of what a network sees, a transform of images of PIL that draws from
    torch's own generator.
    `sized`: whether that transform gives an image of this side, whatever it is given.

    Of both: `normalised`: of views without end: given seeds of its own (B,), on the CPU, and the
    normalised images (B, C, H, W), which it may overwrite, the new images.

    Any of them is None where the augmentation is not for such images. `revision` is raised by hand
    when the views change. None: as old as `views` in `identity.REVISIONS`, which
    stands for it; its keys are in every spec. Those of a newer one stand, with its revision, in
    the specs of those who use it alone: it renames no run by being there. All of it is pickled for
    the processes that read images: no lambda.
    """

    keys: type[Section]
    place: int
    count: Callable[[Any], int]
    plain: Callable[[Any], int] = first
    margin: Callable[[Any, Any], Any] | None = None
    gather: Callable[[Any, Any, Any, Any], tuple[Any, Any]] | None = None
    image: Callable[[Any, int, Any], Any] | None = None
    drawn: Callable[[Any, int], Callable[[Any], Any]] | None = None
    pixels: Callable[[Any, Any, Any], Any] | None = None
    normalised: Callable[[Any, Any, Any], Any] | None = None
    sized: bool = False
    revision: int | None = None


@functools.cache
def digits() -> dict[str, Digit]:
    """The augmentations by name, the digit in front first."""
    found = discovery.every("kdpipe.data.augmentations", "DIGIT", Digit)
    return dict(sorted(found.items(), key=lambda each: -each[1].place))


def spec_of(data: Section) -> dict:
    """What the `views` of a spec say, of the keys of `data`; but the revision of all of them."""
    found = {}
    for name, digit in digits().items():
        keys = data.model_dump(include=set(digit.keys.model_fields))
        if digit.revision is None:
            found |= keys
        elif keys != digit.keys().model_dump():
            found |= keys | {f"{name}_revision": digit.revision}
    return found


@dataclass(frozen=True)
class Views:
    """The view set of a study: its digits of more than one value, the one in front first."""

    digits: tuple[tuple[Digit, Any], ...]  # each with its section

    @classmethod
    def of(cls, spec: dict) -> "Views":
        """Those of the `views` of a spec; keys that it lacks are neutral."""
        found = []
        for digit in digits().values():
            given = {key: spec[key] for key in digit.keys.model_fields if key in spec}
            keys = digit.keys.model_validate(given)
            if digit.count(keys) != 1:
                found.append((digit, keys))
        return cls(tuple(found))

    @property
    def endless(self) -> bool:
        """Whether the number of a view is a seed."""
        return any(digit.count(keys) == ENDLESS for digit, keys in self.digits)

    @property
    def count(self) -> int:
        """How many there are; of views without end, how many seeds."""
        if self.endless:
            return SEEDS
        return math.prod(digit.count(keys) for digit, keys in self.digits)

    @property
    def centre(self) -> int:
        """The view that is the image itself."""
        number = 0
        for digit, keys in self.digits:
            number = number * digit.count(keys) + digit.plain(keys)
        return number

    def values(self, number) -> list[tuple[Digit, Any, Any]]:
        """Digits with their sections and their values in a number, or in a tensor of numbers.

        Of views without end each has a seed split off from the number, and its value of that.
        """
        if self.endless:
            seeds = [split(number, digit.place) for digit, _ in self.digits]
            counts = [digit.count(keys) for digit, keys in self.digits]
            values = [s % n if n != ENDLESS else s for s, n in zip(seeds, counts, strict=True)]
            return [(*one, value) for one, value in zip(self.digits, values, strict=True)]
        found = []
        for place, (digit, keys) in reversed(list(enumerate(self.digits))):
            value = number
            if place:  # the one in front takes what is left
                value, number = number % digit.count(keys), number // digit.count(keys)
            found.append((digit, keys, value))
        return found[::-1]

    def refuse_without(self, way: Literal["gather", "image", "drawn"]) -> None:
        """Raise DataError for an augmentation that images like these cannot have."""
        also = ("normalised", "pixels") if way == "gather" else ("normalised",)
        for digit, _ in self.digits:
            if all(getattr(digit, one) is None for one in (way, *also)):
                key = next(iter(digit.keys.model_fields))
                those = "are one array" if way == "gather" else "stream"
                raise DataError(f"data.{key}: is not for images that {those}")


def split(seed: Any, number: int) -> Any:
    """The `number`-th of the seeds, in [0, 2**63), that each of a tensor of seeds is split into.

    SplitMix64 (Steele, Lea and Flood, 2014), in whole numbers that wrap around.
    """
    mixed = seed + (GOLDEN * (number + 1) + 2**63) % 2**64 - 2**63
    mixed = (mixed ^ (mixed >> 30 & 2**34 - 1)) * FIRST
    mixed = (mixed ^ (mixed >> 27 & 2**37 - 1)) * SECOND
    return (mixed ^ (mixed >> 31 & 2**33 - 1)) & 2**63 - 1


PLAIN = Views(())
