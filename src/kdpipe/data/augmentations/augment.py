"""Augment: RandAugment (Cubuk et al., 2020) or TrivialAugment (Mueller and Hutter, 2021).

Of RandAugment some operations follow each other, each of the fourteen with even chances and all of
one strength; of TrivialAugment there is one, of any strength, from a wider range. The operations,
their 31 strengths and their even chances are torchvision's. Images in one array are changed in
groups of equal operation and strength; those that stream are changed by torchvision's own
transforms where they are read. What a rotation leaves empty is black, as there.
"""

import math
from typing import Any, Literal

from pydantic import Field, model_validator

from kdpipe.data.views import ENDLESS, Digit, split
from kdpipe.section import Section

STRENGTHS = 31
PLAIN = {"Identity", "AutoContrast", "Equalize"}  # of no strength
POSITIVE = {"Posterize", "Solarize"}  # of the others every second has its strength below zero
OPERATIONS = (
    *("Identity", "ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate", "Brightness", "Color"),
    *("Contrast", "Sharpness", "Posterize", "Solarize", "AutoContrast", "Equalize"),
)
# By policy: the greatest shear, rotation in degrees, change of brightness and its like, and how
# many of 8 bits posterizing takes at the most.
GREATEST = {"rand": (0.3, 30.0, 0.9, 4), "trivial": (0.99, 135.0, 0.99, 6)}
RAND = {"operations": 2, "magnitude": 9}  # where they are not given


class Augment(Section):
    """Views without end: operations on whole images, drawn for each image."""

    policy: Literal["rand", "trivial"] = Field(
        description="rand: RandAugment; trivial: TrivialAugment, one operation of any strength",
        examples=["trivial"],
    )
    operations: int | None = Field(
        None, ge=1, le=8, description="of rand: how many follow each other; null: 2", examples=[1]
    )
    magnitude: int | None = Field(
        None, ge=0, le=30, description="of rand: the strength, of 31; null: 9", examples=[14]
    )

    @model_validator(mode="before")
    @classmethod
    def _whole(cls, given: Any) -> Any:
        """RandAugment's numbers are written out, so that 2 and null are one run."""
        if isinstance(given, dict) and given.get("policy") == "rand":
            return given | {k: v for k, v in RAND.items() if given.get(k) is None}
        return given

    @model_validator(mode="after")
    def _of_its_policy(self):
        if self.policy == "trivial" and not self.operations is self.magnitude is None:
            raise ValueError(
                "operations and magnitude are of policy: rand; TrivialAugment has none"
            )
        return self


class Keys(Section):
    augment: Augment | None = Field(
        None,
        description="RandAugment or TrivialAugment, drawn for each image: views without end, "
        "teachers answer live; null: none",
        examples=[{"policy": "trivial"}],
    )


def count(keys: Keys) -> int:
    return 1 if keys.augment is None else ENDLESS


def strengths(policy: str, operation: str, height: int, width: int) -> Any:
    """The strengths (31,) of an operation on images of that size; None of one that has none."""
    import torch

    shear, angle, factor, bits = GREATEST[policy]
    if operation in PLAIN:
        return None
    if operation == "Posterize":
        return (8 - torch.arange(STRENGTHS) / ((STRENGTHS - 1) / bits)).round().int()
    if operation == "Solarize":
        return torch.linspace(1.0, 0.0, STRENGTHS)
    most = {"ShearX": shear, "ShearY": shear, "Rotate": angle}.get(operation, factor)
    if operation.startswith("Translate"):
        side = width if operation == "TranslateX" else height
        most = 150.0 / 331.0 * side if policy == "rand" else 32.0
    return torch.linspace(0.0, most, STRENGTHS)


def changed(images: Any, operation: str, strength: float) -> Any:
    """Images (B, C, H, W) uint8 after one operation of that strength, all of them alike."""
    from torchvision.transforms.v2 import functional as F

    def moved(translate=(0, 0), shear=(0.0, 0.0), center=None) -> Any:
        return F.affine(
            images, angle=0.0, translate=[*translate], scale=1.0, shear=[*shear], center=center
        )

    match operation:
        case "Identity":
            return images
        case "ShearX":
            return moved(shear=(math.degrees(math.atan(strength)), 0.0), center=[0, 0])
        case "ShearY":
            return moved(shear=(0.0, math.degrees(math.atan(strength))), center=[0, 0])
        case "TranslateX":
            return moved(translate=(int(strength), 0))
        case "TranslateY":
            return moved(translate=(0, int(strength)))
        case "Rotate":
            return F.rotate(images, angle=strength)
        case "Brightness":
            return F.adjust_brightness(images, brightness_factor=1.0 + strength)
        case "Color":
            return F.adjust_saturation(images, saturation_factor=1.0 + strength)
        case "Contrast":
            return F.adjust_contrast(images, contrast_factor=1.0 + strength)
        case "Sharpness":
            return F.adjust_sharpness(images, sharpness_factor=1.0 + strength)
        case "Posterize":
            return F.posterize(images, bits=int(strength))
        case "Solarize":
            return F.solarize(images, threshold=255 * strength)
        case "AutoContrast":
            return F.autocontrast(images)
    return F.equalize(images)


def choices(augment: Augment, seed: Any, height: int, width: int) -> list[Any]:
    """What each image (B,) goes through, an array (B, 2) a step: the operation's number, strength.

    seed: (B,) on the CPU.
    """
    import numpy as np

    table = np.zeros((len(OPERATIONS), STRENGTHS))
    for number, operation in enumerate(OPERATIONS):
        found = strengths(augment.policy, operation, height, width)
        table[number] = 0.0 if found is None else found.double().numpy()
    signed = np.array([one not in PLAIN | POSITIVE for one in OPERATIONS])
    steps = []
    for step in range(augment.operations or 1):
        which, strong, sign = (split(seed, 3 * step + part).numpy() for part in range(3))
        number = which % len(OPERATIONS)
        fixed = augment.magnitude
        strength = table[number, strong % STRENGTHS if fixed is None else fixed]
        negative = (sign % 2 == 0) & signed[number]
        steps.append(np.stack([number, np.where(negative, -strength, strength) + 0.0], axis=1))
    return steps


def pixels(keys: Keys, seed: Any, images: Any) -> Any:
    """Images (B, H, W, C) uint8, each changed as its seed says."""
    import numpy as np
    import torch

    from kdpipe.data.images import over

    augment: Any = keys.augment
    found = images.permute(0, 3, 1, 2)
    for step in choices(augment, seed, *found.shape[2:]):
        groups, group = np.unique(step, axis=0, return_inverse=True)
        for place, (number, strength) in enumerate(groups):
            operation = OPERATIONS[int(number)]
            if operation != "Identity":
                rows = torch.from_numpy(np.flatnonzero(group.reshape(-1) == place))
                rows = over(rows, found.device)
                taken = found[rows].contiguous()  # sums of an image as if it were alone
                found[rows] = changed(taken, operation, float(strength))
    return found.permute(0, 2, 3, 1)


def drawn(keys: Keys, side: int) -> Any:
    """torchvision's transform of that name."""
    from torchvision.transforms import v2

    augment: Any = keys.augment
    if augment.policy == "trivial":
        return v2.TrivialAugmentWide(num_magnitude_bins=STRENGTHS)
    return v2.RandAugment(augment.operations, augment.magnitude, STRENGTHS)


DIGIT = Digit(keys=Keys, place=3, count=count, pixels=pixels, drawn=drawn, revision=1)
