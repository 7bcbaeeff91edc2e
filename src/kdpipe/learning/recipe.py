"""The recipe of a run: how a network is trained, and its learning rate at each epoch."""

import itertools
from typing import Annotated, Literal

from pydantic import Field, model_validator

from kdpipe.section import Positive, Section


class Recipe(Section):
    """How one network is trained: SGD with a learning rate that drops in steps."""

    epochs: int = Field(
        ge=1, le=100_000, description="how often it sees all training images", examples=[40]
    )
    lr: float = Field(gt=0, le=100, description="the learning rate at the start", examples=[0.1])
    batch_size: int = Field(128, ge=2, le=65_536, description="images of one step")
    drop_epochs: list[Positive] = Field(
        default_factory=list,
        description="epochs after which the learning rate is multiplied",
        examples=[[12, 24, 36]],
    )
    drop_factor: float = Field(0.2, gt=0, lt=1, description="what it is multiplied by at a drop")
    momentum: float = Field(0.9, ge=0, lt=1, description="the momentum of SGD")
    weight_decay: float = Field(
        5.0e-4, ge=0, le=1, description="the weight decay of SGD, on every parameter"
    )
    label_smoothing: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="share of a label spread evenly over the classes",
        examples=[0.1],
    )
    threads: Annotated[int, Field(ge=1, le=256)] = Field(
        1, description="CPU threads of a run; part of its identity, since it changes the bytes"
    )

    autocast: Literal["bfloat16"] | None = Field(
        None,
        description="bfloat16: a network in training is run in half precision; null: float32",
        examples=["bfloat16"],
    )
    compile: bool = Field(
        False,
        description="torch.compile the network in training; wants a C++ compiler there",
        examples=[True],
    )

    @model_validator(mode="after")
    def _drops_in_order(self):
        drops = self.drop_epochs
        if any(a >= b for a, b in itertools.pairwise(drops)):
            raise ValueError(f"drop_epochs must rise, got {drops}")
        if drops and drops[-1] >= self.epochs:
            raise ValueError(f"the drop at {drops[-1]} is not before the last epoch, {self.epochs}")
        return self


def learning_rate(recipe: dict, epoch: int) -> float:
    """The rate of epoch `epoch` (from 0): multiplied by drop_factor after each drop epoch."""
    drops = sum(epoch >= drop for drop in recipe["drop_epochs"])
    return recipe["lr"] * recipe["drop_factor"] ** drops
