"""Training of one network: deterministic, resumable to the same bytes, without per-step syncs.

`train` is the entry point. All randomness is a function of (seed, stage, member, network, purpose,
epoch), for dropout also of the step, so the state of a run consists of its weights, optimizer
state, and a position; it is saved after an epoch unless the saved one is recent, at each kept
checkpoint and on SIGTERM, in a file that Snakemake does not track. What a run computes, and in
which order, is fixed by `hashing.REVISIONS["training"]`.
"""

import contextlib
import functools
import itertools
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from kdpipe.data import splits, streaming
from kdpipe.data.batches import Batch, ImageBatches
from kdpipe.data.mixtures import Mixtures, draw_mixtures
from kdpipe.data.splits import Split
from kdpipe.data.streaming import StreamedBatches
from kdpipe.data.views import Views
from kdpipe.devices import determinism
from kdpipe.hashing import derive_run_seed
from kdpipe.losses.base import ModelOutput
from kdpipe.models import factory
from kdpipe.models.pretrained.adapter import set_normalization
from kdpipe.models.pretrained.weights import Backbone, load_init, load_pretrained
from kdpipe.runs import run_folder, upstream
from kdpipe.runs.execution_options import CPU_OPTIONS, ExecutionOptions
from kdpipe.runs.recipe import learning_rate
from kdpipe.runs.spec import RunSpec
from kdpipe.runs.store import Store
from kdpipe.training import ema, evaluate
from kdpipe.training.checkpoint import (
    PROGRESS_SECONDS,
    TrainingState,
    defer_sigterm,
    pack_state,
    read_save_seconds,
    read_state,
    restore_state,
    save_state,
    write_progress,
)
from kdpipe.training.forward import FeatureExtractor, make_train_forward
from kdpipe.training.mixup import BatchMixer
from kdpipe.training.objective import Objective, TermWeights, require_online
from kdpipe.training.optim import Optimizer
from kdpipe.training.process_group import ProcessGroup, open_process_group
from kdpipe.training.shards import (
    MIN_IMAGES,
    Part,
    ShardedGradients,
    cut_batch,
)
from kdpipe.training.teachers import cached, unlabelled
from kdpipe.training.teachers.cached import CachedTeacher
from kdpipe.training.teachers.online import OnlineTeacher
from kdpipe.training.teachers.unlabelled import UnlabelledImages
from kdpipe.user_code import hash_loaded_code

Teacher = OnlineTeacher | CachedTeacher | None


@dataclass(frozen=True)
class Result:
    """The results of a training run for its record; its files are in the run's folder.

    Attributes
    ----------
    last, best : dict or None
        Metrics after the last epoch, and after the best one on validation; None for a replay.
    unaveraged : dict or None
        `last` without averaging, where weights are averaged.
    checkpoints : dict
        Metrics of the kept checkpoints by epoch.
    curve : list of dict
        One line for each epoch.
    training_seconds, evaluation_seconds : float
    earlier_seconds : float
        The part of the training seconds from earlier sessions whose states were saved.
    machines : list of dict
        The machines that trained it, see `TrainingState`.
    code : list of dict
        Its custom code, see `TrainingState`.
    mean, std : list of float
        Normalization of the pixels, per channel.
    start : dict or None
        For a network that started from weights: how many arrays were `taken` from them, which are
        `new`, and how many are `frozen`.
    teacher_rounding : dict or None
        For a teacher that answers in bfloat16, see `OnlineTeacher.measure_rounding`; None for a
        replay.
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
    code: list[dict[str, str]]
    mean: list[float]
    std: list[float]
    start: dict | None
    teacher_rounding: dict | None


def train(
    spec: RunSpec,
    digest: str,
    folder: Path,
    keep_epochs: list[int],
    end_epoch: int,
    store: Store,
    options: ExecutionOptions = CPU_OPTIONS,
) -> Result:
    """Train the run of a spec up to an epoch, in its folder, and evaluate it.

    A pretrained network is only evaluated.

    Parameters
    ----------
    spec : RunSpec
    digest : str
        That of the spec.
    folder : Path
        The folder of the run.
    keep_epochs : list of int
        The epochs whose checkpoints are kept.
    end_epoch : int
        The epochs of the recipe, or fewer if a finished run is replayed to a checkpoint.
    store : Store
        The store with data and teachers.
    options : ExecutionOptions

    Raises
    ------
    DivergedError
        If a loss or an output is not finite.
    InterruptedRun
        After SIGTERM, once the state is saved.
    KdpipeError
        If inputs are damaged.
    """
    run = _create_run(spec, digest, folder, keep_epochs, store, options)
    run.resume(store)
    run.progress.add_code(hash_loaded_code(options.code))
    extra_images = run.load_unlabelled(store, options)
    processes, arguments = spec.recipe.count_processes(options.processes), ()
    if run.progress.epoch >= end_epoch:
        processes = 1
    if processes > 1:
        arguments = (spec, digest, folder, end_epoch, store, options, run.pack_state())
    with open_process_group(processes, run.data.device, _train_parts, arguments) as group:
        run.train_epochs(end_epoch, extra_images, group)
    return run.evaluate(end_epoch)


def _train_parts(
    group: ProcessGroup,
    spec: RunSpec,
    digest: str,
    folder: Path,
    end_epoch: int,
    store: Store,
    options: ExecutionOptions,
    state: tuple[dict[str, np.ndarray], dict],
) -> None:
    """Train parts of each batch in another process than the job, from the state of its run."""
    options = replace(options, workers=-(-options.workers // group.processes))
    run = _create_run(spec, digest, folder, [], store, options)
    run.restore(*state)
    run.train_epochs(end_epoch, run.load_unlabelled(store, options), group)


def _create_run(
    spec: RunSpec,
    digest: str,
    folder: Path,
    keep_epochs: list[int],
    store: Store,
    options: ExecutionOptions,
) -> "_TrainingRun":
    """Load what a run needs, and create its network and optimizer."""
    torch.set_num_threads(spec.recipe.threads)
    device = determinism.prepare_torch_device(options.device, options.kernels)
    data = _load_data(spec, store, device, options)
    teacher = cached.load_teacher(spec, store, device, options.code)
    student = _create_student(spec, data, teacher, device, options)
    optimizer = Optimizer(student.trainable, spec.recipe, student.backbone.lr_factors)
    return _TrainingRun(spec, digest, folder, keep_epochs, data, teacher, student, optimizer)


@dataclass(frozen=True)
class _TrainingData:
    """The training images of a run with their labels, and their split."""

    split: Split
    views: Views
    images: ImageBatches | StreamedBatches
    labels: Tensor  # (images,), on the device
    device: torch.device
    workers: int


def _load_data(
    spec: RunSpec, store: Store, device: torch.device, options: ExecutionOptions
) -> _TrainingData:
    """Load the data of a run; raise KdpipeError if its network expects other images."""
    split = splits.load_split(spec.data, store)
    split.check_network(spec.network)
    views = Views.from_spec(spec.data.views)
    images = streaming.create_batches(split.train, views, split, device, options.workers)
    labels = torch.from_numpy(np.array(split.train.labels)).to(device)
    return _TrainingData(split, views, images, labels, device, options.workers)


@dataclass(frozen=True)
class _Student:
    """The network in training, its trainable parameters, and its average if the recipe has one."""

    model: Any
    objective: Objective
    backbone: Backbone
    average: AveragedModel | None
    evaluator: evaluate.Evaluator
    forward: Callable[..., ModelOutput]
    memory_format: torch.memory_format

    @property
    def eval_model(self) -> Any:
        """Return the network that is evaluated and saved."""
        return self.model if self.average is None else self.average.module

    @property
    def trainable(self) -> dict[str, nn.Parameter]:
        """Return the parameters by name; those of terms have names that no network uses."""
        of_terms = self.objective.modules.named_parameters()
        named = {f"learnt/{name}": parameter for name, parameter in of_terms}
        return {**dict(self.model.named_parameters()), **named}


def _create_student(
    spec: RunSpec,
    data: _TrainingData,
    teacher: Teacher,
    device: torch.device,
    options: ExecutionOptions,
) -> _Student:
    """Create the network of a run on its device, with the parameters of its loss terms."""
    recipe, network = spec.recipe, spec.network
    objective = Objective(spec, options.code)
    evaluator = evaluate.Evaluator(spec, data.split, teacher, objective, device, options.workers)
    model = factory.create_model(spec, options.code)
    if spec.pretrained:
        load_pretrained(model, spec, options.weights, data.split.mean, data.split.std)
    backbone = load_init(model, network, options.weights)
    set_normalization(model, data.split.mean, data.split.std)
    model = model.to(device)
    average = ema.build_ema(model, recipe)
    extractor = FeatureExtractor(model, network, objective.needs, objective.student_modules)
    forward = make_train_forward(extractor, recipe)
    layout = factory.get_memory_format(network)
    if objective.has_modules:
        outputs = _run_one_image(extractor, teacher, data.images, layout)
        objective.init_term_modules(*outputs)
    return _Student(model, objective, backbone, average, evaluator, forward, layout)


def _run_one_image(
    extractor: FeatureExtractor,
    teacher: Teacher,
    images: ImageBatches | StreamedBatches,
    layout: torch.memory_format,
) -> tuple[ModelOutput, ModelOutput]:
    """Return the outputs of student and teacher for one image, whose shapes terms depend on."""
    assert teacher is not None
    index = torch.zeros(1, dtype=torch.int64)
    view = torch.full_like(index, images.views.identity_view)
    with contextlib.closing(images.batches(index, view, 1)) as batches:
        ((image_index, image_view, x),) = batches
    formatted = x.contiguous(memory_format=layout)
    extractor.model.eval()
    with torch.no_grad():
        if extractor.needs:
            return extractor(formatted), require_online(teacher).forward_outputs(x)
        return extractor(formatted), ModelOutput(teacher.logits(x, image_index, image_view), [])


@dataclass
class _TrainingRun:
    """A run in training: everything that its steps use, and its progress."""

    spec: RunSpec
    digest: str
    folder: Path
    keep_epochs: list[int]
    data: _TrainingData
    teacher: Teacher
    student: _Student
    optimizer: Optimizer
    progress: TrainingState = field(default_factory=TrainingState)
    mixtures: Mixtures | None = None  # of the views of an epoch, on the device
    sharded: ShardedGradients | None = None
    earlier_seconds: float = 0.0

    def __post_init__(self):
        recipe = self.spec.recipe
        self.batch_size = recipe.batch_size
        self.steps = math.ceil(len(self.data.images) / self.batch_size)
        self.metric_names = evaluate.metric_names(self.student.objective)
        self.mixer = BatchMixer(recipe, self.spec.network.classes)
        self.n_unlabelled: int = (self.spec.method or {}).get("unlabelled", 0)
        self.teacher_digest = self.teacher.digest() if self.teacher else None
        self.save_seconds = read_save_seconds()
        self.saved_at = self.progress_written_at = -math.inf  # in this session

    # --- saved states

    def resume(self, store: Store) -> None:
        """Resume from the saved state, if there is a usable one."""
        taught_by = [
            each["sha256"] for each in upstream.list_parent_checksums(self.spec.members, store)
        ]
        self.progress, saved = (
            TrainingState(taught_by=taught_by),
            read_state(self.folder, self.digest),
        )
        device = self.data.device
        if saved and _is_resumable(
            saved[1],
            self.folder,
            self.digest,
            self.keep_epochs,
            determinism.format_device_key(device),
            taught_by,
        ):
            self.restore(*saved)
        self.progress.add_machine(determinism.get_machine_info(device))
        self.earlier_seconds = self.progress.seconds
        if self.progress.epoch == self.progress.step == 0:
            self._save_checkpoint(0)

    def restore(self, arrays: dict[str, np.ndarray], header: dict) -> None:
        """Continue from a state."""
        student = self.student
        self.progress = restore_state(
            arrays,
            header,
            student.model,
            student.objective.modules,
            student.average,
            self.optimizer,
        )

    def pack_state(self) -> tuple[dict[str, np.ndarray], dict]:
        """Return the state from which another process goes on."""
        return pack_state(*self._list_state())

    def save_state(self) -> None:
        """Write the state from which the run can be resumed."""
        self.progress.update_clock()
        save_state(self.folder, *self._list_state())
        self.saved_at = time.monotonic()

    def _list_state(self) -> tuple:
        """Return all that the state of the run is made of."""
        student = self.student
        model_state = student.model, student.objective.modules, student.average
        return self.digest, *model_state, self.optimizer, self.progress

    def _write_progress(self) -> None:
        self.progress.update_clock()
        write_progress(self.folder, self.progress)
        self.progress_written_at = time.monotonic()

    def _save_on_sigterm(self) -> None:
        if self.sharded is not None:
            self.sharded.raise_if_uneven()
        self.save_state()
        self._write_progress()

    def _save_checkpoint(self, epoch: int) -> None:
        """Save the weights after an epoch, if they are to be kept."""
        model = self.student.eval_model
        _save_checkpoint(self.folder, self.digest, model, epoch, self.keep_epochs)

    def learning_rate(self, epoch: int, step: int = 0) -> float:
        """Return the learning rate of a step."""
        return learning_rate(self.spec.recipe, epoch, step, self.steps)

    # --- epochs

    def load_unlabelled(self, store: Store, options: ExecutionOptions) -> UnlabelledImages | None:
        """Return the unlabelled images of the run, if its method uses any."""
        split, device = self.data.split, self.data.device
        return unlabelled.load_unlabelled(self.spec, split, self.teacher, store, device, options)

    def train_epochs(
        self, end_epoch: int, extra_images: UnlabelledImages | None, group: ProcessGroup
    ) -> None:
        """Train up to an epoch; on SIGTERM save the state and raise InterruptedRun.

        In another process of the group than the job only the steps are made.
        """
        self.sharded = self._create_sharded_gradients(group)
        with torch.random.fork_rng(devices=[]):
            if group.rank:
                for epoch in range(self.progress.epoch, end_epoch):
                    self._train_epoch(epoch, extra_images, lambda: None)
                    self.progress.start_epoch(epoch + 1)
                return
            with defer_sigterm(self._save_on_sigterm) as pause:
                for epoch in range(self.progress.epoch, end_epoch):
                    self._train_epoch(epoch, extra_images, pause)
                    self._end_epoch(epoch, pause)
        self.progress.update_clock()

    def _create_sharded_gradients(self, group: ProcessGroup) -> ShardedGradients | None:
        """Return what sums the gradients of the parts of batches; None where these are whole."""
        student, shards = self.student, self.spec.recipe.shards
        if shards == 1:
            return None
        modules = [student.model, student.objective.modules]
        return ShardedGradients(modules, shards, group.rank, group.processes, group.gather)

    def _train_epoch(
        self, epoch: int, extra_images: UnlabelledImages | None, pause: Callable[[], None]
    ) -> None:
        """Run the remaining steps of an epoch."""
        progress, student = self.progress, self.student
        if progress.parts is None:
            shape = self.steps, len(self.metric_names)
            progress.parts = torch.zeros(shape, device=self.data.device)
        student.backbone.train()
        student.objective.modules.train()
        weights = student.objective.weights(epoch)
        steps = [self._cut_batch(step) for step in range(progress.step, self.steps)]
        with self._open_batches(epoch, weights, extra_images, steps) as batches:
            for parts in steps:
                step = progress.step
                compute_part = functools.partial(
                    self._compute_gradients, epoch, batches, extra_images, weights
                )
                if self.sharded is None:
                    compute_part(*parts)
                else:
                    own_parts = self.sharded.select_parts(parts)
                    progress.parts[step] = self.sharded.compute(own_parts, len(parts), compute_part)
                self.optimizer.step(self.learning_rate(epoch, step))
                if student.average is not None:
                    student.average.update_parameters(student.model)
                progress.step += 1
                pause()

    def _cut_batch(self, step: int) -> list[Part]:
        """Return the parts of a step's batch."""
        first, extra = step * self.batch_size, self.n_unlabelled
        rows = slice(first, min(first + self.batch_size, len(self.data.images)))
        extra_rows = slice(step * extra, (step + 1) * extra)
        terms = self.student.objective.terms.values()
        min_images = max([MIN_IMAGES, *(term.images for term, *_ in terms)])
        return cut_batch(rows, extra_rows, self.spec.recipe.shards, min_images)

    @contextlib.contextmanager
    def _open_batches(
        self,
        epoch: int,
        weights: TermWeights,
        extra_images: UnlabelledImages | None,
        steps: list[list[Part]],
    ) -> Iterator[Iterator[tuple[Batch, Batch | None]]]:
        """Yield an iterator of the images of each part of this process, and of its unlabelled."""
        images, sharded = self.data.images, self.sharded
        order, view = _draw_order_and_views(self.spec, epoch, len(images), self.data.views)
        mixtures = draw_mixtures(images, order, view)
        self.mixtures = mixtures and mixtures.to(self.data.device)
        own_steps = [sharded.select_parts(parts) if sharded else parts for parts in steps]
        own_parts = [part for parts in own_steps for part in parts]
        batches = images.batches_at(order, view, [part.rows for part in own_parts])
        extra_source = unlabelled.iterate_batches(
            extra_images, weights, epoch, self.steps, [part.extra_rows for part in own_parts]
        )
        with contextlib.closing(batches), extra_source as extra_batches:
            yield zip(batches, extra_batches or itertools.repeat(None))  # noqa: B905

    def _compute_gradients(
        self,
        epoch: int,
        batches: Iterator[tuple[Batch, Batch | None]],
        extra_images: UnlabelledImages | None,
        weights: TermWeights,
        part: Part,
    ) -> Tensor:
        """Compute the gradients of the next batch, or part of one, and return what is logged."""
        student, step = self.student, self.progress.step
        objective = student.objective
        (index, view, x), extra_batch = next(batches)
        x, targets = self._mix(epoch, part, index, x)
        teacher_output = objective.teacher_outputs(self.teacher, x, index, view, weights)
        if extra_images and teacher_output and extra_batch:
            x, teacher_output = extra_images.append_unlabelled(
                x, teacher_output, extra_batch, objective, weights
            )
        _seed_step(self.spec, epoch, part.purpose("step", step), self.data.device)
        output = student.forward(x.contiguous(memory_format=student.memory_format), weights.terms)
        shares = None if part.number is None else (part.share, part.extra_share)
        losses = objective.compute_terms(output, teacher_output, targets, weights, shares)
        losses["loss"].backward()
        assert self.progress.parts is not None
        row = self.progress.parts[step]
        if part.number is not None:
            row = torch.zeros_like(row)
        logits = output.logits[: len(index)]
        evaluate.log_batch(row, self.metric_names, losses, logits, targets)
        return row

    def _mix(self, epoch: int, part: Part, index: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the images of a batch and their labels, mixed if the recipe mixes them.

        Images of drawn views are mixed already, and only their labels are.
        """
        labels = self.data.labels
        if self.mixtures is not None:
            mixtures = self.mixtures[part.rows]
            partners, classes = labels[mixtures.index], self.spec.network.classes
            return x, mixtures.mix_labels(labels[index], partners, classes)
        mix_seed = 0
        if self.mixer.transforms:
            purpose = part.purpose("mix", self.progress.step)
            mix_seed = derive_run_seed(self.spec, purpose, epoch)
        return self.mixer(x, labels[index], mix_seed)

    def _end_epoch(self, epoch: int, pause: Callable[[], None]) -> None:
        """Add a line to the curve, and save the results of the epoch."""
        progress, student = self.progress, self.student
        assert progress.parts is not None
        if self.sharded is not None:
            self.sharded.raise_if_uneven()
        evaluate.raise_if_nonfinite(progress.parts, epoch, progress.curve)
        weights, n_images = student.objective.weights(epoch), len(self.data.images)
        train_means = evaluate.compute_epoch_means(
            progress.parts, self.metric_names, self.batch_size, n_images, weights
        )
        evaluation = student.evaluator.evaluate_epoch(student.eval_model, epoch + 1, pause)
        val_line, val_errors = evaluation or (None, None)
        progress.curve.append(
            {
                "epoch": epoch + 1,
                "lr": self.learning_rate(epoch),
                "train": train_means,
                "val": val_line,
            }
        )
        if val_errors is not None:
            progress.val_errors.append(np.packbits(val_errors))
        progress.start_epoch(epoch + 1)
        _update_best(progress, student.eval_model, self.spec.metric)
        self._save_checkpoint(epoch + 1)
        now = time.monotonic()
        if now - self.saved_at >= self.save_seconds or epoch + 1 in self.keep_epochs:
            self.save_state()
        if now - self.progress_written_at >= PROGRESS_SECONDS:
            self._write_progress()

    # --- the end

    def evaluate(self, end_epoch: int) -> Result:
        """Evaluate the run and its kept checkpoints, and write its weights and outputs."""
        start_time = time.monotonic()
        if self.teacher and self.teacher.digest() != self.teacher_digest:
            raise RuntimeError("the teacher's parameters changed during training")
        student, progress = self.student, self.progress
        run, evaluator = (self.folder, self.digest), student.evaluator
        last, best, unaveraged, rounding = None, None, None, None
        if end_epoch == self.spec.recipe.epochs:
            last, best = evaluate.finalize_run(*run, student.eval_model, progress, evaluator)
            if student.average is not None and end_epoch:  # without steps there is no average
                unaveraged = evaluate.eval_raw_weights(*run, student.model, end_epoch, evaluator)
            rounding = self.teacher and self.teacher.measure_rounding(evaluator.images)
        checkpoints = {
            str(epoch): {"lr": self.learning_rate(max(0, epoch - 1))}
            | evaluate.eval_checkpoint(*run, student.eval_model, epoch, evaluator)
            for epoch in self.keep_epochs
        }
        init_report = student.backbone.init_report
        return Result(
            last=last,
            best=best,
            unaveraged=unaveraged,
            checkpoints=checkpoints,
            curve=progress.curve,
            training_seconds=progress.seconds,
            evaluation_seconds=time.monotonic() - start_time,
            earlier_seconds=self.earlier_seconds,
            machines=progress.machines,
            code=progress.code,
            mean=self.data.split.mean.tolist(),
            std=self.data.split.std.tolist(),
            start=init_report and init_report._asdict(),
            teacher_rounding=rounding,
        )


def _draw_order_and_views(
    spec: RunSpec, epoch: int, images: int, views: Views
) -> tuple[Tensor, Tensor]:
    """Return the order of the images in an epoch, and the view of each, both (images,)."""
    order = torch.randperm(images, generator=_make_generator(spec, "order", epoch))
    view = torch.randint(views.count, (images,), generator=_make_generator(spec, "views", epoch))
    return order, view


def _make_generator(spec: RunSpec, purpose: str, epoch: int) -> torch.Generator:
    """Return the generator for one purpose in an epoch."""
    return torch.Generator().manual_seed(derive_run_seed(spec, purpose, epoch))


def _seed_step(spec: RunSpec, epoch: int, purpose: str, device: torch.device) -> None:
    """Seed torch's global generators, which dropout and similar layers use, for one step.

    So a run that is resumed within an epoch draws the same dropout masks. Every network is seeded:
    a hash is cheaper than finding out which networks draw.
    """
    seed = derive_run_seed(spec, purpose, epoch)
    # The part of torch.manual_seed that does not look for a GPU.
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)


def _update_best(progress: TrainingState, model: nn.Module, metric: str) -> None:
    """Keep the weights of the best epoch on validation, the earliest in a tie."""
    latest, best = progress.curve[-1], progress.best_epoch
    if latest["val"] is None:
        return
    key = "accuracy" if metric == "top1" else metric
    if best is None or latest["val"][key] > progress.curve[best - 1]["val"][key]:
        progress.best_epoch = latest["epoch"]
        progress.best = {key: value.clone() for key, value in model.state_dict().items()}


def _save_checkpoint(
    folder: Path, digest: str, model: factory.Classifier, epoch: int, keep_epochs: list[int]
) -> None:
    """Write the weights after an epoch, if they are to be kept."""
    if epoch in keep_epochs:
        evaluate.write_weights(run_folder.weights_path(folder, epoch), digest, model, epoch)


def _is_resumable(
    header: dict,
    folder: Path,
    digest: str,
    keep_epochs: list[int],
    device: str,
    taught_by: list[str],
) -> bool:
    """Return whether a run can resume from a saved state; otherwise it starts again.

    It cannot if a checkpoint of a past epoch is missing because it was requested later, nor from
    the state of another device or of a student of other weights (a record has one set of them).
    Raises StoreError early for a checkpoint that is damaged or belongs to another run.
    """
    if header["device"] != device or header.get("taught_by", taught_by) != taught_by:
        return False
    due_epochs = [epoch for epoch in keep_epochs if epoch <= header["epoch"]]
    if not all(run_folder.weights_path(folder, epoch).exists() for epoch in due_epochs):
        return False
    for epoch in due_epochs:
        evaluate.read_checkpoint(folder, digest, epoch)
    return True
