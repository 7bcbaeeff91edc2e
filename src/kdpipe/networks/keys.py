"""The keys of a study that bring networks into it: of one's own, and teachers with weights."""

import re
from typing import Annotated

from pydantic import Field, field_validator, model_validator

from kdpipe.section import DOTTED, SHA256, Network, Section


class Pretrained(Section):
    """A teacher that is not trained here: a network and a file of its weights.

    Either torchvision's weights by name (a `path` then saves the download), or a file of one's own
    with its SHA-256.
    """

    network: Network = Field(
        description="the network that the weights belong to", examples=["resnet34"]
    )
    weights: Annotated[str, Field(min_length=1, max_length=80)] | None = Field(
        None,
        description="torchvision's weights by name, e.g. IMAGENET1K_V1",
        examples=["IMAGENET1K_V1"],
    )
    path: Annotated[str, Field(min_length=1, max_length=4000)] | None = Field(
        None,
        description="the file, safetensors or a state dict, seen from this file",
        examples=["../weights/wrn16-2.safetensors"],
    )
    sha256: Annotated[str, Field(pattern=SHA256)] | None = Field(
        None,
        description="of the file of one's own, as sha256sum prints it",
        examples=["e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"],
    )

    @model_validator(mode="after")
    def _one_source(self):
        if self.weights is None and self.path is None:
            raise ValueError("give weights (torchvision's, by name) or path (a file of your own)")
        if self.weights is not None and self.sha256 is not None:
            raise ValueError("torchvision's weights have a checksum: leave sha256 out")
        return self


class OwnNetwork(Section):
    """A network of one's own, by the callable that builds it.

    It is called as `build(num_classes=..., in_channels=...)` and returns a torch.nn.Module that
    takes (B, C, H, W) and gives logits (B, classes).
    """

    build: Annotated[str, Field(max_length=200, json_schema_extra={"pattern": DOTTED})] = Field(
        description="the callable, as module.callable; the module is found in the folder `code`, "
        "or installed",
        examples=["my_networks.tiny"],
    )
    revision: Annotated[int, Field(ge=1, le=1_000_000)] = Field(
        1, description="raised by hand when what the network computes changes; part of its runs"
    )

    @field_validator("build")
    @classmethod
    def _dotted(cls, build: str) -> str:
        if not re.fullmatch(DOTTED, build):
            raise ValueError(f"{build[:60]!r}: write module.callable, e.g. my_networks.tiny")
        return build
