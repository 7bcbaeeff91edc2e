"""How fast this machine is, as it was measured: a file in the user's cache, by what decides it.

A speed belongs to a processor, a version of torch, a network on images of a shape, a batch size and
threads. It is measured in processes of their own, as many as there are cores, since that is how a
study runs (`upkeep.measuring`); here it is kept, and read without torch.
"""

import functools
import json
import os
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path

from kdpipe import identity
from kdpipe.devices import processor
from kdpipe.learning import mixing
from kdpipe.plan.items import Plan, Run
from kdpipe.results.files import DAMAGED, write_json

CACHE = "KDPIPE_CACHE"  # of the environment: the folder in place of ~/.cache/kdpipe


@dataclass(frozen=True)
class Speed:
    """Seconds of one training `step`, of an `epoch` beside its steps, of classifying an `image`.

    `setup` of a job that has its libraries, which takes `start`; `megabytes` that a process holds.
    """

    step: float
    epoch: float
    image: float
    setup: float
    start: float
    megabytes: float


def key(plan: Plan, run: Run, device: str) -> str:
    """Of the speed of a run of the plan on a `cpu` or `cuda`."""
    recipe, network = run.spec["recipe"], run.spec["network"]
    asked = {name: recipe[name] for name in ("batch_size", "threads", "autocast", "compile")}
    asked |= {"ema": True} if recipe.get("ema") else {}  # whatever its decay, it costs as much
    seen = run.spec["data"]["views"]
    asked |= {key: seen[key] for key in ("augment", "erase") if seen.get(key)}
    asked |= {"mixed": True} if mixing.asked(recipe) else {}
    asked |= {"network": network, "shape": list(plan.card.shape)}
    asked |= {"device": device, "processor": processor.name(), "torch": _torch()}
    return identity.digest(asked)


def of(plan: Plan, device: str) -> dict[str, Speed]:
    """The speeds of the runs of a plan that are known here, by name."""
    found, keys = known(), {name: key(plan, run, device) for name, run in plan.runs.items()}
    return {name: found[keys[name]] for name in keys if keys[name] in found}


def known() -> dict[str, Speed]:
    """Every speed that was measured here, by key; of a file that cannot be read none."""
    try:
        found = json.loads(_file().read_bytes())
        return {key: Speed(**facts) for key, facts in found.items() if _is_measured(facts)}
    except DAMAGED:
        return {}


def _is_measured(facts: dict) -> bool:
    """Whether all of it are numbers that something can have taken."""
    return all(type(value) in (int, float) and 0 <= value < 1e9 for value in facts.values())


def keep(measured: dict[str, Speed]) -> None:
    """Add to what is known. Raises StoreError if the cache cannot be written."""
    write_json(_file(), {key: asdict(speed) for key, speed in (known() | measured).items()})


def _file() -> Path:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "kdpipe"
    return Path(os.environ.get(CACHE) or cache) / "speeds.json"


@functools.cache
def _torch() -> str:
    try:
        return metadata.version("torch")
    except metadata.PackageNotFoundError:
        return "none"
