"""The keys of a study that define networks: custom ones, and those with pretrained weights."""

import re
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from kdpipe.models.pretrained.hub import is_repository
from kdpipe.pydantic_base import (
    DOTTED_PATTERN,
    SHA256_PATTERN,
    NetworkName,
    PositiveShare,
    Share,
    StrictModel,
)

LICENSE_PATTERN = r"^[^\x00-\x1f\x7f]*[^\x00-\x20\x7f][^\x00-\x1f\x7f]*$"  # one line, not blank
NamePattern = Annotated[str, Field(min_length=1, max_length=200)]
SideLength = Annotated[int, Field(ge=4, le=2048)]


class InputConfig(StrictModel):
    """The images that weights from elsewhere require, where they differ from the study's.

    The network sees the same crop as a student of the study, resized and normalized for it.
    """

    card: bool = Field(
        False,
        description="fill in missing keys from the metadata of the weights: torchvision's, or the "
        "config of an export or of timm",
        examples=[True],
    )
    size: SideLength | None = Field(
        None,
        description="size to which the whole crop is resized, antialiased; null: that of the "
        "metadata or the study",
        examples=[224],
    )
    resize: SideLength | None = Field(
        None,
        description="first resize the shorter side to this and take a center crop of `size`, as "
        "torchvision does with whole images; null: resize the whole crop to `size`",
        examples=[256],
    )
    interpolation: Literal["bilinear", "bicubic"] | None = Field(
        None,
        description="interpolation; null: that of the metadata, or bilinear",
        examples=["bicubic"],
    )
    mean: Annotated[list[Share], Field(min_length=1, max_length=3)] | None = Field(
        None,
        description="mean of pixels in [0, 1] for normalization, one per input channel: 1 (color "
        "images are converted to grayscale) or 3 (grayscale is repeated)",
        examples=[[0.485, 0.456, 0.406]],
    )
    std: Annotated[list[PositiveShare], Field(min_length=1, max_length=3)] | None = Field(
        None,
        description="standard deviation for normalization, one per input channel",
        examples=[[0.229, 0.224, 0.225]],
    )

    @model_validator(mode="after")
    def _check_normalization(self):
        if (self.mean is None) != (self.std is None):
            raise ValueError("give both mean and std")
        if self.mean is None and not self.card:
            raise ValueError(
                "give the mean and std with which the network was trained, or card: true if its "
                "weights have metadata"
            )
        if len(self.mean or []) != len(self.std or []) or len(self.mean or []) == 2:
            raise ValueError("mean and std must have one number per channel: 1 or 3 each")
        return self


class PretrainedWeights(StrictModel):
    """A network and a file of its weights.

    Either torchvision's weights by name (a `path` then saves the download), or those of a
    repository of the Hugging Face Hub, or a file of one's own; the last two with their SHA-256.
    """

    network: NetworkName = Field(description="the network of the weights", examples=["resnet34"])
    weights: Annotated[str, Field(min_length=1, max_length=80)] | None = Field(
        None,
        description="weights by name: torchvision's, e.g. IMAGENET1K_V1; or a timm repository on "
        "the Hub, OWNER/NAME (requires kdpipe[timm])",
        examples=["IMAGENET1K_V1", "timm/resnet18.a1_in1k"],
    )
    path: Annotated[str, Field(min_length=1, max_length=4000)] | None = Field(
        None,
        description="a file (safetensors or a state dict), or a folder with the config of an "
        "export or of timm; relative to this file",
        examples=["../weights/wrn16-2.safetensors"],
    )
    sha256: Annotated[str, Field(pattern=SHA256_PATTERN)] | None = Field(
        None,
        description=(
            "SHA-256 of the file, as printed by sha256sum; not for torchvision's weights, which "
            "have their own"
        ),
        examples=["e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"],
    )
    license: Annotated[str, Field(pattern=LICENSE_PATTERN)] | None = Field(
        None,
        description="license of the weights, where their own metadata do not state it: an "
        "identifier of SPDX or a name; it is named in the plan, on the page and in exports",
        examples=["apache-2.0", "cc-by-nc-4.0"],
    )

    @model_validator(mode="after")
    def _check_source(self):
        if self.weights is None and self.path is None:
            raise ValueError("give either weights (by name) or path (a file)")
        if self.weights is not None and is_repository(self.weights):
            if self.path is not None:
                raise ValueError("weights of the Hub are in its own cache: remove path")
        elif self.weights is not None and self.sha256 is not None:
            raise ValueError("torchvision's weights have their own checksum: remove sha256")
        return self


class PretrainedTeacher(PretrainedWeights):
    """A teacher that is not trained here: it brings its weights."""

    input: InputConfig | None = Field(
        None,
        description="its input images; null: those of the students, at the study's size and "
        "normalized by the study's mean and std",
        examples=[{"card": True}],
    )
    outputs: Annotated[int, Field(ge=1, le=1_000_000)] | None = Field(
        None,
        description="number of its classes; null: that of its metadata, else that of the data",
        examples=[1000],
    )
    classes: list[Annotated[int, Field(ge=0)] | str] | Literal["by-name"] | None = Field(
        None,
        description="for each class of the data, in order, the corresponding class of the network, "
        "by index from 0 or by its name in the metadata; by-name: the class with the same name",
        examples=[[281, "tabby", 285], "by-name"],
    )


class InitFrom(PretrainedWeights):
    """A network that is trained from weights: with a teacher, or on labels as its own scratch run.

    Its classifier has the classes of the data: one that the file lacks, or has for other classes,
    begins at random. Patterns are of the names in the network's state_dict, with * and ?. What is
    neither the classifier nor new is its backbone.
    """

    input: InputConfig | None = Field(
        None,
        description="its input images, in training and afterwards; null: those of the study, at "
        "its size and normalized by its mean and std",
        examples=[{"size": 64, "card": True}],
    )
    new: list[NamePattern] = Field(
        default_factory=list,
        description="parameters to initialize randomly, even if they are in the file",
        examples=[["conv1.weight"]],
    )
    unused: list[NamePattern] = Field(
        default_factory=list,
        description="parameters in the file that the network does not have",
        examples=[["aux_head.*"]],
    )
    freeze: list[NamePattern] = Field(
        default_factory=list,
        description="frozen parts of the backbone; frozen normalization layers also keep their "
        "statistics",
        examples=[["layer1.*", "layer2.*"], ["*"]],
    )
    backbone_lr: Annotated[float, Field(gt=0, le=1)] = Field(
        1.0,
        description="factor on the recipe's learning rate for the backbone",
        examples=[0.1],
    )
    probe: bool = Field(
        False,
        description="train the classifier alone, on the features of the backbone (a linear probe): "
        'the same as freeze: ["*"]',
        examples=[True],
    )

    @model_validator(mode="after")
    def _check_probe(self):
        if self.probe and (self.freeze or self.backbone_lr != 1):
            raise ValueError(
                "probe: true freezes the whole backbone: remove freeze and backbone_lr, or probe"
            )
        return self


class CustomModelConfig(StrictModel):
    """A network of one's own, by the callable that builds it.

    It is called as `build(num_classes=..., in_channels=...)` and returns a torch.nn.Module that
    takes (B, C, H, W) and gives logits (B, classes).
    """

    build: Annotated[str, Field(max_length=200, json_schema_extra={"pattern": DOTTED_PATTERN})] = (
        Field(
            description="the callable, as module.callable; the module is in the folder `code` or "
            "installed: timm's networks are timm.models.NAME",
            examples=["my_networks.tiny", "timm.models.resnet18"],
        )
    )
    revision: Annotated[int, Field(ge=1, le=1_000_000)] = Field(
        1,
        description="to be raised when the network's computation changes; part of its runs",
    )

    @field_validator("build")
    @classmethod
    def _check_dotted(cls, build: str) -> str:
        if not re.fullmatch(DOTTED_PATTERN, build):
            raise ValueError(f"{build[:60]!r}: write module.callable, e.g. my_networks.tiny")
        return build
