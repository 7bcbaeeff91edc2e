"""Measured speeds of this machine, in a file in the user's cache.

A speed belongs to a processor, a version of torch, a network on images of a shape, a batch size and
threads. It is measured in processes of their own, as many as there are cores, since that is how a
study runs (`workflow.machine_benchmark`); here it is stored, and read without torch.
"""

import functools
import json
import os
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path

from kdpipe import hashing
from kdpipe.devices import host
from kdpipe.plan.nodes import Plan, Run
from kdpipe.runs import mixup
from kdpipe.runs.files import READ_ERRORS, write_json

CACHE_ENV = "KDPIPE_CACHE"  # environment variable: a folder in place of ~/.cache/kdpipe


@dataclass(frozen=True)
class Speed:
    """What a network and recipe take on this machine, in seconds unless said otherwise.

    Attributes
    ----------
    step : float
        One training step.
    epoch : float
        An epoch beyond its steps.
    image : float
        Classifying one image.
    setup : float
        Work of a job before its first step, once its libraries are imported.
    start : float
        Importing its libraries.
    megabytes : float
        Memory of the process, in MB.
    """

    step: float
    epoch: float
    image: float
    setup: float
    start: float
    megabytes: float


def make_speed_key(plan: Plan, run: Run, device: str) -> str:
    """Return the key of the speed of a run.

    Parameters
    ----------
    plan : Plan
        Plan that the run is of.
    run : Run
        Run whose speed is looked up.
    device : {'cpu', 'cuda'}
        Device that it trains on.

    Returns
    -------
    str
        Digest of all that decides the speed.
    """
    recipe, network = run.spec.recipe, run.spec.network
    config = {
        name: getattr(recipe, name) for name in ("batch_size", "threads", "autocast", "compile")
    }
    config |= {"ema": True} if recipe.ema else {}  # it costs the same with any decay
    views = run.spec.data.views
    config |= {key: views[key] for key in ("augment", "erase") if views.get(key)}
    config |= {"mixed": True} if mixup.enabled_mixes(recipe) else {}
    config |= {"network": network.to_dict(), "shape": list(plan.card.shape)}
    config |= {"device": device, "processor": host.read_cpu_model(), "torch": _get_torch_version()}
    return hashing.hash_spec(config)


def find_speeds(plan: Plan, device: str) -> dict[str, Speed]:
    """Return the known speeds of the runs of a plan on this machine.

    Parameters
    ----------
    plan : Plan
        Plan of the runs.
    device : {'cpu', 'cuda'}
        Device that they train on.

    Returns
    -------
    dict of str to Speed
        Speeds by the name of the run.
    """
    speeds = load_speeds()
    keys = {name: make_speed_key(plan, run, device) for name, run in plan.runs.items()}
    return {name: speeds[keys[name]] for name in keys if keys[name] in speeds}


def load_speeds() -> dict[str, Speed]:
    """Load every speed that was measured on this machine.

    Returns
    -------
    dict of str to Speed
        Speeds by key; empty if the file cannot be read.
    """
    try:
        speeds = json.loads(_get_cache_path().read_bytes())
        return {key: Speed(**fields) for key, fields in speeds.items() if _is_valid_speed(fields)}
    except READ_ERRORS:
        return {}


def _is_valid_speed(fields: dict) -> bool:
    """Return whether all fields are plausible numbers."""
    return all(type(value) in (int, float) and 0 <= value < 1e9 for value in fields.values())


def save_speeds(speeds: dict[str, Speed]) -> None:
    """Add speeds to the cache.

    Parameters
    ----------
    speeds : dict of str to Speed
        Speeds by key.

    Raises
    ------
    StoreError
        If the cache cannot be written.
    """
    write_json(
        _get_cache_path(), {key: asdict(speed) for key, speed in (load_speeds() | speeds).items()}
    )


def _get_cache_path() -> Path:
    """Return the path of the file of speeds."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "kdpipe"
    return Path(os.environ.get(CACHE_ENV) or cache) / "speeds.json"


@functools.cache
def _get_torch_version() -> str:
    """Return the version of torch, without importing it."""
    try:
        return metadata.version("torch")
    except metadata.PackageNotFoundError:
        return "none"
