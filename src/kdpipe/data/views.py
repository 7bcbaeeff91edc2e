"""Views: the augmented versions of an image, as a numbered set.

Each augmentation is a digit of the number of a view, with as many values as it makes views. The
last digit says whether the image is mirrored, the one before it where a crop is taken: pad 4 with
flip has 81 * 2 = 162 views, of which view v is mirrored where v % 2 is 1, and cropped at row v // 2
// 9 and column v // 2 % 9. Without flip that digit has one value and disappears.

A new augmentation becomes the first digit: it gets a higher `position` than all others, and the
value 0 for the image as it is, so that every number that there was before means the same view. Once
it is in use it keeps its position.

The number of views may be infinite. Then the number of a view is the seed that it is drawn with,
and each augmentation draws what it needs: of images in an array from a seed of its own that is
split off; of images that stream from torch's generator, the last digit first.

A study may draw a few views of each image once, with `data.views`. Then a view has its number among
those of its image, and `find_numbers` says which of all views it is. Where a recipe mixes images,
each of them is mixed with a view of another image (`data.mixtures`).
"""

import functools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from kdpipe import registry
from kdpipe.errors import DataError
from kdpipe.pydantic_base import StrictModel
from kdpipe.runs.recipe import MIX_KEYS

MAX_SEEDS = 2**63 - 1
INFINITE = 0  # a count of views: as many as there are seeds
# Constants of SplitMix64, as signed numbers.
GOLDEN_GAMMA = 0x9E3779B97F4A7C15 - 2**64
MIX_FIRST, MIX_SECOND = 0xBF58476D1CE4E5B9 - 2**64, 0x94D049BB133111EB - 2**64


def _return_zero(_: Any) -> int:
    """Return 0, whatever the keys."""
    return 0


@dataclass(frozen=True)
class Augmentation:
    """A digit of the number of a view: `AUGMENTATION` of a file in `augmentations/`.

    A function for images of one kind is None where the augmentation is not for such images. All
    functions take the keys, an instance of `keys`, as their first argument. Augmentations are
    pickled for the processes that read images: no lambdas.

    Attributes
    ----------
    keys : type of StrictModel
        The keys in the section `data` of a study. With their defaults there is one view, the image
        as it is.
    position : int
        The position of the digit, counted from the end of the number, from 0.
    count : callable
        Returns the number of values of the digit, or INFINITE.
    identity_value : callable
        Returns the value at which the image is as it is.
    pad_images : callable or None
        For images in an array: maps images (N, C, H, W) to images with a margin that a view may
        show.
    transform_indices : callable or None
        For images in an array: maps values (B,), rows (B or 1, H) and columns (B or 1, W) of an
        image with its margin, all tensors, to other rows and columns.
    transform_pil : callable or None
        For images that stream: maps a value and a PIL image of the final size to another image.
    build_transform : callable or None
        For images that stream, with infinitely many views: maps the side of what a network gets to
        a transform of PIL images that draws from torch's global generator.
    transform_uint8 : callable or None
        For images in an array, with infinitely many views: maps seeds (B,), on the CPU, and images
        (B, H, W, C) uint8, which it may overwrite, to other images.
    transform_tensor : callable or None
        For all images, with infinitely many views: maps seeds (B,), on the CPU, and normalized
        images (B, C, H, W), which it may overwrite, to other images.
    sets_size : bool
        Whether the result of `build_transform` gives images of the final side, whatever their size
        was.
    revision : int or None
        Raised by hand when the views change. None: as old as `views` in `hashing.REVISIONS`, which
        stands for it, and its keys are in every spec. The keys of a newer augmentation are, with
        its revision, only in the specs of runs that use it, so that its existence renames no run.
    """

    keys: type[StrictModel]
    position: int
    count: Callable[[Any], int]
    identity_value: Callable[[Any], int] = _return_zero
    pad_images: Callable[[Any, Any], Any] | None = None
    transform_indices: Callable[[Any, Any, Any, Any], tuple[Any, Any]] | None = None
    transform_pil: Callable[[Any, int, Any], Any] | None = None
    build_transform: Callable[[Any, int], Callable[[Any], Any]] | None = None
    transform_uint8: Callable[[Any, Any, Any], Any] | None = None
    transform_tensor: Callable[[Any, Any, Any], Any] | None = None
    sets_size: bool = False
    revision: int | None = None


@functools.cache
def load_augmentations() -> dict[str, Augmentation]:
    """Return the augmentations by name, the first digit first."""
    augmentations = registry.load_all_objects(
        "kdpipe.data.augmentations", "AUGMENTATION", Augmentation
    )
    return dict(sorted(augmentations.items(), key=lambda item: -item[1].position))


def build_views_spec(data: StrictModel) -> dict:
    """Return the `views` of a spec for the section `data`, without their common revision."""
    spec = {}
    for name, augmentation in load_augmentations().items():
        keys = data.model_dump(include=set(augmentation.keys.model_fields))
        if augmentation.revision is None:
            spec |= keys
        elif keys != augmentation.keys().model_dump():
            spec |= keys | {f"{name}_revision": augmentation.revision}
    return spec


@dataclass(frozen=True)
class Views:
    """The views of a study: its augmentations of more than one value, the first digit first.

    Attributes
    ----------
    augmentations : tuple of (Augmentation, StrictModel)
        Each augmentation with its keys.
    drawn : int
        How many views of each image are drawn from all views; 0: none, all are used.
    drawn_seed : int
        The seed that they are drawn with.
    mixes : tuple of (str, float)
        How drawn views are mixed with those of other images: keys of a recipe with their alphas.
    """

    augmentations: tuple[tuple[Augmentation, Any], ...]  # each with its section
    drawn: int = 0
    drawn_seed: int = 0
    mixes: tuple[tuple[str, float], ...] = ()

    @classmethod
    def from_spec(cls, spec: Mapping[str, Any]) -> "Views":
        """Return the views of the `views` of a spec; keys that it lacks have their defaults."""
        pairs = []
        for augmentation in load_augmentations().values():
            fields = {key: spec[key] for key in augmentation.keys.model_fields if key in spec}
            keys = augmentation.keys.model_validate(fields)
            if augmentation.count(keys) != 1:
                pairs.append((augmentation, keys))
        mixed = spec.get("mixed", {})
        mixes = tuple((key, mixed[key]) for key in MIX_KEYS if key in mixed)
        return cls(tuple(pairs), spec.get("drawn", 0), spec.get("drawn_seed", 0), mixes)

    @property
    def is_infinite(self) -> bool:
        """Return whether there are infinitely many views, so that their numbers are seeds."""
        return any(
            augmentation.count(keys) == INFINITE for augmentation, keys in self.augmentations
        )

    @property
    def count(self) -> int:
        """Return the number of views of an image, or of seeds where there are infinitely many."""
        return self.drawn or self._count_all()

    @property
    def cached_count(self) -> int:
        """Return the number of views in a logit cache; 0 if there are infinitely many views.

        Drawn views are followed by the image itself, which need not be one of them.
        """
        if self.drawn:
            return self.drawn + 1
        return 0 if self.is_infinite else self._count_all()

    def _count_all(self) -> int:
        """Return the number of views that a view is drawn from."""
        if self.is_infinite:
            return MAX_SEEDS
        return math.prod(augmentation.count(keys) for augmentation, keys in self.augmentations)

    @property
    def identity_view(self) -> int:
        """Return the number of the view that is the image itself."""
        if self.drawn:
            return self.drawn
        number = 0
        for augmentation, keys in self.augmentations:
            number = number * augmentation.count(keys) + augmentation.identity_value(keys)
        return number

    def find_numbers(self, index: Any, view: Any) -> Any:
        """Return the numbers, among all views, of views of images.

        Parameters
        ----------
        index, view : int, or Tensor of shape (B,)
            The images, and the numbers of their views.

        Returns
        -------
        int, or Tensor of shape (B,)
            The views themselves, unless some views of each image were drawn.
        """
        if not self.drawn:
            return view
        return split_seed(self._find_seed(index, view), 4) % self._count_all()

    def split_mixture_seeds(self, index: Any, view: Any) -> list[Any]:
        """Return six seeds for each of these drawn views, which their mixtures are drawn with.

        Parameters
        ----------
        index, view : int, or Tensor of shape (B,)
            The images, and the numbers of their views.
        """
        seed = self._find_seed(index, view)
        return [split_seed(seed, number) for number in range(5, 11)]

    def _find_seed(self, index: Any, view: Any) -> Any:
        """Return the seed of a drawn view of an image."""
        image_seed = split_seed(self.drawn_seed, 0) ^ split_seed(index, 1)
        return split_seed(image_seed, 2) ^ split_seed(view, 3)

    def decode(self, number) -> list[tuple[Augmentation, Any, Any]]:
        """Return each augmentation with its keys and its value in the number of a view.

        Of infinitely many views each augmentation gets a seed split off from the number, and its
        value from that seed.

        Parameters
        ----------
        number : int or Tensor
            The number of a view, or of several.
        """
        if self.is_infinite:
            seeds = [
                split_seed(number, augmentation.position) for augmentation, _ in self.augmentations
            ]
            counts = [augmentation.count(keys) for augmentation, keys in self.augmentations]
            values = [s % n if n != INFINITE else s for s, n in zip(seeds, counts, strict=True)]
            return [(*pair, value) for pair, value in zip(self.augmentations, values, strict=True)]
        decoded = []
        for position, (augmentation, keys) in reversed(list(enumerate(self.augmentations))):
            value = number
            if position:  # the first digit gets what is left
                value, number = (
                    number % augmentation.count(keys),
                    number // augmentation.count(keys),
                )
            decoded.append((augmentation, keys, value))
        return decoded[::-1]

    def check_supported(
        self, method: Literal["transform_indices", "transform_pil", "build_transform"]
    ) -> None:
        """Raise DataError for an augmentation that images like these cannot have.

        Parameters
        ----------
        method : str
            The function that such images need.
        """
        in_memory = method == "transform_indices"
        alternatives = (
            ("transform_tensor", "transform_uint8") if in_memory else ("transform_tensor",)
        )
        for augmentation, _ in self.augmentations:
            if all(
                getattr(augmentation, attribute) is None for attribute in (method, *alternatives)
            ):
                key = next(iter(augmentation.keys.model_fields))
                storage = "are one array" if in_memory else "stream"
                raise DataError(f"data.{key}: not supported for images that {storage}")


def split_seed(seed: Any, number: int) -> Any:
    """Return the `number`-th of the seeds that each seed is split into.

    Parameters
    ----------
    seed : int or Tensor
        Seeds, in [0, 2**63).
    number : int
        Which of the seeds to return.

    Returns
    -------
    int or Tensor
        Seeds, in [0, 2**63).

    References
    ----------
    SplitMix64 (Steele, Lea and Flood, 2014), in whole numbers that wrap around.
    """
    mixed = seed + (GOLDEN_GAMMA * (number + 1) + 2**63) % 2**64 - 2**63
    mixed = (mixed ^ (mixed >> 30 & 2**34 - 1)) * MIX_FIRST
    mixed = (mixed ^ (mixed >> 27 & 2**37 - 1)) * MIX_SECOND
    return (mixed ^ (mixed >> 31 & 2**33 - 1)) & 2**63 - 1


IDENTITY_VIEWS = Views(())
