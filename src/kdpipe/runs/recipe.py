"""The recipe of a run: how a network is trained, and its learning rate at each step.

An optimizer or a schedule is one file of `training/optimizers` or `training/schedules`, which
defines `OPTIMIZER` or `SCHEDULE`. The name of the file is the word of a study (`adamw`;
`one_cycle.py` is `one-cycle`), and whether the keys `optimiser` and `annealing` accept a name comes
from listing the folder. The file may add keys; they are fields of a recipe here, and stand in the
specs of those runs alone that use them. Torch is imported inside a step only, since studies and
plans are read without it.
"""

import functools
import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, Self

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from kdpipe import registry
from kdpipe.pydantic_base import PositiveCount, StrictModel

OPTIMIZERS_PACKAGE = "kdpipe.training.optimizers"
SCHEDULES_PACKAGE = "kdpipe.training.schedules"
MAX_EPOCHS = 100_000
MAX_SHARDS = 64
DEFAULT_OPTIMIZER, DEFAULT_SCHEDULE = "sgd", "steps"  # of a recipe that names none


def accept(recipe: Any) -> None:
    """Find nothing wrong with a recipe."""


@dataclass(frozen=True)
class OptimizerInfo:
    """One optimizer: a class of `torch.optim`, by the functional step that it calls.

    The constructor of a torch optimizer imports the compiler, a second of work in each of a study's
    thousands of jobs, so `step` calls the function behind it. The shared test compares both.

    Attributes
    ----------
    torch_class : str
        The name of the class in `torch.optim` whose steps these are.
    torch_arguments : callable
        From a recipe to the arguments of that class, without the learning rate and the weight
        decay.
    state : tuple of str
        What is kept of each parameter from step to step, as the file of an unfinished run names it.
    step : callable
        `step(parameters, gradients, state, recipe, lr, weight_decay)` changes lists of tensors in
        place. `state` has a list for each kind, with None for what there is not yet; what is to be
        kept is put there.
    keys : type of StrictModel
        Keys of a recipe that this optimizer adds, each with a default. They are part of the specs
        of those runs alone that use it: a new file renames no run.
    check : callable
        From a recipe to what is wrong with it, or None.
    revision : int or None
        Raised by hand when what it computes changes; None: as old as `training` in
        `hashing.REVISIONS`, which stands for it.
    examples : tuple of dict
        Keys of recipes with which the shared test compares it with torch.
    """

    torch_class: str
    torch_arguments: Callable[[Any], dict[str, Any]]
    state: tuple[str, ...]
    step: Callable[..., None]
    keys: type[StrictModel] = StrictModel
    check: Callable[[Any], str | None] = accept
    revision: int | None = None
    examples: tuple[dict[str, Any], ...] = ({},)


class StepCounts(NamedTuple):
    """How many steps a training has, an epoch of it, and its warm-up."""

    total: int
    epoch: int
    warmup: int


@dataclass(frozen=True)
class ScheduleInfo:
    """One schedule of the learning rate: a class of `torch.optim.lr_scheduler`, as a function.

    Attributes
    ----------
    torch_class : str
        The name of the class in `torch.optim.lr_scheduler` that has the same rates.
    torch_arguments : callable
        From a recipe and its StepCounts to the arguments of that class, after a warm-up.
    rate : callable
        `rate(recipe, step, counts)`, the learning rate at a step, counted from 0.
    has_own_warmup : bool
        Whether `rate` has the warm-up in it; else the rate is scaled in these steps.
    keys, check, revision, examples
        As those of an optimizer.
    """

    torch_class: str
    torch_arguments: Callable[[Any, StepCounts], dict[str, Any]]
    rate: Callable[[Any, int, StepCounts], float]
    has_own_warmup: bool = False
    keys: type[StrictModel] = StrictModel
    check: Callable[[Any], str | None] = accept
    revision: int | None = None
    examples: tuple[dict[str, Any], ...] = ({},)


@functools.cache
def load_optimizers() -> dict[str, OptimizerInfo]:
    """Return the optimizers by the name that a study gives them, the default first."""
    by_name = registry.load_all_objects(OPTIMIZERS_PACKAGE, "OPTIMIZER", OptimizerInfo)
    return {DEFAULT_OPTIMIZER: by_name[DEFAULT_OPTIMIZER]} | _with_dashes(by_name)


@functools.cache
def load_schedules() -> dict[str, ScheduleInfo]:
    """Return the schedules by the name that a study gives them, the default first."""
    by_name = registry.load_all_objects(SCHEDULES_PACKAGE, "SCHEDULE", ScheduleInfo)
    return {DEFAULT_SCHEDULE: by_name[DEFAULT_SCHEDULE]} | _with_dashes(by_name)


def _with_dashes(by_name: dict[str, Any]) -> dict[str, Any]:
    """Turn names of files into words of a study."""
    return {name.replace("_", "-"): info for name, info in by_name.items()}


# The names that a study may give, as pydantic and the schema of a study have them.
if TYPE_CHECKING:
    ScheduleName = str
    OptimizerName = str
else:
    ScheduleName, OptimizerName = Literal[*load_schedules()], Literal[*load_optimizers()]


class RecipeConfig(StrictModel):
    """The keys of every recipe."""

    epochs: int = Field(
        ge=1, le=MAX_EPOCHS, description="number of passes over the training images", examples=[40]
    )
    lr: float = Field(
        gt=0,
        le=100,
        description="the initial learning rate; with a warm-up or one-cycle, the peak",
        examples=[0.1],
    )
    batch_size: int = Field(128, ge=2, le=65_536, description="images per step")
    annealing: ScheduleName = Field(
        DEFAULT_SCHEDULE,
        description="learning-rate schedule: drops at drop_epochs, cosine to 0, or one-cycle",
    )
    drop_epochs: list[PositiveCount] = Field(
        default_factory=list[PositiveCount],
        description="epochs after which the learning rate drops (milestones)",
        examples=[[12, 24, 36]],
    )
    drop_factor: float = Field(0.2, gt=0, lt=1, description="factor of each drop (gamma)")
    warmup: float | None = Field(
        None,
        ge=0,
        lt=1,
        description="fraction of the steps for warm-up; null: none, one-cycle 0.3",
        examples=[0.05],
    )
    optimiser: OptimizerName = Field(
        DEFAULT_OPTIMIZER,
        description="torch's SGD or AdamW; `optimizer` is an alias of this key",
    )
    momentum: float = Field(
        0.9, ge=0, lt=1, description="the momentum of SGD; the first beta of AdamW"
    )
    nesterov: bool = Field(False, description="use Nesterov momentum in SGD")
    weight_decay: float = Field(
        5.0e-4, ge=0, le=1, description="the weight decay of SGD, or of AdamW (decoupled)"
    )
    weight_decay_on: Literal["all", "weights"] = Field(
        "all", description="parameters with weight decay: all, or all except norms and biases"
    )
    clip_norm: float | None = Field(
        None,
        gt=0,
        description="maximum norm for gradient clipping; null: no clipping",
        examples=[1.0],
    )
    ema: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="decay per step of an exponential moving average of the weights; 0.99 averages "
        "over about 100 steps. The average is evaluated, stored and used as teacher, and exported "
        "unless the raw weights are better on validation; null: no averaging",
        examples=[0.99],
    )
    mixup: float | None = Field(
        None,
        gt=0,
        le=100,
        description="alpha of mixup: images and labels of a batch are mixed in pairs, with weights "
        "from Beta(alpha, alpha); the teacher gets the mixed images, which requires live teachers "
        "unless mixed views are drawn once (data.views); null: no mixup",
        examples=[0.2],
    )
    cutmix: float | None = Field(
        None,
        gt=0,
        le=100,
        description="alpha of CutMix: the same with a rectangle of the other image; if combined "
        "with mixup, each is applied to half of the batches; requires live teachers unless mixed "
        "views are drawn once (data.views); null: no CutMix",
        examples=[1.0],
    )
    label_smoothing: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="fraction of the label that is spread uniformly over the classes",
        examples=[0.1],
    )
    threads: Annotated[int, Field(ge=1, le=256)] = Field(
        1,
        description="CPU threads of a run; part of its identity, since it changes the bytes",
    )

    shards: Annotated[int, Field(ge=1, le=MAX_SHARDS)] = Field(
        1,
        description="parts that each batch is cut into, so that several processes or GPUs can "
        "train one network (processes_per_run); each part is normalized and compared by itself, "
        "gradients are summed in the order of the parts; part of a run's identity",
        examples=[2],
    )
    autocast: Literal["bfloat16"] | None = Field(
        None,
        description="bfloat16: train in mixed precision; null: float32",
        examples=["bfloat16"],
    )
    compile: bool = Field(
        False,
        description="use torch.compile for training; requires a C++ compiler",
        examples=[True],
    )

    @model_validator(mode="after")
    def _check_drop_epochs(self):
        """Raise ValueError for drops that cannot be made."""
        drops = self.drop_epochs
        if any(a >= b for a, b in itertools.pairwise(drops)):
            raise ValueError(f"drop_epochs must increase, got {drops}")
        if drops and drops[-1] >= self.epochs:
            raise ValueError(f"the drop at {drops[-1]} is not before the last epoch, {self.epochs}")
        if drops and self.annealing != "steps":
            raise ValueError(
                f"drop_epochs apply only to annealing: steps; with {self.annealing} write "
                "drop_epochs: []"
            )
        return self

    @model_validator(mode="after")
    def _check_shards(self):
        """Raise ValueError for batches that cannot be cut into as many parts."""
        if self.shards > 1 and self.batch_size < 2 * self.shards:
            raise ValueError(
                f"shards: {self.shards} parts of a batch of {self.batch_size} are smaller than 2 "
                f"images: use at most {self.batch_size // 2} shards, or a larger batch_size"
            )
        return self

    @model_validator(mode="after")
    def _check_nesterov(self):
        """Raise ValueError for Nesterov's momentum where there is none."""
        if self.nesterov and (self.optimiser != "sgd" or not self.momentum):
            raise ValueError("nesterov requires optimiser: sgd with a momentum above 0")
        return self


# Of optimizers and schedules, which may share a class of keys.
_INFOS = [*load_optimizers().values(), *load_schedules().values()]
_KEY_CLASSES = [keys for keys in dict.fromkeys(info.keys for info in _INFOS) if keys.model_fields]
_ADDED_KEYS = {key: keys for keys in _KEY_CLASSES for key in keys.model_fields}


if TYPE_CHECKING:  # the bases are discovered: to a type checker their keys are of any type

    class _AllKeys(RecipeConfig):
        def __getattr__(self, key: str) -> Any: ...

else:
    # The fields of the last base come first.
    class _AllKeys(*_KEY_CLASSES, RecipeConfig):
        pass


class Recipe(_AllKeys):
    """How one network is trained."""

    @classmethod
    def from_spec(cls, content: Mapping[str, Any]) -> Self:
        """Build the recipe of a spec with the values as they are written, unchecked.

        The canonical form leaves neutral values out, and pretrained weights have 0 epochs.

        Raises
        ------
        TypeError
            If a key is missing or unknown.
        """
        if unknown := content.keys() - cls.model_fields.keys():
            raise TypeError(f"unknown keys of a recipe: {sorted(unknown)}")
        required = {name for name, key in cls.model_fields.items() if key.is_required()}
        if missing := required - content.keys():
            raise TypeError(f"missing keys of a recipe: {sorted(missing)}")
        return cls.model_construct(**content)

    def to_spec(self) -> dict[str, Any]:
        """Return the JSON form in a spec, with every value that the run uses."""
        return self.model_dump(warnings=False)

    def with_epochs(self, epochs: int) -> Self:
        """Return the recipe for another number of epochs, with drops at the same shares of them.

        A warm-up is a share of the steps, so it follows. With the same number of epochs the recipe
        is the same.
        """
        share = epochs / self.epochs
        drops = [max(1, round(epoch * share)) for epoch in self.drop_epochs]
        drops = [epoch for epoch in dict.fromkeys(drops) if epoch < epochs]
        return self.model_copy(update={"epochs": epochs, "drop_epochs": drops})

    def count_processes(self, processes: int) -> int:
        """Return how many of these processes can share the parts of a batch, with none left idle.

        Each has the same number of parts, but the last: of 4 parts, 3 processes would have 2, 2
        and 0.
        """
        return -(-self.shards // count_parts_each(self.shards, processes))

    @property
    def infos(self) -> dict[str, OptimizerInfo | ScheduleInfo]:
        """Return the info of the optimizer and that of the schedule, by a name for messages."""
        optimizer, schedule = load_optimizers()[self.optimiser], load_schedules()[self.annealing]
        return {f"optimizer {self.optimiser}": optimizer, f"schedule {self.annealing}": schedule}

    @property
    def revisions(self) -> dict[str, int]:
        """Return the revisions of the optimizer and the schedule, where they state one."""
        infos = self.infos.items()
        return {name: info.revision for name, info in infos if info.revision is not None}

    @model_validator(mode="after")
    def _check_infos(self):
        """Raise ValueError for keys that optimizer and schedule refuse, or do not have."""
        for key in self._unused_keys():
            if getattr(self, key) != type(self).model_fields[key].get_default():
                raise ValueError(f"{key} does not apply to {' or '.join(self.infos)}: remove it")
        for info in self.infos.values():
            if problem := info.check(self):
                raise ValueError(problem)
        return self

    @model_serializer(mode="wrap")
    def _serialize_used(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out keys of other optimizers and schedules: a new file renames no run."""
        unused = self._unused_keys()
        return {key: value for key, value in serialize(self).items() if key not in unused}

    def _unused_keys(self) -> set[str]:
        """Return the keys of optimizers and schedules that are not those of the recipe."""
        used = {info.keys for info in self.infos.values()}
        return {key for key, keys in _ADDED_KEYS.items() if keys not in used}


def count_parts_each(shards: int, processes: int) -> int:
    """Return how many parts of a batch each of these processes has at most."""
    return -(-shards // processes)


def learning_rate(recipe: Recipe, epoch: int, step: int = 0, steps: int = 1) -> float:
    """Return the learning rate of a step.

    In a warm-up of n steps it is 1/n of the rate of the schedule in the first step, 2/n in the
    second; the one-cycle schedule has a warm-up of its own.

    Parameters
    ----------
    recipe : Recipe
        How the network is trained.
    epoch, step : int
        The epoch, and the step in it, each counted from 0.
    steps : int
        How many steps an epoch has.
    """
    schedule = load_schedules()[recipe.annealing]
    position, total = epoch * steps + step, recipe.epochs * steps
    warmup = 0 if schedule.has_own_warmup else round((recipe.warmup or 0) * total)
    rate = schedule.rate(recipe, position, StepCounts(total, steps, warmup))
    return rate * (position + 1) / warmup if position < warmup else rate


# The keys of a recipe that mix the images of a batch.

MIX_KEYS = ("mixup", "cutmix")


def enabled_mixes(recipe: Recipe) -> dict[str, float]:
    """Return the alphas of the mixes that a recipe enables, by key."""
    alphas = {key: getattr(recipe, key, None) for key in MIX_KEYS}
    return {key: alpha for key, alpha in alphas.items() if alpha is not None}
