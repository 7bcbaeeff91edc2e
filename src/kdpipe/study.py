"""A study: everything that one config file asks for, checked before any job starts.

The models here are the grammar of `config.yaml`; `workflow/schemas/study.schema.json` is
generated from them. They are strict and frozen. `checking.load` reads a file into a `Study`, or
raises one error that lists every mistake; which runs a study needs is the plan's business.
"""

import itertools
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Name = Annotated[
    str,
    Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$",
        max_length=40,
        description="a name: letters, digits, - and _, at most 40",
    ),
]
Network = Annotated[str, Field(max_length=80, description="a network by name, e.g. wrn16-2")]
Stop = Annotated[
    str,
    Field(
        pattern=r"^(full|checkpoint \d+|every \d+|schedule \d+/\d+)$",
        description="full | checkpoint E | every K | schedule A/N",
    ),
]
# The tables a report can hold, in its order (`tables.TABLES` draws them).
TABLES = (
    "teacher_size",
    "mimicry",
    "eskd",
    "temperature",
    "checkpoints",
    "early_stopped",
    "generations",
    "chains",
    "improved_teacher",
    "staged",
    "ensembles",
    "losses",
)
Positive = Annotated[int, Field(ge=1)]
Seed = Annotated[int, Field(ge=0, lt=2**31)]
Share = Annotated[float, Field(ge=0, le=1)]


class _Part(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, extra="forbid", allow_inf_nan=False)


class Data(_Part):
    """The data set, what is taken of it, and how an image is augmented."""

    name: Name = Field(description="a data set that has a card: digits")
    train_size: Positive | None = Field(
        None, description="images to train on, balanced over the classes; null: all that are left"
    )
    validation: int = Field(
        0, ge=0, description="images held out of train, balanced; every choice is made on them"
    )
    label_noise: Share = Field(
        0.0, description="share of the train labels redrawn uniformly over the classes"
    )
    split_seed: Seed = Field(0, description="draws subset, validation and label noise")
    pad: int = Field(0, ge=0, le=16, description="pixels padded on each side before a crop")
    padding: Literal["zero", "reflect"] = Field("zero", description="what the padding is made of")
    flip: bool = Field(False, description="mirror half of the images left to right")


class Recipe(_Part):
    """How one network is trained: SGD with a learning rate that drops in steps."""

    epochs: Annotated[int, Field(ge=1, le=100_000)]
    batch_size: Annotated[int, Field(ge=2, le=65_536)]
    lr: Annotated[float, Field(gt=0, le=100)]
    drop_epochs: list[Positive] = Field(
        default_factory=list, description="epochs after which the learning rate is multiplied"
    )
    drop_factor: Annotated[float, Field(gt=0, lt=1)] = 0.2
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    weight_decay: Annotated[float, Field(ge=0, le=1)] = 5.0e-4
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    threads: Annotated[int, Field(ge=1, le=256)] = Field(
        1, description="CPU threads of a run; part of its identity, since it changes the bytes"
    )

    @model_validator(mode="after")
    def _drops_in_order(self):
        drops = self.drop_epochs
        if any(a >= b for a, b in itertools.pairwise(drops)):
            raise ValueError(f"drop_epochs must rise, got {drops}")
        if drops and drops[-1] >= self.epochs:
            raise ValueError(f"the drop at {drops[-1]} is not before the last epoch, {self.epochs}")
        return self


class Method(_Part):
    """loss = ce_weight * CE + kd_weight * temperature^2 * KL(teacher || student)."""

    temperature: Annotated[float, Field(gt=0, le=1000)] = 4.0
    ce_weight: Annotated[float, Field(ge=0, le=1000)] = 0.1
    kd_weight: Annotated[float, Field(ge=0, le=1000)] = 0.9
    stop_epoch: Annotated[int, Field(ge=1)] | Annotated[float, Field(gt=0, lt=1)] | None = Field(
        None,
        description="ESKD: the KD term ends after this epoch, or share of epochs; null: full KD",
    )
    ce_weight_after_stop: Annotated[float, Field(gt=0, le=1000)] | None = Field(
        None, description="the weight of CE after the stop (default 1.0)"
    )
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] | None = Field(
        None, description="of the CE term, instead of the recipe's"
    )

    @model_validator(mode="after")
    def _teaches(self):
        if self.kd_weight == 0:
            raise ValueError("kd_weight is 0: the teacher would teach nothing")
        if self.stop_epoch is None and self.ce_weight_after_stop is not None:
            raise ValueError("ce_weight_after_stop needs a stop_epoch")
        return self


class Ensemble(_Part):
    """Runs of one seed whose predicted probabilities are averaged.

    Either `networks` x `stops` x `copies` of runs trained on labels, or the generations of a
    `block`. `operations_of` chooses as many copies as cost what another ensemble costs.
    """

    networks: list[Network] | None = Field(None, min_length=1)
    stops: list[Stop] = Field(default_factory=lambda: ["full"], min_length=1)
    copies: Annotated[int, Field(ge=1, le=1000)] | None = Field(
        None, description="members 0 .. copies-1 of each network; member 0 is the scratch run"
    )
    operations_of: Name | None = Field(
        None, description="an ensemble: take as many copies as its inference operations pay for"
    )
    block: Name | None = Field(None, description="a block: average its generations")
    average_at: Literal["one", "temperature"] = Field(
        "one", description="as a teacher: mean of the probabilities at T = 1, or at the method's T"
    )

    @model_validator(mode="after")
    def _one_kind(self):
        if (self.networks is None) == (self.block is None):
            raise ValueError("give either networks or block")
        if self.block is not None and {"stops", "copies", "operations_of"} & self.model_fields_set:
            raise ValueError("stops, copies and operations_of belong to networks, not to a block")
        if self.copies is not None and self.operations_of is not None:
            raise ValueError("give copies or operations_of, not both")
        return self


class Block(_Part):
    """One experiment: teachers x stops x students x methods x seeds."""

    name: Name
    teachers: list[str] = Field(
        min_length=1,
        description="networks, `self` (the student's own scratch run), blocks, or ensembles",
    )
    stops: list[Stop] = Field(default_factory=lambda: ["full"], min_length=1)
    students: list[Network] = Field(min_length=1)
    methods: list[Name | list[Name]] = Field(
        min_length=1, description="names of methods; a list gives one method for each step"
    )
    via: list[Network] | None = Field(
        None, min_length=1, description="networks between teacher and student, each a step"
    )
    generations: Annotated[int, Field(ge=1, le=1000)] = Field(
        1, description="times the last network is distilled: 1 is an ordinary student"
    )
    seeds: list[Seed] | None = Field(None, min_length=1, description="default: the study's")
    teacher_seed: Literal["paired"] | Seed = Field(
        "paired", description="`paired`: seed s learns from the teacher of seed s; or one seed"
    )
    scratch_long: bool = Field(
        False, description="also train each student on labels for as many operations as KD cost"
    )

    @property
    def steps(self) -> int:
        """How many networks are distilled one after another in each cell."""
        return len(self.via or []) + self.generations


class Study(_Part):
    """The whole file."""

    study: Name = Field(description="its name: the folder of its reports")
    seeds: list[Seed] = Field(min_length=1)
    smallest_effect: Annotated[float, Field(gt=0, le=100)] = Field(
        0.2, description="the smallest difference worth having, in points of top-1 error"
    )
    data: Data
    recipe: Recipe
    network_recipes: dict[Network, dict] = Field(
        default_factory=dict, description="keys of the recipe that differ for one network"
    )
    keep_checkpoints: dict[Network, list[Stop]] = Field(
        default_factory=dict, description="checkpoints to keep although no block asks for them"
    )
    teacher_outputs: Literal["live"] = Field(
        "live", description="live: the teacher runs beside its student"
    )
    methods: dict[Name, Method]
    ensembles: dict[Name, Ensemble] = Field(default_factory=dict)
    experiments: list[Block] = Field(min_length=1)
    tables: dict[str, list[Name]] = Field(
        default_factory=dict, description="for each table the blocks and ensembles it reads"
    )

    def recipe_of(self, network: str) -> Recipe:
        """The recipe with which every run of this network is trained."""
        changes = self.network_recipes.get(network)
        if changes is None:
            return self.recipe
        return Recipe.model_validate({**self.recipe.model_dump(), **changes})
