"""The recipe of a run: how a network is trained, and its learning rate at each step."""

import itertools
import math
from typing import Annotated, Literal

from pydantic import Field, model_validator

from kdpipe.section import Positive, Section

RISING = 0.3  # share of the steps in which one-cycle's rate rises, as torch has it
RISES_FROM, FALLS_TO = 1 / 25, 1 / 25e4  # of its peak


class Recipe(Section):
    """How one network is trained."""

    epochs: int = Field(
        ge=1, le=100_000, description="how often it sees all training images", examples=[40]
    )
    lr: float = Field(
        gt=0,
        le=100,
        description="the learning rate at the start; its peak, with a warm-up or one-cycle",
        examples=[0.1],
    )
    batch_size: int = Field(128, ge=2, le=65_536, description="images of one step")
    annealing: Literal["steps", "cosine", "one-cycle"] = Field(
        "steps",
        description="how the rate falls: at drop_epochs, along a cosine to 0, or up and down",
    )
    drop_epochs: list[Positive] = Field(
        default_factory=list,
        description="epochs after which the learning rate is multiplied",
        examples=[[12, 24, 36]],
    )
    drop_factor: float = Field(0.2, gt=0, lt=1, description="what it is multiplied by at a drop")
    warmup: float | None = Field(
        None,
        ge=0,
        lt=1,
        description="share of the steps in which the rate rises; null: none, one-cycle 0.3",
        examples=[0.05],
    )
    optimiser: Literal["sgd", "adamw"] = Field(
        "sgd", description="what makes a step of a gradient: torch's SGD or AdamW"
    )
    momentum: float = Field(
        0.9, ge=0, lt=1, description="the momentum of SGD; the first beta of AdamW"
    )
    nesterov: bool = Field(False, description="whether SGD's momentum is Nesterov's")
    weight_decay: float = Field(
        5.0e-4, ge=0, le=1, description="the weight decay of SGD, or of AdamW (decoupled)"
    )
    weight_decay_on: Literal["all", "weights"] = Field(
        "all", description="what decays: every parameter, or neither norms nor biases"
    )
    clip_norm: float | None = Field(
        None,
        gt=0,
        description="the norm to which a longer gradient is scaled down; null: none is",
        examples=[1.0],
    )
    ema: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="decay a step of an average of the weights, 0.99 over about 100 steps; what is "
        "judged, kept and taught from is then the average, and an export ships it unless the "
        "network itself is better on validation; tables or live; null: none",
        examples=[0.99],
    )
    mixup: float | None = Field(
        None,
        gt=0,
        le=100,
        description="alpha of mixup: images and labels of a batch are mixed in pairs, with a share "
        "of Beta(alpha, alpha); the teacher sees them mixed, live; null: none",
        examples=[0.2],
    )
    cutmix: float | None = Field(
        None,
        gt=0,
        le=100,
        description="alpha of CutMix: the same with a rectangle of the other image; beside mixup "
        "half of the batches each; live; null: none",
        examples=[1.0],
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
        if drops and self.annealing != "steps":
            raise ValueError(
                f"drop_epochs are of annealing: steps; with {self.annealing} write drop_epochs: []"
            )
        return self

    @model_validator(mode="after")
    def _of_its_optimiser(self):
        if self.nesterov and (self.optimiser != "sgd" or not self.momentum):
            raise ValueError("nesterov is of optimiser: sgd with a momentum")
        if self.annealing == "one-cycle" and self.warmup == 0:
            raise ValueError("one-cycle rises first: leave warmup out (0.3), or give it a share")
        return self


def learning_rate(recipe: dict, epoch: int, step: int = 0, steps: int = 1) -> float:
    """The rate at step `step` of `steps` of epoch `epoch`, each counted from 0.

    Of steps: lr times drop_factor after each drop epoch. Of cosine: lr (1 + cos(pi t)) / 2, t from
    0 to 1 over the steps after the warm-up (Loshchilov and Hutter 2017, eq. 5, without restarts).
    Of one-cycle: from lr / 25 to lr and down to lr / 250,000, each along a cosine (Smith and Topin
    2018, as torch has it). Before that a warm-up of n steps: 1/n of the rate in the first, 2/n ...
    """
    annealing, warmup = recipe.get("annealing", "steps"), recipe.get("warmup")
    at, last = epoch * steps + step, recipe["epochs"] * steps
    if annealing == "one-cycle":
        return _one_cycle(recipe["lr"], at, last, RISING if warmup is None else warmup)
    rising = round((warmup or 0) * last)
    if annealing == "cosine":
        gone = max(0, at - rising) / max(1, last - rising)
        rate = recipe["lr"] * (1 + math.cos(math.pi * gone)) / 2
    else:
        drops = sum(epoch >= drop for drop in recipe["drop_epochs"])
        rate = recipe["lr"] * recipe["drop_factor"] ** drops
    return rate * (at + 1) / rising if at < rising else rate


def _one_cycle(peak: float, at: int, last: int, share: float) -> float:
    top, low = max(0.0, share * last - 1), last - 1
    if at <= top:
        return _along_cosine(peak * RISES_FROM, peak, at / top if top else 1)
    return _along_cosine(peak, peak * FALLS_TO, (at - top) / (low - top))


def _along_cosine(start: float, end: float, gone: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * gone)) / 2
