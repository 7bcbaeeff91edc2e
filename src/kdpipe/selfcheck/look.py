"""All checks one after another, each in a process of its own, within the time that there is."""

import os
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from kdpipe import discovery
from kdpipe.devices import leases, listed, usable
from kdpipe.errors import KdpipeError
from kdpipe.selfcheck import apart
from kdpipe.selfcheck.bench import Bench
from kdpipe.selfcheck.check import Check, Outcome

MINUTES = 10


@dataclass(frozen=True)
class Found:
    """What came out of one check."""

    name: str
    check: Check
    outcome: Outcome
    seconds: float


def checks() -> dict[str, Check]:
    found = discovery.every("kdpipe.selfcheck.checks", "CHECK", Check)
    return dict(sorted(found.items(), key=lambda one: one[1].order))


def gpu() -> str:
    """The GPU that is looked at, which all processes see alone from here on.

    Raises KdpipeError where there is none, or none that torch can use.
    """
    ids = listed.gpus()
    if not ids:
        raise KdpipeError(
            "there is no GPU here (CUDA_VISIBLE_DEVICES, nvidia-smi): nothing was looked at"
        )
    if wrong := usable.refused():
        raise KdpipeError(f"torch cannot use the GPU here: {wrong}")
    usable.leave_out()
    ids = listed.gpus()
    if not leases.is_free(ids[0]):
        raise KdpipeError(
            f"a run of kdpipe is at work on GPU {ids[0]}: wait for it, or name another in "
            "CUDA_VISIBLE_DEVICES"
        )
    os.environ["CUDA_VISIBLE_DEVICES"] = ids[0]
    return ids[0]


def facts() -> dict:
    """What a record says of the GPU, asked in a process of its own."""
    from kdpipe.devices import exact

    def asked() -> dict:
        with leases.held("cuda", 1):
            exact.torch_device("cuda")
            return dict(exact.facts())

    with tempfile.TemporaryDirectory() as folder:
        (said,) = apart.together([asked], Path(folder) / "log", time.monotonic() + usable.PATIENCE)
    return said


def look(quick: bool) -> Iterator[Found]:
    """Look at everything, one after another; what takes too long is a failure."""
    _import()
    until = time.monotonic() + 60 * MINUTES
    with tempfile.TemporaryDirectory(prefix="kdpipe-gpu-check-") as folder:
        for name, check in checks().items():
            bench, began = Bench(Path(folder), quick, until), time.monotonic()
            yield Found(name, check, _outcome(check, bench), time.monotonic() - began)


def versions() -> dict[str, str]:
    return {name: metadata.version(name) for name in ("kdpipe", "torch", "torchvision", "numpy")}


def _outcome(check: Check, bench: Bench) -> Outcome:
    if not bench.left():
        return Outcome(None, f"the {MINUTES} minutes were over")
    try:
        (said,) = bench.apart(lambda: vars(check.look(bench)))
    except apart.Fault as fault:
        return Outcome(False, str(fault))
    return Outcome(**said)


def _import() -> None:
    """What the processes work with, once, and nothing of it looks at a GPU or starts a thread."""
    import torch

    torch.set_num_threads(1)
    from kdpipe.jobs import tabulate, train  # noqa: F401
    from kdpipe.selfcheck import compared  # noqa: F401
    from kdpipe.training import loop, speed  # noqa: F401
    from kdpipe.training.teachers import tables  # noqa: F401
