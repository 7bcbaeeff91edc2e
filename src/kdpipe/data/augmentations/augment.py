"""Augment: RandAugment (Cubuk et al., 2020) or TrivialAugment (Mueller and Hutter, 2021).

RandAugment applies several operations in sequence, each drawn uniformly from fourteen and all of
one magnitude; TrivialAugment applies one, of any magnitude, from a wider range. The operations,
their 31 magnitudes and their probabilities are torchvision's. Images in memory are transformed in
groups of equal operation and magnitude; streamed images by torchvision's own transforms when they
are read. Areas that a rotation leaves empty are black, as in torchvision.
"""

import math
from typing import Any, Literal

from pydantic import Field, model_validator

from kdpipe.data.views import INFINITE, Augmentation, split_seed
from kdpipe.pydantic_base import StrictModel

NUM_MAGNITUDES = 31
WITHOUT_MAGNITUDE = {"Identity", "AutoContrast", "Equalize"}
UNSIGNED = {"Posterize", "Solarize"}  # the others have negative magnitudes half of the time
OPERATIONS = (
    *("Identity", "ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate", "Brightness", "Color"),
    *("Contrast", "Sharpness", "Posterize", "Solarize", "AutoContrast", "Equalize"),
)
# By policy: the largest shear, rotation in degrees, change of brightness and the like, and how many
# of 8 bits posterizing removes.
MAX_MAGNITUDES = {"rand": (0.3, 30.0, 0.9, 4), "trivial": (0.99, 135.0, 0.99, 6)}
RAND_DEFAULTS = {"operations": 2, "magnitude": 9}  # of null


class Augment(StrictModel):
    """Infinitely many views: operations on whole images, drawn per image."""

    policy: Literal["rand", "trivial"] = Field(
        description="rand: RandAugment; trivial: TrivialAugment, one operation of any magnitude",
        examples=["trivial"],
    )
    operations: int | None = Field(
        None,
        ge=1,
        le=8,
        description="rand only: number of operations in sequence; null: 2",
        examples=[1],
    )
    magnitude: int | None = Field(
        None, ge=0, le=30, description="rand only: the magnitude, of 31; null: 9", examples=[14]
    )

    @model_validator(mode="before")
    @classmethod
    def _fill_defaults(cls, values: Any) -> Any:
        """Fill in the defaults of RandAugment, so that 2 and null give the same run."""
        if isinstance(values, dict) and values.get("policy") == "rand":
            return values | {k: v for k, v in RAND_DEFAULTS.items() if values.get(k) is None}
        return values

    @model_validator(mode="after")
    def _check_policy(self):
        """Reject the parameters of RandAugment if TrivialAugment is used."""
        if self.policy == "trivial" and not self.operations is self.magnitude is None:
            raise ValueError("operations and magnitude apply only to policy: rand")
        return self


class Keys(StrictModel):
    """The keys of the augmentation."""

    augment: Augment | None = Field(
        None,
        description="RandAugment or TrivialAugment, drawn per image: an infinite number of views, "
        "which requires live teachers unless some are drawn once (views); null: none",
        examples=[{"policy": "trivial"}],
    )


def count(keys: Keys) -> int:
    """Return the number of values of the digit."""
    return 1 if keys.augment is None else INFINITE


def compute_magnitudes(policy: str, operation: str, height: int, width: int) -> Any:
    """Return the magnitudes (31,) of an operation on images of a size; None if it has none."""
    import torch

    shear, angle, factor, bits = MAX_MAGNITUDES[policy]
    if operation in WITHOUT_MAGNITUDE:
        return None
    if operation == "Posterize":
        return (8 - torch.arange(NUM_MAGNITUDES) / ((NUM_MAGNITUDES - 1) / bits)).round().int()
    if operation == "Solarize":
        return torch.linspace(1.0, 0.0, NUM_MAGNITUDES)
    maximum = {"ShearX": shear, "ShearY": shear, "Rotate": angle}.get(operation, factor)
    if operation.startswith("Translate"):
        side = width if operation == "TranslateX" else height
        maximum = 150.0 / 331.0 * side if policy == "rand" else 32.0
    return torch.linspace(0.0, maximum, NUM_MAGNITUDES)


def apply_operation(images: Any, operation: str, strength: float) -> Any:
    """Apply one operation of one magnitude to images (B, C, H, W) uint8."""
    from torchvision.transforms.v2 import functional as F

    def affine(translate=(0, 0), shear=(0.0, 0.0), center=None) -> Any:
        """Return the images after an affine transform."""
        return F.affine(
            images, angle=0.0, translate=[*translate], scale=1.0, shear=[*shear], center=center
        )

    match operation:
        case "Identity":
            return images
        case "ShearX":
            return affine(shear=(math.degrees(math.atan(strength)), 0.0), center=[0, 0])
        case "ShearY":
            return affine(shear=(0.0, math.degrees(math.atan(strength))), center=[0, 0])
        case "TranslateX":
            return affine(translate=(int(strength), 0))
        case "TranslateY":
            return affine(translate=(0, int(strength)))
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


def sample_operations(augment: Augment, seed: Any, height: int, width: int) -> list[Any]:
    """Draw the operations of each image.

    Parameters
    ----------
    augment : Augment
        The keys of the augmentation.
    seed : Tensor of shape (B,)
        One seed per image, on the CPU.
    height, width : int
        The size of the images.

    Returns
    -------
    list of ndarray of shape (B, 2)
        For each step, the index of the operation and its magnitude.
    """
    import numpy as np

    table = np.zeros((len(OPERATIONS), NUM_MAGNITUDES))
    for number, operation in enumerate(OPERATIONS):
        magnitudes = compute_magnitudes(augment.policy, operation, height, width)
        table[number] = 0.0 if magnitudes is None else magnitudes.double().numpy()
    signed = np.array([name not in WITHOUT_MAGNITUDE | UNSIGNED for name in OPERATIONS])
    steps = []
    for step in range(augment.operations or 1):
        operation_draw, strength_draw, sign = (
            split_seed(seed, 3 * step + part).numpy() for part in range(3)
        )
        number = operation_draw % len(OPERATIONS)
        fixed = augment.magnitude
        strength = table[number, strength_draw % NUM_MAGNITUDES if fixed is None else fixed]
        negative = (sign % 2 == 0) & signed[number]
        steps.append(np.stack([number, np.where(negative, -strength, strength) + 0.0], axis=1))
    return steps


def transform_uint8(keys: Keys, seed: Any, images: Any) -> Any:
    """Return images (B, H, W, C) uint8, each transformed as determined by its seed."""
    import numpy as np
    import torch

    from kdpipe.data.batches import to_device

    augment: Any = keys.augment
    batch = images.permute(0, 3, 1, 2)
    for step in sample_operations(augment, seed, *batch.shape[2:]):
        groups, group = np.unique(step, axis=0, return_inverse=True)
        for group_index, (number, strength) in enumerate(groups):
            operation = OPERATIONS[int(number)]
            if operation != "Identity":
                rows = torch.from_numpy(np.flatnonzero(group.reshape(-1) == group_index))
                rows = to_device(rows, batch.device)
                selected = batch[rows].contiguous()  # sums as for single images
                batch[rows] = apply_operation(selected, operation, float(strength))
    return batch.permute(0, 2, 3, 1)


def build_transform(keys: Keys, side: int) -> Any:
    """Return torchvision's transform of the policy."""
    from torchvision.transforms import v2

    augment: Any = keys.augment
    if augment.policy == "trivial":
        return v2.TrivialAugmentWide(num_magnitude_bins=NUM_MAGNITUDES)
    return v2.RandAugment(augment.operations, augment.magnitude, NUM_MAGNITUDES)


AUGMENTATION = Augmentation(
    keys=Keys,
    position=3,
    count=count,
    transform_uint8=transform_uint8,
    build_transform=build_transform,
    revision=1,
)
