"""Training one network: deterministic, resumable to the same bytes, without a per-step sync.

`train` is the story. All randomness is a function of (seed, stage, member, network, purpose,
epoch), so the state of a run is its weights, its momentum, and a position; it is saved after
every epoch and on SIGTERM, outside of what Snakemake knows. What a run computes, and in which
order, is pinned by `identity.REVISIONS["training"]`.
"""

import math
import signal
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from kdpipe import data, evaluation, models, store, teacher_outputs
from kdpipe.errors import Diverged, Interrupted
from kdpipe.identity import stream
from kdpipe.losses import kd_loss
from kdpipe.progress import STATE, Progress, resume, save
from kdpipe.views import Images, Views


@dataclass(frozen=True)
class Result:
    """What a training hands to its record; files lie in the run's folder.

    `last` and `best` are None for a replay.
    """

    last: dict | None
    best: dict | None
    checkpoints: dict[str, dict]
    training_seconds: float
    evaluation_seconds: float


def train(spec: dict, digest: str, keep: list[int], until: int, place: store.Store) -> Result:
    """Train the run of `spec` to epoch `until` and evaluate it.

    `until` is the end of the recipe, or less where a finished run is replayed to a checkpoint;
    `keep` are the epochs whose checkpoints stay. Raises Diverged, Interrupted, or a KdpipeError
    for damaged inputs.
    """
    recipe = spec["recipe"]
    torch.set_num_threads(recipe["threads"])
    interrupted = _listen_for_sigterm()
    folder = place.find_run(digest)
    layout = models.memory_format(spec["network"]["name"])

    # --- data, network, teacher
    split = data.load(spec["data"], place)
    views = Views.of(spec["data"]["views"])
    images = Images(split.train.images, views, split.mean, split.std)
    labels = torch.from_numpy(np.array(split.train.labels))
    teacher = teacher_outputs.load(spec, place)
    teacher_digest = teacher.digest() if teacher else None
    look = evaluation.Examination(spec, split, teacher)
    model = fresh(spec)
    optimiser = torch.optim.SGD(
        model.parameters(),
        lr=recipe["lr"],
        momentum=recipe["momentum"],
        weight_decay=recipe["weight_decay"],
        fused=True,
    )

    # --- where it stood
    progress = Progress()
    if _complete(folder, digest, keep):
        progress = resume(folder, digest, model, optimiser) or progress
    if progress.epoch == progress.step == 0:
        _keep(folder, digest, model, 0, keep)

    # --- epochs
    steps = math.ceil(len(images) / recipe["batch_size"])
    for epoch in range(progress.epoch, until):
        started = time.monotonic()
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(recipe, epoch)
        objective = _objective(spec, epoch)
        order, view = _presentation(spec, epoch, len(images), views)
        if progress.parts is None:
            progress.parts = torch.zeros(steps, 4)
        model.train()
        for step in range(progress.step, steps):
            chosen = slice(step * recipe["batch_size"], (step + 1) * recipe["batch_size"])
            index = order[chosen]
            x = images.batch(index, view[chosen])
            taught = teacher.logits(x) if teacher and objective["kd_weight"] else None
            logits = model(x.contiguous(memory_format=layout))
            parts = _loss(logits, taught, labels[index], objective)
            optimiser.zero_grad()
            parts["loss"].backward()
            optimiser.step()
            _note(progress.parts[step], parts, logits, labels[index])
            if interrupted():
                progress.step = step + 1
                progress.seconds += time.monotonic() - started
                save(folder, digest, model, optimiser, progress)
                raise Interrupted(f"epoch {epoch + 1}, step {step + 1} of {steps}; state saved")
        _refuse_nonfinite(progress.parts, epoch)
        progress.curve.append(
            {
                "epoch": epoch + 1,
                "lr": learning_rate(recipe, epoch),
                "train": _running(progress.parts, recipe["batch_size"], len(images), objective),
                "val": look.after_epoch(model),
            }
        )
        progress.epoch, progress.step, progress.parts = epoch + 1, 0, None
        _remember_best(progress, model)
        progress.seconds += time.monotonic() - started
        _keep(folder, digest, model, epoch + 1, keep)
        save(folder, digest, model, optimiser, progress)

    # --- the end
    started = time.monotonic()
    if teacher and teacher.digest() != teacher_digest:
        raise RuntimeError("the teacher changed while it taught")
    last, best = None, None
    if until == recipe["epochs"]:
        last, best = evaluation.finish(folder, digest, model, progress, look)
    checkpoints = {
        str(epoch): {"lr": learning_rate(recipe, max(0, epoch - 1))}
        | evaluation.checkpoint(folder, digest, model, epoch, look)
        for epoch in keep
    }
    evaluated = time.monotonic() - started
    return Result(last, best, checkpoints, progress.seconds, evaluated)


def fresh(spec: dict) -> nn.Module:
    """The network of a spec at its initial weights; the global generator is left as it was."""
    network = spec["network"]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(_stream(spec, "init"))
        model = models.build(
            network["name"], num_classes=network["classes"], in_channels=network["channels"]
        )
    return model.to(memory_format=models.memory_format(network["name"]))


def learning_rate(recipe: dict, epoch: int) -> float:
    """The rate of epoch `epoch` (from 0): multiplied by drop_factor after each drop epoch."""
    drops = sum(epoch >= drop for drop in recipe["drop_epochs"])
    return recipe["lr"] * recipe["drop_factor"] ** drops


def _objective(spec: dict, epoch: int) -> dict:
    """The loss weights of an epoch: labels alone, with the teacher, or after its stop (ESKD)."""
    smoothing = spec["recipe"]["label_smoothing"]
    method = spec["method"]
    if method is None:
        return {"ce_weight": 1.0, "kd_weight": 0.0, "temperature": 1.0, "smoothing": smoothing}
    teaching = epoch < method["kd_epochs"]
    return {
        "ce_weight": method["ce_weight"] if teaching else method["ce_weight_after_stop"],
        "kd_weight": method["kd_weight"] if teaching else 0.0,
        "temperature": method["temperature"],
        "smoothing": smoothing,
    }


def _loss(logits, taught, labels, objective: dict) -> dict[str, torch.Tensor]:
    if taught is None:
        ce = F.cross_entropy(logits, labels, label_smoothing=objective["smoothing"])
        return {"loss": objective["ce_weight"] * ce, "ce": ce}
    return kd_loss(
        logits,
        taught,
        labels,
        temperature=objective["temperature"],
        ce_weight=objective["ce_weight"],
        kd_weight=objective["kd_weight"],
        label_smoothing=objective["smoothing"],
    )


def _presentation(spec: dict, epoch: int, images: int, views: Views):
    """The order of the images in an epoch and the view each is seen in."""
    order = torch.randperm(images, generator=_generator(spec, "order", epoch))
    view = torch.randint(views.count, (images,), generator=_generator(spec, "views", epoch))
    return order, view


def _generator(spec: dict, purpose: str, epoch: int) -> torch.Generator:
    return torch.Generator().manual_seed(_stream(spec, purpose, epoch))


def _stream(spec: dict, purpose: str, epoch: int = 0) -> int:
    network = spec["network"]["name"]
    return stream(spec["seed"], spec["stage"], spec["member"], network, purpose, epoch)


def _note(row: torch.Tensor, parts: dict, logits: torch.Tensor, labels: torch.Tensor) -> None:
    """Keep a batch's losses and hits on the device; they are read once an epoch."""
    with torch.no_grad():
        row[0], row[1] = parts["loss"], parts["ce"]
        if "kd" in parts:
            row[2] = parts["kd"]
        row[3] = (logits.argmax(1) == labels).sum()


def _running(table: torch.Tensor, batch: int, images: int, objective: dict) -> dict:
    """Means over an epoch as it went by: augmented views, changing weights."""
    sizes = np.full(len(table), batch)
    sizes[-1] = images - batch * (len(table) - 1)
    values = table.double().numpy()
    means = (values[:, :3] * sizes[:, None]).sum(0) / images
    found = {"loss": means[0], "ce": means[1]}
    if objective["kd_weight"]:
        found["kd"] = means[2]
    found["accuracy"] = values[:, 3].sum() / images
    return {key: float(value) for key, value in found.items()}


def _refuse_nonfinite(table: torch.Tensor, epoch: int) -> None:
    losses = table[:, 0]
    bad = (~torch.isfinite(losses)).nonzero()
    if len(bad):
        step = int(bad[0])
        last = f"{float(losses[step - 1]):.4g}" if step else "none in this epoch"
        raise Diverged(
            f"the loss is {float(losses[step])} in epoch {epoch + 1}, step {step + 1} "
            f"(last finite loss: {last})"
        )


def _remember_best(progress: Progress, model: nn.Module) -> None:
    """Keep the weights of the epoch that is best on validation; the earliest of equals."""
    now, best = progress.curve[-1], progress.best_epoch
    if now["val"] is None:
        return
    if best is None or now["val"]["accuracy"] > progress.curve[best - 1]["val"]["accuracy"]:
        progress.best_epoch = now["epoch"]
        progress.best = {key: value.clone() for key, value in model.state_dict().items()}


def _keep(folder: Path, digest: str, model: nn.Module, epoch: int, keep: list[int]) -> None:
    if epoch in keep:
        evaluation.write_weights(evaluation.checkpoint_path(folder, epoch), digest, model, epoch)


def _complete(folder: Path, digest: str, keep: list[int]) -> bool:
    """Whether the saved state has every checkpoint behind it that is wanted now.

    One may have been asked for after its epoch had gone by; the run then starts anew.
    """
    path = folder / STATE
    if not path.exists():
        return False
    epoch = store.read_arrays(path)[1]["epoch"]
    return all(evaluation.checkpoint_path(folder, e).exists() for e in keep if e <= epoch)


def _listen_for_sigterm():
    """A function that says whether SIGTERM has come: a time limit or a pre-emption."""
    came = []
    signal.signal(signal.SIGTERM, lambda *_: came.append(True))
    return lambda: bool(came)
