"""A study: everything that one config file asks for, checked before any job starts.

The models here are the grammar of `config.yaml`; `workflow/schemas/study.schema.json` is
generated from them. They are strict and frozen. `checking.load` reads a file into a `Study`, or
raises one error that lists every mistake; which runs a study needs is the plan's business.
"""

import itertools
import re
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

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
        pattern=r"^(full|checkpoint [0-9]{1,6}|every [0-9]{1,6}|schedule [0-9]{1,6}/[0-9]{1,6})$",
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
    "attention",
    "generations",
    "chains",
    "improved_teacher",
    "staged",
    "ensembles",
    "losses",
    "transfer",
)
# The claims it can judge (`claims.CLAIMS` does).
CLAIMS = (
    *(f"C{number}" for number in range(1, 11)),
    *("C11s", "C11c"),
    *(f"C{number}" for number in range(12, 19)),
    "Q1",
)
_DOTTED = r"^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)+$"
Positive = Annotated[int, Field(ge=1)]
Seed = Annotated[int, Field(ge=0, lt=2**31)]
Share = Annotated[float, Field(ge=0, le=1)]
Spread = Annotated[float, Field(gt=0, le=1)]


class _Part(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, extra="forbid", allow_inf_nan=False)


class Crop(_Part):
    """Views without end: torchvision's RandomResizedCrop, for images that stream."""

    scale: list[Spread] = Field(
        default_factory=lambda: [0.08, 1.0],
        min_length=2,
        max_length=2,
        description="from .. to which share of an image's area a crop takes",
    )
    ratio: list[Annotated[float, Field(ge=0.1, le=10)]] = Field(
        default_factory=lambda: [0.75, 4 / 3],
        min_length=2,
        max_length=2,
        description="from .. to which width by height it has, before it is made a square",
    )

    @model_validator(mode="after")
    def _in_order(self):
        for key in ("scale", "ratio"):
            low, high = getattr(self, key)
            if low > high:
                raise ValueError(f"{key} must rise, got [{low:g}, {high:g}]")
        return self


class Data(_Part):
    """The data set, what is taken of it, and how an image is augmented."""

    name: Name = Field(description="a known data set (digits, cifar10, ...), or one's own")
    path: Annotated[str, Field(min_length=1, max_length=4000)] | None = Field(
        None,
        description="where its files lie, seen from this file; null: downloaded if it is known",
    )
    card: Annotated[str, Field(min_length=1, max_length=4000)] | None = Field(
        None, description="the card of one's own data; null: beside the data, as PATH.card.json"
    )
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
    resize: Annotated[int, Field(ge=4, le=1024)] | None = Field(
        None, description="scale every image to this height and width; null: as they are"
    )
    mean: list[Share] | None = Field(
        None, min_length=1, description="of each channel, in [0, 1]; null: measured on train"
    )
    std: list[Spread] | None = Field(
        None, min_length=1, description="of each channel, in (0, 1]; null: measured on train"
    )
    pad: int = Field(0, ge=0, le=16, description="pixels padded on each side before a crop")
    padding: Literal["zero", "reflect"] = Field("zero", description="what the padding is made of")
    flip: bool = Field(False, description="mirror half of the images left to right")
    crop: Crop | None = Field(
        None, description="random crops without end, of images that stream; instead of pad"
    )


class Recipe(_Part):
    """How one network is trained: SGD with a learning rate that drops in steps."""

    epochs: int = Field(ge=1, le=100_000, description="how long it trains")
    batch_size: int = Field(ge=2, le=65_536, description="images of one step")
    lr: float = Field(gt=0, le=100, description="the learning rate at the start")
    drop_epochs: list[Positive] = Field(
        default_factory=list, description="epochs after which the learning rate is multiplied"
    )
    drop_factor: float = Field(0.2, gt=0, lt=1, description="what it is multiplied by at a drop")
    momentum: float = Field(0.9, ge=0, lt=1, description="of SGD")
    weight_decay: float = Field(5.0e-4, ge=0, le=1, description="on every parameter")
    label_smoothing: float = Field(
        0.0, ge=0, lt=1, description="share of a label spread evenly over the classes"
    )
    threads: Annotated[int, Field(ge=1, le=256)] = Field(
        1, description="CPU threads of a run; part of its identity, since it changes the bytes"
    )

    autocast: Literal["bfloat16"] | None = Field(
        None, description="bfloat16: a network in training is run in half precision; null: float32"
    )
    compile: bool = Field(
        False, description="torch.compile the network in training; wants a C++ compiler there"
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
    """loss = ce_weight * CE + kd_weight * T^2 * KL(teacher || student) + attention_weight * AT."""

    temperature: float = Field(
        4.0, gt=0, le=1000, description="both networks' logits are divided by it in the KD term"
    )
    ce_weight: float = Field(0.1, ge=0, le=1000, description="the weight of CE with the labels")
    kd_weight: float = Field(0.9, ge=0, le=1000, description="the weight of KL to the teacher")
    attention_weight: float = Field(
        0.0,
        ge=0,
        le=1_000_000,
        description="the weight of attention transfer; good for one image size only",
    )
    stop_epoch: Annotated[int, Field(ge=1)] | Annotated[float, Field(gt=0, lt=1)] | None = Field(
        None,
        description="ESKD: what the teacher adds to the loss ends after this epoch, or share of "
        "epochs; null: it stays",
    )
    ce_weight_after_stop: Annotated[float, Field(gt=0, le=1000)] | None = Field(
        None, description="the weight of CE after the stop (default 1.0)"
    )
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] | None = Field(
        None, description="of the CE term, instead of the recipe's"
    )

    @model_validator(mode="after")
    def _teaches(self):
        if self.kd_weight == self.attention_weight == 0:
            raise ValueError(
                "kd_weight and attention_weight are 0: the teacher would teach nothing"
            )
        if self.stop_epoch is None and self.ce_weight_after_stop is not None:
            raise ValueError("ce_weight_after_stop needs a stop_epoch")
        return self


class Ensemble(_Part):
    """Runs of one seed whose predicted probabilities are averaged.

    Either `networks` x `stops` x `copies` of runs trained on labels, or the generations of a
    `block`. `operations_of` chooses as many copies as cost what another ensemble costs.
    """

    networks: list[Network] | None = Field(
        None, min_length=1, description="networks trained on labels, to be averaged"
    )
    stops: list[Stop] = Field(
        default_factory=lambda: ["full"],
        min_length=1,
        description="where each of them stops, each a member of its own",
    )
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


class Pretrained(_Part):
    """A teacher that is not trained here: a network and a file of its weights.

    Either torchvision's weights by name (a `path` then saves the download), or a file of one's own
    with its SHA-256.
    """

    network: Network = Field(description="the network that the weights belong to")
    weights: Annotated[str, Field(min_length=1, max_length=80)] | None = Field(
        None, description="torchvision's weights by name, e.g. IMAGENET1K_V1"
    )
    path: Annotated[str, Field(min_length=1, max_length=4000)] | None = Field(
        None, description="the file, safetensors or a state dict, seen from this file"
    )
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = Field(
        None, description="of the file of one's own, as sha256sum prints it"
    )

    @model_validator(mode="after")
    def _one_source(self):
        if self.weights is None and self.path is None:
            raise ValueError("give weights (torchvision's, by name) or path (a file of your own)")
        if self.weights is not None and self.sha256 is not None:
            raise ValueError("torchvision's weights have a checksum: leave sha256 out")
        return self


class OwnNetwork(_Part):
    """A network of one's own, by the callable that builds it.

    It is called as `build(num_classes=..., in_channels=...)` and returns a torch.nn.Module that
    takes (B, C, H, W) and gives logits (B, classes).
    """

    build: Annotated[str, Field(max_length=200, json_schema_extra={"pattern": _DOTTED})] = Field(
        description="the callable, as module.callable; the module is found in the folder `code`, "
        "or installed"
    )
    revision: Annotated[int, Field(ge=1, le=1_000_000)] = Field(
        1, description="raised by hand when what the network computes changes; part of its runs"
    )

    @field_validator("build")
    @classmethod
    def _dotted(cls, build: str) -> str:
        if not re.fullmatch(_DOTTED, build):
            raise ValueError(f"{build[:60]!r}: write module.callable, e.g. my_networks.tiny")
        return build


class Block(_Part):
    """One experiment: teachers x stops x students x methods x seeds."""

    name: Name
    teachers: list[str] = Field(
        min_length=1,
        description="networks, `self` (the student's own scratch run), blocks, ensembles, or "
        "pretrained ones",
    )
    stops: list[Stop] = Field(
        default_factory=lambda: ["full"],
        min_length=1,
        description="where each teacher stops, each a teacher of its own",
    )
    students: list[Network] = Field(min_length=1, description="networks that learn")
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


class Transfer(_Part):
    """Linear probes: how well the features of finished networks serve another data set."""

    data: Data = Field(
        description="the other images, of the shape that the networks take; `validation` is needed"
    )
    blocks: list[Name] = Field(
        min_length=1,
        description="blocks of which the last networks, their scratch runs and their teachers are "
        "probed",
    )

    @model_validator(mode="after")
    def _images_as_they_are(self):
        for key in ("label_noise", "pad", "padding", "flip", "crop"):
            if key in self.data.model_dump(exclude_defaults=True):
                raise ValueError(f"data.{key}: a probe sees images and labels as they are")
        return self


class Study(_Part):
    """The whole file."""

    study: Name = Field(description="its name: the folder of its reports")
    seeds: list[Seed] = Field(min_length=1, description="everything is trained once for each")
    smallest_effect: Annotated[float, Field(gt=0, le=100)] = Field(
        0.2, description="the smallest difference worth having, in points of top-1 error"
    )
    data: Data = Field(description="the images")
    recipe: Recipe = Field(description="how every network is trained")
    networks: dict[Name, OwnNetwork] = Field(
        default_factory=dict, description="networks of one's own, each under a name"
    )
    code: Annotated[str, Field(min_length=1, max_length=4000)] | None = Field(
        None,
        description="where the modules of `networks` and their cards lie, seen from this file; "
        "null: beside it",
    )
    network_recipes: dict[Network, dict] = Field(
        default_factory=dict, description="keys of the recipe that differ for one network"
    )
    keep_checkpoints: dict[Network, list[Stop]] = Field(
        default_factory=dict, description="checkpoints to keep although no block asks for them"
    )
    teacher_outputs: Literal["table", "live"] | None = Field(
        None,
        description="table: computed once for all views and shared; live: beside each student; "
        "null: table, or live where data.crop makes views without end",
    )
    device: Literal["auto", "cpu", "cuda"] = Field(
        "auto", description="where runs are trained; auto: on GPUs if there are any; in no name"
    )
    runs_per_gpu: Annotated[int, Field(ge=1, le=64)] = Field(
        1, description="runs that share one GPU of this machine at a time; in no name"
    )
    workers: Annotated[int, Field(ge=0, le=256)] = Field(
        4, description="processes that read images beside a run, where they stream; in no name"
    )
    methods: dict[Name, Method] = Field(description="ways to distil, each under a name")
    ensembles: dict[Name, Ensemble] = Field(
        default_factory=dict, description="runs averaged, each ensemble under a name"
    )
    pretrained: dict[Name, Pretrained] = Field(
        default_factory=dict, description="teachers that bring their weights, under a name"
    )
    experiments: list[Block] = Field(
        min_length=1, description="the blocks; the plan is their union"
    )
    transfers: dict[Name, Transfer] = Field(
        default_factory=dict, description="linear probes on other data, each under a name"
    )
    tables: dict[str, list[Name]] = Field(
        default_factory=dict, description="for each table the blocks and ensembles it reads"
    )
    claims: dict[str, list[Name]] = Field(
        default_factory=dict,
        description="for a claim the blocks and ensembles it reads; without an entry it reads all",
    )

    @property
    def outputs(self) -> Literal["table", "live"]:
        """Where students get their teachers' outputs."""
        return self.teacher_outputs or ("table" if self.data.crop is None else "live")

    def recipe_of(self, network: str) -> Recipe:
        """The recipe with which every run of this network is trained."""
        changes = self.network_recipes.get(network)
        if changes is None:
            return self.recipe
        return Recipe.model_validate({**self.recipe.model_dump(), **changes})
