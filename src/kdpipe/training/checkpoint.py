"""The state of an unfinished run, which resumes to the same bytes as without interruption.

All randomness of a run is a function of its epoch, so the state consists of weights, optimizer
state, and a position; no generator is saved. It is a file of the run that Snakemake does not track,
and is removed when the record is written. So is the progress file, from which nothing resumes: it
has the epoch and the curve for displays.

Saving takes a tenth of a short epoch, so after an epoch the state is saved only if the saved one is
not recent. A killed run trains the epochs since then again, to the same bytes.
"""

import contextlib
import math
import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import nn

from kdpipe.devices import determinism
from kdpipe.errors import InterruptedRun, KdpipeError, StoreError
from kdpipe.models import factory
from kdpipe.runs import run_folder
from kdpipe.runs.files import read_arrays, write_arrays, write_json
from kdpipe.training.optim import Optimizer

SAVE_SECONDS = 5.0  # how old the saved state must be before it is saved after an epoch
SAVE_ENV = "KDPIPE_SAVE_SECONDS"  # environment variable: another age
PROGRESS_SECONDS = 1.0  # the same for the progress file


@dataclass
class TrainingState:
    """The progress of a training run.

    Attributes
    ----------
    epoch, step : int
        Completed epochs, and completed batches of the next one.
    curve : list of dict
        One line for each completed epoch.
    best_epoch : int or None
        The best epoch on validation so far.
    best : dict of Tensor
        The weights after that epoch.
    val_errors : list of ndarray
        For each epoch which validation images were wrong, as packed bits. A state that was saved by
        a version that did not keep them has none of its epochs.
    parts : Tensor of shape (steps, columns) or None
        Losses and hits of the batches of the current epoch, see `evaluate.log_batch`.
    seconds : float
        Training time, over all sessions.
    taught_by : list of str
        The SHA-256 of each teacher's weights.
    machines : list of dict
        The machines so far, in order; see `determinism.get_machine_info`.
    code : list of dict
        Digests of the custom code of each session, in order; see `user_code.hash_loaded_code`.
    clock : float
        The monotonic time up to which `seconds` counts.
    """

    epoch: int = 0
    step: int = 0
    curve: list[dict] = field(default_factory=list)
    best_epoch: int | None = None
    best: dict[str, torch.Tensor] = field(default_factory=dict)
    val_errors: list[np.ndarray] = field(default_factory=list)
    parts: torch.Tensor | None = None
    seconds: float = 0.0
    taught_by: list[str] = field(default_factory=list)
    machines: list[dict[str, str]] = field(default_factory=list)
    code: list[dict[str, str]] = field(default_factory=list)
    clock: float = field(default_factory=time.monotonic)

    def add_machine(self, machine: dict[str, str]) -> None:
        """Add the machine of the next step, if it differs."""
        if self.machines[-1:] != [machine]:
            self.machines.append(machine)

    def add_code(self, digests: dict[str, str] | None) -> None:
        """Add the custom code of the next step, if it differs."""
        if digests and self.code[-1:] != [digests]:
            self.code.append(digests)

    def start_epoch(self, epoch: int) -> None:
        """Go on with the first step of an epoch."""
        self.epoch, self.step, self.parts = epoch, 0, None

    def update_clock(self) -> None:
        """Add the time that has passed since the last call to `seconds`."""
        now = time.monotonic()
        self.seconds, self.clock = self.seconds + now - self.clock, now


@contextlib.contextmanager
def defer_sigterm(save_state: Callable[[], None]) -> Iterator[Callable[[], None]]:
    """Defer SIGTERM (a time limit, a preemption) to the next call of the yielded function.

    That call saves the state and raises InterruptedRun: never between a step and its log.
    """
    received: list[bool] = []

    def pause() -> None:
        if received:
            save_state()
            raise InterruptedRun("SIGTERM; the state is saved, start it again to resume")

    old_handler = signal.signal(signal.SIGTERM, lambda *_: received.append(True))
    try:
        yield pause
        pause()
    finally:
        signal.signal(signal.SIGTERM, old_handler)


def read_save_seconds() -> float:
    """Return how old the saved state must be before it is saved after an epoch.

    Raises
    ------
    KdpipeError
        If the environment variable for it is not a number of seconds.
    """
    text = os.environ.get(SAVE_ENV, str(SAVE_SECONDS))
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise KdpipeError(
            f"{SAVE_ENV}={text}: it must be a number of seconds, 0 or more (0 saves after every "
            f"epoch): correct it, or unset it for {SAVE_SECONDS:g}"
        )
    return seconds


def write_progress(folder: Path, progress: TrainingState) -> None:
    """Write the epoch, the training seconds and the curve of a run for displays."""
    content = {"epoch": progress.epoch, "seconds": progress.seconds, "curve": progress.curve}
    write_json(run_folder.progress_path(folder), content)


def pack_state(
    digest: str,
    model: nn.Module,
    term_modules: nn.ModuleDict,
    average: nn.Module | None,
    optimizer: Optimizer,
    progress: TrainingState,
) -> tuple[dict[str, np.ndarray], dict]:
    """Return the state of a run, (arrays, header), as `read_state` does.

    Parameters
    ----------
    digest : str
        Of the spec of the run.
    model : nn.Module
    term_modules : nn.ModuleDict
        The parameters of its loss terms.
    average : nn.Module or None
        The average of the weights.
    optimizer : Optimizer
    progress : TrainingState
    """
    tensors = {f"model/{key}": value for key, value in model.state_dict().items()}
    tensors |= {f"learnt/{key}": value for key, value in term_modules.state_dict().items()}
    if average is not None:
        tensors |= {f"average/{key}": value for key, value in average.state_dict().items()}
    for kind, values in optimizer.state.items():
        tensors |= {f"{kind}/{name}": value for name, value in values.items()}
    tensors |= {f"best/{key}": value for key, value in progress.best.items()}
    if progress.parts is not None:
        tensors["parts"] = progress.parts
    arrays = to_arrays(tensors)
    if progress.val_errors:
        arrays["val_errors"] = np.stack(progress.val_errors)
    header = {
        "run": digest,
        "device": determinism.format_device_key(next(model.parameters()).device),
        "epoch": progress.epoch,
        "step": progress.step,
        "curve": progress.curve,
        "best_epoch": progress.best_epoch,
        "seconds": progress.seconds,
        "taught_by": progress.taught_by,
        "machines": progress.machines,
    }
    if progress.code:
        header["code"] = progress.code
    return arrays, header


def save_state(
    folder: Path,
    digest: str,
    model: nn.Module,
    term_modules: nn.ModuleDict,
    average: nn.Module | None,
    optimizer: Optimizer,
    progress: TrainingState,
) -> None:
    """Write the state of a run into its folder; the other parameters are those of `pack_state`."""
    state = pack_state(digest, model, term_modules, average, optimizer, progress)
    write_arrays(run_folder.state_path(folder), *state)


def read_state(folder: Path, digest: str) -> tuple[dict[str, np.ndarray], dict] | None:
    """Return the saved state of a run, (arrays, header); None if there is none.

    Raises
    ------
    StoreError
        If the state is damaged or belongs to another run.
    """
    path = run_folder.state_path(folder)
    if not path.exists():
        return None
    arrays, header = read_arrays(path)
    if header["run"] != digest or "step" not in header:
        raise StoreError(f"{path} is not the saved state of this run: remove it and start again")
    return arrays, header


def restore_state(
    arrays: dict[str, np.ndarray],
    header: dict,
    model: nn.Module,
    term_modules: nn.ModuleDict,
    average: nn.Module | None,
    optimizer: Optimizer,
) -> TrainingState:
    """Restore model, terms, average and optimizer, and return the progress of the run."""
    device = next(model.parameters()).device
    kinds = ("model", "learnt", "average", "best", *optimizer.state)
    groups: dict[str, dict[str, torch.Tensor]] = {kind: {} for kind in kinds}
    for key, value in arrays.items():
        group, _, name = key.partition("/")
        if name:
            groups[group][name] = torch.from_numpy(value)
    factory.load_state(model, groups["model"])
    term_modules.load_state_dict(groups["learnt"])
    if average is not None:
        factory.load_state(average, groups["average"])
    for kind, values in optimizer.state.items():
        for name, value in groups[kind].items():
            parameter = optimizer.parameters[name]
            # State of the same size as its parameter has the parameter's memory format.
            target = (
                torch.empty_like(parameter) if value.shape == parameter.shape else value.to(device)
            )
            values[name] = target.copy_(value)
    return TrainingState(
        epoch=header["epoch"],
        step=header["step"],
        curve=header["curve"],
        best_epoch=header["best_epoch"],
        best=groups["best"],
        val_errors=list(arrays.get("val_errors", ())),
        parts=torch.from_numpy(arrays["parts"]).to(device) if "parts" in arrays else None,
        seconds=header["seconds"],
        taught_by=header.get("taught_by", []),
        # Pairs of a name and torch's version were written by an older version.
        machines=[
            machine
            if isinstance(machine, dict)
            else dict(zip(("name", "torch"), machine, strict=True))
            for machine in header.get("machines", [])
        ],
        code=header.get("code", []),
    )


def to_arrays(tensors: dict[str, torch.Tensor]) -> dict[str, np.ndarray]:
    """Return tensors as NumPy arrays."""
    return {key: value.detach().contiguous().cpu().numpy() for key, value in tensors.items()}


def to_tensors(arrays: dict[str, np.ndarray]) -> dict[str, torch.Tensor]:
    """Return NumPy arrays as tensors that share their memory."""
    return {key: torch.from_numpy(value) for key, value in arrays.items()}
