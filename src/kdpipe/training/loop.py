"""Training one network: deterministic, resumable to the same bytes, without a per-step sync.

`train` is the story. All randomness is a function of (seed, stage, member, network, purpose,
epoch), that of dropout of the step too, so the state of a run is its weights, its momentum, and a
position; it is saved after every epoch and on SIGTERM, outside of what Snakemake knows. What a run
computes, and in which order, is pinned by `identity.REVISIONS["training"]`.
"""

import contextlib
import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from kdpipe.data import splits, streams
from kdpipe.data.views import Views
from kdpipe.devices import exact
from kdpipe.identity import stream_of
from kdpipe.learning.mixing import Mixing
from kdpipe.learning.recipe import learning_rate
from kdpipe.learning.term import Said
from kdpipe.networks import models
from kdpipe.networks.brought import weights as brought
from kdpipe.networks.brought.started import begin
from kdpipe.results import parents, run_folder, store
from kdpipe.specs.equipment import CPU, Means
from kdpipe.training import averaged, curve, evaluation
from kdpipe.training.answers import Answers, in_training
from kdpipe.training.objective import Objective
from kdpipe.training.optimiser import Descent
from kdpipe.training.progress import Progress, interruptible, read, resume, save
from kdpipe.training.teachers import tables, unlabelled
from kdpipe.training.teachers.live import Live
from kdpipe.training.teachers.tables import Tables


@dataclass(frozen=True)
class Result:
    """What a training hands to its record; files lie in the run's folder.

    `last` and `best` are None for a replay. Of the training seconds `earlier_seconds` are those of
    sessions before this one, as far as their states were saved. `mean` and `std`, of each channel,
    are those that the pixels were normalised by. `unaveraged` is what `last` would be without
    averaging, where weights are averaged. `start` says of a network that began from weights
    how many arrays were `taken` over, which are `new` and how many are `frozen`. `machines`: see
    `Progress`.
    """

    last: dict | None
    best: dict | None
    unaveraged: dict | None
    checkpoints: dict[str, dict]
    curve: list[dict]
    training_seconds: float
    evaluation_seconds: float
    earlier_seconds: float
    machines: list[dict[str, str]]
    mean: list[float]
    std: list[float]
    start: dict | None


def train(
    spec: dict,
    digest: str,
    folder: Path,
    keep: list[int],
    until: int,
    place: store.Store,
    means: Means = CPU,
) -> Result:
    """Train the run of `spec` to epoch `until`, in its folder, and evaluate it.

    `until` is the end of the recipe, or less where a finished run is replayed to a checkpoint;
    `keep` are the epochs whose checkpoints stay. A network that brings its weights is examined and
    trained for no epoch. Raises Diverged, Interrupted, or a KdpipeError for damaged inputs.
    """
    recipe = spec["recipe"]
    torch.set_num_threads(recipe["threads"])
    layout = models.layout(spec["network"])
    where = exact.torch_device(means.device, means.kernels)

    # --- data, network, teacher
    split = splits.load(spec["data"], place)
    split.refuse_other(spec["network"])
    views = Views.of(spec["data"]["views"])
    images = streams.images(split.train, views, split, where, means.workers)
    labels = torch.from_numpy(np.array(split.train.labels)).to(where)
    teacher = tables.of(spec, place, where, means.code)
    teacher_digest = teacher.digest() if teacher else None
    objective = Objective(spec, means.code)
    look = evaluation.Examination(spec, split, teacher, objective, where, means.workers)
    model = models.fresh(spec, means.code)
    if spec.get("pretrained"):
        brought.load(model, spec, means.weights, split.mean, split.std)
    backbone = begin(model, spec["network"], means.weights)
    model = model.to(where)
    average = averaged.of(model, recipe)
    judged: Any = model if average is None else average.module
    answers = Answers(model, spec["network"], objective.needs)
    forward = in_training(answers, recipe)
    mixing = Mixing(recipe, spec["network"]["classes"])
    if objective.grows:
        assert teacher is not None
        objective.grow(*_one_image(answers, teacher, images, layout))
    learning = {**dict(model.named_parameters()), **_named(objective)}
    optimiser = Descent(learning, recipe, backbone.pace)

    more = unlabelled.of(spec, split, teacher, place, where, means)

    # --- where it stood
    members = spec["teacher"]["members"] if spec["teacher"] else []
    taught_by = [each["sha256"] for each in parents.made_of(members, place)]
    progress, saved = Progress(taught_by=taught_by), read(folder, digest)
    if saved and _complete(saved[1], folder, digest, keep, exact.kind(where), taught_by):
        progress = resume(*saved, model, objective.learnt, average, optimiser)
    progress.goes_on_with(exact.machine(where))
    earlier = progress.seconds
    if progress.epoch == progress.step == 0:
        _keep(folder, digest, judged, 0, keep)

    # --- epochs
    steps = math.ceil(len(images) / recipe["batch_size"])
    names = curve.columns(objective)
    state = (folder, digest, model, objective.learnt, average, optimiser, progress)
    alone = torch.random.fork_rng(devices=[])
    with alone, interruptible(lambda: save(*state)) as pause:
        for epoch in range(progress.epoch, until):
            weights = objective.weights(epoch)
            order, view = _presentation(spec, epoch, len(images), views)
            if progress.parts is None:
                progress.parts = torch.zeros(steps, len(names), device=where)
            backbone.train()
            objective.learnt.train()
            batches = images.batches(order, view, recipe["batch_size"], progress.step)
            others = unlabelled.batches(more, weights, epoch, steps, progress.step)
            with contextlib.closing(batches), others as beside:
                for index, seen, x in batches:
                    mix = stream_of(spec, f"mix {progress.step}", epoch) if mixing.ways else 0
                    x, shares = mixing(x, labels[index], mix)
                    taught = objective.taught(teacher, x, index, seen, weights)
                    if more and taught and beside:
                        x, taught = more.joined(x, taught, next(beside), objective, weights)
                    _seed_step(spec, epoch, progress.step, where)
                    said = forward(x.contiguous(memory_format=layout), weights.terms)
                    parts = objective.parts(said, taught, shares, weights)
                    parts["loss"].backward()
                    optimiser.step(learning_rate(recipe, epoch, progress.step, steps))
                    if average is not None:
                        average.update_parameters(model)
                    row = progress.parts[progress.step]
                    curve.note(row, names, parts, said.logits[: len(index)], shares)
                    progress.step += 1
                    pause()
            curve.refuse_nonfinite(progress.parts, epoch, progress.curve)
            progress.curve.append(
                {
                    "epoch": epoch + 1,
                    "lr": learning_rate(recipe, epoch, 0, steps),
                    "train": curve.running(
                        progress.parts, names, recipe["batch_size"], len(images), weights
                    ),
                    "val": look.after_epoch(judged, epoch + 1, pause),
                }
            )
            progress.epoch, progress.step, progress.parts = epoch + 1, 0, None
            _remember_best(progress, judged)
            _keep(folder, digest, judged, epoch + 1, keep)
            save(*state)

    # --- the end
    started = time.monotonic()
    if teacher and teacher.digest() != teacher_digest:
        raise RuntimeError("the teacher changed while it taught")
    last, best, plain = None, None, None
    if until == recipe["epochs"]:
        last, best = evaluation.finish(folder, digest, judged, progress, look)
        if average is not None and until:  # no step: there is no average
            plain = evaluation.unaveraged(folder, digest, model, until, look)
    checkpoints = {
        str(epoch): {"lr": learning_rate(recipe, max(0, epoch - 1), 0, steps)}
        | evaluation.checkpoint(folder, digest, judged, epoch, look)
        for epoch in keep
    }
    evaluated = time.monotonic() - started
    begun = backbone.begun and backbone.begun._asdict()
    session = progress.seconds, evaluated, earlier, progress.machines
    pixels = split.mean.tolist(), split.std.tolist()
    found = last, best, plain, checkpoints, progress.curve
    return Result(*found, *session, *pixels, begun)


def _one_image(answers: Answers, teacher: Live | Tables, images, layout) -> tuple[Said, Said]:
    """What student and teacher say of one image as it is: the shapes of what a term compares."""
    index = torch.zeros(1, dtype=torch.int64)
    view = torch.full_like(index, images.views.centre)
    with contextlib.closing(images.batches(index, view, 1)) as batches:
        ((where, seen, x),) = batches
    given = x.contiguous(memory_format=layout)
    answers.model.eval()
    with torch.no_grad():
        if answers.needs:
            assert isinstance(teacher, Live)
            return answers(given), teacher.said(x)
        return answers(given), Said(teacher.logits(x, where, seen), [])


def _named(objective: Objective) -> dict[str, nn.Parameter]:
    """The parameters that terms have of their own, under names that no network uses."""
    return {f"learnt/{name}": value for name, value in objective.learnt.named_parameters()}


def _presentation(spec: dict, epoch: int, images: int, views: Views):
    """The order of the images in an epoch and the view each is seen in."""
    order = torch.randperm(images, generator=_generator(spec, "order", epoch))
    view = torch.randint(views.count, (images,), generator=_generator(spec, "views", epoch))
    return order, view


def _seed_step(spec: dict, epoch: int, step: int, device: torch.device) -> None:
    """Set torch's global generators, which dropout and its kin draw from, for one step.

    So a run that goes on in the middle of an epoch drops what it would have dropped. Of every
    network: a hash costs less than to know which of them draw.
    """
    seed = stream_of(spec, f"step {step}", epoch)
    # Of torch.manual_seed the part that does not look for a GPU.
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)


def _generator(spec: dict, purpose: str, epoch: int) -> torch.Generator:
    return torch.Generator().manual_seed(stream_of(spec, purpose, epoch))


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


def _complete(
    about: dict, folder: Path, digest: str, keep: list[int], device: str, taught_by: list[str]
) -> bool:
    """Whether a saved state has every checkpoint behind it that is wanted now.

    One may have been asked for after its epoch had gone by, or the state may be another device's
    or that of a student of other weights (a record tells of one only); the run then starts anew.
    Raises StoreError for a checkpoint that is damaged or another run's, before an hour is spent on
    it.
    """
    if about["device"] != device or about.get("taught_by", taught_by) != taught_by:
        return False
    wanted = [epoch for epoch in keep if epoch <= about["epoch"]]
    if not all(run_folder.weights(folder, epoch).exists() for epoch in wanted):
        return False
    for epoch in wanted:
        evaluation.read_checkpoint(folder, digest, epoch)
    return True
