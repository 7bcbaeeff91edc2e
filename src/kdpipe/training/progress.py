"""The state of an unfinished run: enough to end in the same bytes as if never interrupted.

All randomness of a run is a function of its epoch, so the state is weights, what the optimiser
keeps, and a position; no generator is saved. It lies beside the run under a name that Snakemake
does not know, and goes when the record is written.
"""

import contextlib
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import nn

from kdpipe.devices import exact
from kdpipe.errors import Interrupted, StoreError
from kdpipe.networks import models
from kdpipe.results import run_folder
from kdpipe.results.files import read_arrays, write_arrays
from kdpipe.training.optimiser import Descent


@dataclass
class Progress:
    """Where a run stands: `epoch` epochs are done, and `step` batches of the next.

    `parts` (steps, columns) holds the losses and hits of that epoch's batches (see `curve`); `best`
    the weights after `best_epoch`, the best on validation so far. `taught_by`: the SHA-256 of each
    teacher's weights; `machines`: where it was trained so far (see `exact.machine`), in order.
    """

    epoch: int = 0
    step: int = 0
    curve: list[dict] = field(default_factory=list)
    best_epoch: int | None = None
    best: dict[str, torch.Tensor] = field(default_factory=dict)
    parts: torch.Tensor | None = None
    seconds: float = 0.0
    taught_by: list[str] = field(default_factory=list)
    machines: list[dict[str, str]] = field(default_factory=list)
    clock: float = field(default_factory=time.monotonic)

    def goes_on_with(self, machine: dict[str, str]) -> None:
        """Note where the next step is made."""
        if self.machines[-1:] != [machine]:
            self.machines.append(machine)

    def tick(self) -> None:
        """Count the time that has passed since the last tick."""
        now = time.monotonic()
        self.seconds, self.clock = self.seconds + now - self.clock, now


@contextlib.contextmanager
def interruptible(save_state: Callable[[], None]) -> Iterator[Callable[[], None]]:
    """SIGTERM (a time limit, a pre-emption) waits for the next call of the function yielded,
    which then saves the state and raises Interrupted: never between a step and its note.
    """
    came: list[bool] = []

    def pause() -> None:
        if came:
            save_state()
            raise Interrupted("SIGTERM; the state is saved, start it again to go on")

    before = signal.signal(signal.SIGTERM, lambda *_: came.append(True))
    try:
        yield pause
        pause()
    finally:
        signal.signal(signal.SIGTERM, before)


def save(
    folder: Path,
    digest: str,
    model: nn.Module,
    learnt: nn.ModuleDict,
    average: nn.Module | None,
    optimiser: Descent,
    progress: Progress,
) -> None:
    """Write the state of a run; `learnt` are the parameters that its terms have of their own,
    `average` that of the network where there is one.
    """
    progress.tick()
    tensors = {f"model/{key}": value for key, value in model.state_dict().items()}
    tensors |= {f"learnt/{key}": value for key, value in learnt.state_dict().items()}
    if average is not None:
        tensors |= {f"average/{key}": value for key, value in average.state_dict().items()}
    for kind, kept in optimiser.state.items():
        tensors |= {f"{kind}/{name}": value for name, value in kept.items()}
    tensors |= {f"best/{key}": value for key, value in progress.best.items()}
    if progress.parts is not None:
        tensors["parts"] = progress.parts
    about = {
        "run": digest,
        "device": exact.kind(next(model.parameters()).device),
        "epoch": progress.epoch,
        "step": progress.step,
        "curve": progress.curve,
        "best_epoch": progress.best_epoch,
        "seconds": progress.seconds,
        "taught_by": progress.taught_by,
        "machines": progress.machines,
    }
    write_arrays(run_folder.state(folder), as_arrays(tensors), about)


def read(folder: Path, digest: str) -> tuple[dict[str, np.ndarray], dict] | None:
    """The saved state of a run, (arrays, about); None if there is nothing to go on from.

    Raises StoreError for a state that is damaged or another run's.
    """
    path = run_folder.state(folder)
    if not path.exists():
        return None
    arrays, about = read_arrays(path)
    if about["run"] != digest or "step" not in about:
        raise StoreError(f"{path} is not the state of this run: remove it and start again")
    return arrays, about


def resume(
    arrays: dict[str, np.ndarray],
    about: dict,
    model: nn.Module,
    learnt: nn.ModuleDict,
    average: nn.Module | None,
    optimiser: Descent,
) -> Progress:
    """Put model, terms, average and optimiser where a saved state says they were."""
    where = next(model.parameters()).device
    kinds = ("model", "learnt", "average", "best", *optimiser.state)
    groups: dict[str, dict[str, torch.Tensor]] = {kind: {} for kind in kinds}
    for key, value in arrays.items():
        group, _, name = key.partition("/")
        if name:
            groups[group][name] = torch.from_numpy(value)
    models.put(model, groups["model"])
    learnt.load_state_dict(groups["learnt"])
    if average is not None:
        models.put(average, groups["average"])
    for kind, kept in optimiser.state.items():
        for name, value in groups[kind].items():
            like = optimiser.parameters[name]
            # what is as large as its parameter lies in the parameter's own memory format
            shaped = torch.empty_like(like) if value.shape == like.shape else value.to(where)
            kept[name] = shaped.copy_(value)
    return Progress(
        epoch=about["epoch"],
        step=about["step"],
        curve=about["curve"],
        best_epoch=about["best_epoch"],
        best=groups["best"],
        parts=torch.from_numpy(arrays["parts"]).to(where) if "parts" in arrays else None,
        seconds=about["seconds"],
        taught_by=about.get("taught_by", []),
        # Of an older version pairs of a name and torch's version.
        machines=[
            one if isinstance(one, dict) else dict(zip(("name", "torch"), one, strict=True))
            for one in about.get("machines", [])
        ],
    )


def as_arrays(tensors: dict[str, torch.Tensor]) -> dict[str, np.ndarray]:
    return {key: value.detach().contiguous().cpu().numpy() for key, value in tensors.items()}


def as_tensors(arrays: dict[str, np.ndarray]) -> dict[str, torch.Tensor]:
    return {key: torch.from_numpy(value) for key, value in arrays.items()}
