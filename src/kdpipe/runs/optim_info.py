"""What a file of `training/optimizers` or `training/schedules` defines: `OPTIMIZER`, `SCHEDULE`.

The name of the file is the word of a study (`adamw`; `one_cycle.py` is `one-cycle`). Whether the
keys `optimiser` and `annealing` accept a name comes from listing the folder, so a new optimizer is
one file. Torch is imported inside a step only, since studies and plans are read without it.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from kdpipe import registry
from kdpipe.pydantic_base import StrictModel

OPTIMIZERS_PACKAGE = "kdpipe.training.optimizers"
SCHEDULES_PACKAGE = "kdpipe.training.schedules"
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
    torch_arguments: Callable[[Any], dict]
    state: tuple[str, ...]
    step: Callable[..., None]
    keys: type[StrictModel] = StrictModel
    check: Callable[[Any], str | None] = accept
    revision: int | None = None
    examples: tuple[dict, ...] = ({},)


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
    torch_arguments: Callable[[Any, StepCounts], dict]
    rate: Callable[[Any, int, StepCounts], float]
    has_own_warmup: bool = False
    keys: type[StrictModel] = StrictModel
    check: Callable[[Any], str | None] = accept
    revision: int | None = None
    examples: tuple[dict, ...] = ({},)


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


def _with_dashes(by_name: dict) -> dict:
    """Turn names of files into words of a study."""
    return {name.replace("_", "-"): info for name, info in by_name.items()}
