"""Training one network: deterministic, resumable to the same bytes, without a per-step sync.

`train` is the story. All randomness is a function of (seed, stage, member, network, purpose,
epoch), so the state of a run is its weights, its momentum, and a position; it is saved after
every epoch and on SIGTERM, outside of what Snakemake knows. What a run computes, and in which
order, is pinned by `identity.REVISIONS["training"]`.
"""

import contextlib
import math
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from kdpipe.data import splits, streams
from kdpipe.data.views import Views
from kdpipe.errors import Diverged, KdpipeError
from kdpipe.identity import stream_of
from kdpipe.learning.methods.attention import attention_loss
from kdpipe.learning.methods.kd import kd_loss
from kdpipe.learning.recipe import learning_rate
from kdpipe.networks import models, pretrained
from kdpipe.results import run_folder, store
from kdpipe.specs.equipment import CPU, Means
from kdpipe.training import devices, evaluation
from kdpipe.training.optimiser import Descent
from kdpipe.training.progress import Progress, interruptible, read, resume, save
from kdpipe.training.teachers import live
from kdpipe.training.teachers import tables as teacher_tables


@dataclass(frozen=True)
class Result:
    """What a training hands to its record; files lie in the run's folder.

    `last` and `best` are None for a replay. Of the training seconds `earlier_seconds` are those of
    sessions before this one, as far as their states were saved.
    """

    last: dict | None
    best: dict | None
    checkpoints: dict[str, dict]
    curve: list[dict]
    training_seconds: float
    evaluation_seconds: float
    earlier_seconds: float


def train(
    spec: dict,
    digest: str,
    keep: list[int],
    until: int,
    place: store.Store,
    means: Means = CPU,
) -> Result:
    """Train the run of `spec` to epoch `until` and evaluate it.

    `until` is the end of the recipe, or less where a finished run is replayed to a checkpoint;
    `keep` are the epochs whose checkpoints stay. A network that brings its weights is examined and
    trained for no epoch. Raises Diverged, Interrupted, or a KdpipeError for damaged inputs.
    """
    recipe = spec["recipe"]
    torch.set_num_threads(recipe["threads"])
    folder = place.find_run(digest)
    layout = models.layout(spec["network"])
    where = devices.torch_device(means.device)

    # --- data, network, teacher
    split = splits.load(spec["data"], place)
    views = Views.of(spec["data"]["views"])
    images = streams.images(split.train, views, split, where, means.workers)
    labels = torch.from_numpy(np.array(split.train.labels)).to(where)
    teacher = _teacher(spec, place, where, means.code)
    teacher_digest = teacher.digest() if teacher else None
    look = evaluation.Examination(spec, split, teacher, where, means.workers)
    model = models.fresh(spec, means.code)
    if spec.get("pretrained"):
        pretrained.load(model, spec, means.weights)
    model = model.to(where)
    forward = _forward(model, recipe)
    optimiser = Descent(model, momentum=recipe["momentum"], weight_decay=recipe["weight_decay"])

    # --- where it stood
    progress, saved = Progress(), read(folder, digest)
    if saved and _complete(saved[1], folder, digest, keep, means.device):
        progress = resume(*saved, model, optimiser)
    earlier = progress.seconds
    if progress.epoch == progress.step == 0:
        _keep(folder, digest, model, 0, keep)

    # --- epochs
    steps = math.ceil(len(images) / recipe["batch_size"])
    with interruptible(lambda: save(folder, digest, model, optimiser, progress)) as pause:
        for epoch in range(progress.epoch, until):
            lr, objective = learning_rate(recipe, epoch), _objective(spec, epoch)
            order, view = _presentation(spec, epoch, len(images), views)
            if progress.parts is None:
                columns = 5 if attends(spec) else 4
                progress.parts = torch.zeros(steps, columns, device=where)
            model.train()
            batches = images.batches(order, view, recipe["batch_size"], progress.step)
            with contextlib.closing(batches):
                for index, seen, x in batches:
                    taught = _taught(teacher, x, index, seen, objective)
                    given = x.contiguous(memory_format=layout)
                    logits, groups = forward(given, objective["attention_weight"] > 0)
                    parts = _loss(logits, groups, taught, labels[index], objective)
                    parts["loss"].backward()
                    optimiser.step(lr)
                    _note(progress.parts[progress.step], parts, logits, labels[index])
                    progress.step += 1
                    pause()
            _refuse_nonfinite(progress.parts, epoch, progress.curve)
            progress.curve.append(
                {
                    "epoch": epoch + 1,
                    "lr": lr,
                    "train": _running(progress.parts, recipe["batch_size"], len(images), objective),
                    "val": look.after_epoch(model, epoch + 1, pause),
                }
            )
            progress.epoch, progress.step, progress.parts = epoch + 1, 0, None
            _remember_best(progress, model)
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
    return Result(last, best, checkpoints, progress.curve, progress.seconds, evaluated, earlier)


def _forward(model: models.Classifier, recipe: dict) -> Callable:
    """A function of (x, whether attention is wanted): float32 logits, and group outputs or None.

    Autocast and compilation are the student's in training alone: teachers and every evaluation
    stay without it.
    """

    def plain(x: torch.Tensor, attention: bool):
        return model.features(x) if attention else (model(x), None)

    run = plain
    if recipe.get("compile"):
        compiler = os.environ.get("CXX", "g++")
        if shutil.which(compiler) is None:
            raise KdpipeError(
                f"recipe.compile needs a C++ compiler, and there is no {compiler} here: install "
                "one, or write compile: false (which makes other runs)"
            )
        # Each size of batch compiled by itself: which came first must not change the bytes.
        run = torch.compile(plain, dynamic=False)
    half = recipe.get("autocast") is not None

    def forward(x: torch.Tensor, attention: bool):
        with torch.autocast(x.device.type, torch.bfloat16, enabled=half):
            logits, groups = run(x, attention)
        return logits.float(), groups

    return forward


def _teacher(
    spec: dict, place: store.Store, device: torch.device, code: Path | None
) -> live.Live | teacher_tables.Tables | None:
    if spec["teacher"] is None:
        return None
    if spec["teacher"]["outputs"] == "live":
        return live.load(spec, place, device, code)
    return teacher_tables.load(spec, place, device, code)


def attends(spec: dict) -> bool:
    """Whether attention transfer is part of what a run learns."""
    return bool(spec["method"] and spec["method"].get("attention_weight"))


def _objective(spec: dict, epoch: int) -> dict:
    """The loss weights of an epoch: labels alone, with the teacher, or after its stop (ESKD)."""
    smoothing = spec["recipe"]["label_smoothing"]
    method = spec["method"]
    if method is None:
        weights = {"ce_weight": 1.0, "kd_weight": 0.0, "attention_weight": 0.0}
        return weights | {"temperature": 1.0, "smoothing": smoothing}
    teaching = epoch < method["kd_epochs"]
    return {
        "ce_weight": method["ce_weight"] if teaching else method["ce_weight_after_stop"],
        "kd_weight": method["kd_weight"] if teaching else 0.0,
        "attention_weight": method.get("attention_weight", 0.0) if teaching else 0.0,
        "temperature": method["temperature"],
        "smoothing": smoothing,
    }


def _taught(teacher, x, index, view, objective: dict) -> tuple:
    """(logits, group outputs) of the teacher, each None where the loss does not want it."""
    if teacher is None:
        return None, None
    if objective["attention_weight"]:
        said, groups = teacher.features(x)
        return said if objective["kd_weight"] else None, groups
    return teacher.logits(x, index, view) if objective["kd_weight"] else None, None


def _loss(logits, groups, taught: tuple, labels, objective: dict) -> dict[str, torch.Tensor]:
    teacher_logits, teacher_groups = taught
    if teacher_logits is None:
        ce = F.cross_entropy(logits, labels, label_smoothing=objective["smoothing"])
        parts = {"loss": objective["ce_weight"] * ce, "ce": ce}
    else:
        parts = kd_loss(
            logits,
            teacher_logits,
            labels,
            temperature=objective["temperature"],
            ce_weight=objective["ce_weight"],
            kd_weight=objective["kd_weight"],
            label_smoothing=objective["smoothing"],
        )
    if teacher_groups is not None:
        parts["at"] = attention_loss(groups, teacher_groups)
        parts["loss"] = parts["loss"] + objective["attention_weight"] * parts["at"]
    return parts


def _presentation(spec: dict, epoch: int, images: int, views: Views):
    """The order of the images in an epoch and the view each is seen in."""
    order = torch.randperm(images, generator=_generator(spec, "order", epoch))
    view = torch.randint(views.count, (images,), generator=_generator(spec, "views", epoch))
    return order, view


def _generator(spec: dict, purpose: str, epoch: int) -> torch.Generator:
    return torch.Generator().manual_seed(stream_of(spec, purpose, epoch))


def _note(row: torch.Tensor, parts: dict, logits: torch.Tensor, labels: torch.Tensor) -> None:
    """Keep a batch's losses and hits on the device; they are read once an epoch."""
    with torch.no_grad():
        row[0], row[1] = parts["loss"], parts["ce"]
        if "kd" in parts:
            row[2] = parts["kd"]
        row[3] = (logits.argmax(1) == labels).sum()
        if "at" in parts:
            row[4] = parts["at"]


def _running(table: torch.Tensor, batch: int, images: int, objective: dict) -> dict:
    """Means over an epoch as it went by: augmented views, changing weights."""
    sizes = np.full(len(table), batch)
    sizes[-1] = images - batch * (len(table) - 1)
    values = table.double().cpu().numpy()
    means = (values[:, :3] * sizes[:, None]).sum(0) / images
    found = {"loss": means[0], "ce": means[1]}
    if objective["kd_weight"]:
        found["kd"] = means[2]
    if objective["attention_weight"]:
        found["at"] = (values[:, 4] * sizes).sum() / images
    found["accuracy"] = values[:, 3].sum() / images
    return {key: float(value) for key, value in found.items()}


def _refuse_nonfinite(table: torch.Tensor, epoch: int, curve: list[dict]) -> None:
    losses = table[:, 0]
    bad = (~torch.isfinite(losses)).nonzero()
    if len(bad):
        step = int(bad[0])
        last = "none"
        if step:
            last = f"{float(losses[step - 1]):.4g}"
        elif curve:
            last = f"{curve[-1]['train']['loss']:.4g}, the mean of epoch {epoch}"
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


def _keep(folder: Path, digest: str, model: models.Classifier, epoch: int, keep: list[int]) -> None:
    if epoch in keep:
        evaluation.write_weights(run_folder.weights(folder, epoch), digest, model, epoch)


def _complete(about: dict, folder: Path, digest: str, keep: list[int], device: str) -> bool:
    """Whether a saved state has every checkpoint behind it that is wanted now.

    One may have been asked for after its epoch had gone by, or the state may be another device's
    (a record tells of one only); the run then starts anew. Raises StoreError for a checkpoint that
    is damaged or another run's, before an hour is spent on it.
    """
    if about["device"] != device:
        return False
    wanted = [epoch for epoch in keep if epoch <= about["epoch"]]
    if not all(run_folder.weights(folder, epoch).exists() for epoch in wanted):
        return False
    for epoch in wanted:
        evaluation.read_checkpoint(folder, digest, epoch)
    return True
