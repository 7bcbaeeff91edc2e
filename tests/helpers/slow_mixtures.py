"""The slow twin of mixed views: one number at a time, pixels and labels mixed by torchvision."""

import math
from typing import NamedTuple

import numpy as np
import torch
from scipy.stats import beta
from torchvision.transforms import v2

from kdpipe.data.views import Views


class Mixture(NamedTuple):
    """A partner (image, view), and what torchvision's transform draws for a batch."""

    partner: int
    view: int
    kind: str
    params: dict


def split_seed(seed: int, number: int) -> int:
    """SplitMix64 as it is published, modulo 2^64; the top bit is dropped."""
    z = (seed + (number + 1) * 0x9E3779B97F4A7C15) % 2**64
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB % 2**64
    return (z ^ (z >> 31)) % 2**63


def draw(views: Views, index: int, view: int, images: int, height: int, width: int) -> Mixture:
    """The mixture of a view of one of so many images."""
    of_image = split_seed(views.drawn_seed, 0) ^ split_seed(index, 1)
    seed = split_seed(of_image, 2) ^ split_seed(view, 3)
    partner, other_view, kind, level, y, x = (split_seed(seed, number) for number in range(5, 11))
    name, alpha = views.mixes[kind % len(views.mixes)]
    lam = float(np.float32(beta.ppf((level % 65536 + 0.5) / 65536, alpha, alpha)))
    x, y, r = x % width, y % height, 0.5 * math.sqrt(1 - lam)
    half_width, half_height = int(r * width), int(r * height)
    box = (
        max(x - half_width, 0),
        max(y - half_height, 0),
        min(x + half_width, width),
        min(y + half_height, height),
    )
    adjusted = 1 - (box[2] - box[0]) * (box[3] - box[1]) / (width * height)
    params = {"lam": lam, "box": box, "lam_adjusted": adjusted, "batch_size": 2}
    others = [each for each in range(index + 1, index + images)]  # around the corner
    partner = others[partner % len(others)] % images
    return Mixture(partner, other_view % views.drawn, name, params)


def mix(mixture: Mixture, pixels: torch.Tensor, labels: torch.Tensor, classes: int):
    """The mixed image and its shares, of those of the partner and then the image's own."""
    transform = {"mixup": v2.MixUp, "cutmix": v2.CutMix}[mixture.kind](num_classes=classes)
    params = mixture.params | {"labels": labels}
    return transform.transform(pixels, params)[1], transform.transform(labels, params)[1]
