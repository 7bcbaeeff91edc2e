"""Resources that a job requests from a cluster: minutes and memory, from the costs of the plan.

They are rough on purpose, and generous: a request that was too small grows at the next attempt, and
a run that meets its time limit resumes where it stopped.

Operations and bytes of runs: what a study costs before a core is spent on it.

Bytes are those of float32 weights of the last, the best and kept epochs, and of outputs. Seconds
are in `estimate`.
"""

import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kdpipe.data.cards import DatasetCard
from kdpipe.data.data_spec import find_unlabelled_folder
from kdpipe.plan.nodes import ExportEval, LogitCache, Plan, Probe, Run
from kdpipe.runs.spec import DataSpec

# Multiply-adds a second, of small networks and batches: of one thread about half of what was
# measured on one core of a slow machine; of a GPU never measured, and guessed low.
MACS_PER_SECOND = {"cpu": 5e8, "cuda": 5e11}
SECONDS_PER_STEP = {"cpu": 0.02, "cuda": 0.03}  # of a batch, however small its network
START_SECONDS = 300  # seconds for imports, data and the last evaluation, on a busy file system
NEXT_START_SECONDS = 15  # the same of a further run in the same job: all files were read before
SECONDS_PER_IMAGE = 0.02  # to read, decode and crop one like ImageNet's: 0.007 was measured
WORKER_BYTES = 4 * 10**8  # of a process that reads images, with the batches that it holds ready
MIN_MINUTES = 10  # minutes; the profile's warning comes two minutes before the end

# A probe: rounds of all its classifiers together, features of a network, images at a time.
PROBE_ROUNDS, PROBE_FEATURES, PROBE_BATCH = 1000, 2048, 256

# An export evaluation: seconds to make, quantise and time a graph; graphs, and PyTorch.
EXPORT_SECONDS, EXPORT_MODELS = 60, 3

# MB of a job with torch imported and nothing done; 250 are the two Snakemakes of a SLURM job.
BASE_MEGABYTES = {"cpu": 1200, "cuda": 4000}


@dataclass(frozen=True)
class JobResources:
    """Upper estimates of what a job needs: minutes, and megabytes of host memory."""

    minutes: int
    megabytes: int  # of host memory

    def with_attempt(self, attempt: int, max_minutes: int | None = None) -> "JobResources":
        """Return what is requested at the first, second, ... attempt.

        Minutes double at each further attempt, up to the site's limit; memory grows by half, since
        mostly the time was too short.

        Parameters
        ----------
        attempt : int
            Number of the attempt, from 1.
        max_minutes : int, optional
            Time limit of the site.

        Returns
        -------
        JobResources
            The request.
        """
        minutes = self.minutes * 2 ** (attempt - 1)
        return JobResources(
            minutes if max_minutes is None else min(minutes, max_minutes),
            self.megabytes * (1 + attempt) // 2,
        )


@dataclass(frozen=True)
class _Workload:
    """What a job computes, reads and holds, whatever its kind."""

    macs: int  # multiply-adds on the device
    threads: int
    images_seen: int  # read and decoded, if they are streamed
    host_bytes: int  # in host memory, without the images
    image_bytes: int  # of all images in memory, if they are not streamed
    steps: int = 0
    seconds: float = 0.0  # on the CPU, of work that is not on the device


def estimate_resources(
    node: Run | LogitCache | Probe | ExportEval,
    card: DatasetCard,
    device: str,
    workers: int = 0,
    processes: int = 1,
) -> JobResources:
    """Estimate what a job needs.

    Parameters
    ----------
    node : Run, LogitCache, Probe or ExportEval
        Node that the job makes.
    card : DatasetCard
        Card of the images that it sees.
    device : {'cpu', 'cuda'}
        Device that it runs on.
    workers : int
        Processes that read images, if they are streamed.
    processes : int
        Processes that train the network of a run.

    Returns
    -------
    JobResources
        The request of the first attempt.
    """
    return estimate_pack_resources([node], card, device, workers, processes)


def estimate_pack_resources(
    nodes: Sequence[Run | LogitCache | Probe | ExportEval],
    card: DatasetCard,
    device: str,
    workers: int = 0,
    processes: int = 1,
) -> JobResources:
    """Estimate what a job needs that makes several nodes, one after another.

    Parameters
    ----------
    nodes : sequence of Run, LogitCache, Probe or ExportEval
        Nodes that the job makes.
    card : DatasetCard
        Card of the images that they see.
    device : {'cpu', 'cuda'}
        Device that it runs on.
    workers : int
        Processes that read images, if they are streamed.
    processes : int
        Processes that train the network of a run.

    Returns
    -------
    JobResources
        The request of the first attempt.
    """
    needs = [_estimate_needs(node, card, device, workers, processes) for node in nodes]
    seconds = START_SECONDS + NEXT_START_SECONDS * (len(nodes) - 1)
    seconds += sum(job_seconds for job_seconds, _ in needs)
    return JobResources(
        minutes=max(MIN_MINUTES, round(seconds / 60)),
        megabytes=max(megabytes for _, megabytes in needs),
    )


def estimate_share_of_job(
    node: Run | LogitCache, card: DatasetCard, device: str, workers: int, minutes: int
) -> float:
    """Estimate what a node takes of the time of a job that makes several.

    Parameters
    ----------
    node : Run or LogitCache
        Node that the job makes, among others.
    card : DatasetCard
        Card of the images that it sees.
    device : {'cpu', 'cuda'}
        Device that it runs on.
    workers : int
        Processes that read images, if they are streamed.
    minutes : int
        Time limit of the job.

    Returns
    -------
    float
        Share of what remains of the time after the start of the job; infinite if nothing does.
    """
    seconds, _ = _estimate_needs(node, card, device, workers)
    remaining = 60 * minutes - START_SECONDS
    return (seconds + NEXT_START_SECONDS) / remaining if remaining > 0 else math.inf


def _estimate_needs(
    node: Run | LogitCache | Probe | ExportEval,
    card: DatasetCard,
    device: str,
    workers: int,
    processes: int = 1,
) -> tuple[float, int]:
    """Return the seconds of a job after its start, and its megabytes."""
    match node:
        case Run():
            work = _estimate_run(node, card, device)
        case LogitCache():
            work = _estimate_logit_cache(node, card)
        case Probe():
            work = _estimate_probe(node, card)
        case ExportEval():
            work = _estimate_export_eval(node, card)
    rate = MACS_PER_SECOND[device] * (work.threads if device == "cpu" else 1)
    computing_seconds = work.macs / rate + work.steps * SECONDS_PER_STEP[device] + work.seconds
    reading_seconds = (
        work.images_seen * SECONDS_PER_IMAGE / max(1, workers) if card.is_streamed else 0.0
    )
    images = (workers + 1) * WORKER_BYTES if card.is_streamed else work.image_bytes
    megabytes = BASE_MEGABYTES[device] + round(1.5 * (images + work.host_bytes) / 1e6)
    return computing_seconds / processes + reading_seconds, processes * megabytes


def _estimate_run(run: Run, card: DatasetCard, device: str) -> _Workload:
    """Estimate a run: images plain and padded, logit caches, weights, gradients, activations.

    Streamed images are replaced by logits for up to a million of them.
    """
    spec, recipe = run.spec, run.spec.recipe
    images = spec.data.train_size
    weights = 4 * 8 * (run.cost.parameters + sum(parent.cost.parameters for parent in run.parents))
    host_bytes = weights + sum(cache.bytes for cache in run.logit_caches)
    if device == "cpu":
        n_unlabelled = (spec.method or {}).get("unlabelled", 0)
        host_bytes += _count_activation_bytes(recipe.batch_size + n_unlabelled, run)
    if recipe.shards > 1:  # the gradients of all parts, of one process and of all
        host_bytes += 4 * 2 * recipe.shards * run.cost.parameters
    if card.is_streamed:
        host_bytes += 2 * 4 * card.train * card.classes * (2 if run.parents else 1)
    return _Workload(
        macs=run.multiply_adds,
        threads=recipe.threads,
        images_seen=recipe.epochs * images * _count_reads(spec.data) + spec.unlabelled_images_seen,
        host_bytes=host_bytes,
        image_bytes=_count_image_bytes(card, 2 * spec.data.views["pad"], spec.method or {}),
        steps=recipe.epochs * -(-images // recipe.batch_size),
    )


def _count_reads(data: DataSpec) -> int:
    """Count the images that are read for one view: of a mixed one, its partner as well."""
    return 2 if "mixed" in data.views else 1


def _estimate_logit_cache(cache: LogitCache, card: DatasetCard) -> _Workload:
    """Estimate a logit cache: images in a batch of views, logits, and the encoded file."""
    return _Workload(
        macs=cache.multiply_adds,
        threads=cache.spec.threads,
        images_seen=cache.multiply_adds
        // max(1, cache.parent.cost.multiply_adds)
        * _count_reads(cache.spec.data),
        host_bytes=4 * cache.bytes,
        image_bytes=_count_image_bytes(card, 32, cache.spec.unlabelled),
    )


def _estimate_probe(probe: Probe, card: DatasetCard) -> _Workload:
    """Estimate a probe: forwards on the device, and its classifiers on the CPU.

    In memory are images, and their features in double precision, plain and standardised.
    """
    data, threads = probe.spec.data, probe.spec.threads
    probed = data.train_size + data.validation + card.test
    fits = (
        PROBE_ROUNDS
        * 2
        * data.train_size
        * PROBE_FEATURES
        * card.classes
        / (MACS_PER_SECOND["cpu"] * threads)
    )
    return _Workload(
        macs=probe.multiply_adds,
        threads=threads,
        images_seen=probed,
        host_bytes=3 * 8 * probed * PROBE_FEATURES
        + _count_activation_bytes(PROBE_BATCH, probe.run),
        image_bytes=_count_image_bytes(card),
        seconds=fits,
    )


def _estimate_export_eval(export_eval: ExportEval, card: DatasetCard) -> _Workload:
    """Estimate an export evaluation: both graphs and PyTorch on the images, on the CPU."""
    images = export_eval.spec.data.validation + card.test
    return _Workload(
        macs=EXPORT_MODELS * images * export_eval.run.cost.multiply_adds,
        threads=export_eval.spec.threads,
        images_seen=images,
        host_bytes=EXPORT_MODELS * 4 * export_eval.run.cost.parameters
        + _count_activation_bytes(PROBE_BATCH, export_eval.run),
        image_bytes=_count_image_bytes(card),
        seconds=EXPORT_SECONDS,
    )


def _count_image_bytes(
    card: DatasetCard, margin: int = 0, unlabelled: Mapping[str, Any] | None = None
) -> int:
    """Count the bytes of all images in three copies, with a margin in pixels.

    `spec` is that of a method or a logit cache, which may have images that are no part of the data
    set.
    """
    channels, height, width = card.shape
    images = card.train + card.test
    if unlabelled and find_unlabelled_folder(unlabelled.get("unlabelled_from")):
        images += unlabelled["unlabelled_images"]
    return 3 * images * channels * (height + margin) * (width + margin)


def _count_activation_bytes(images: int, run: Run) -> int:
    """Count the bytes of activations of a run's network on a batch of images.

    A value of an activation costs some 50 multiply-adds to compute, and three of its kind are kept.
    """
    return 3 * 4 * images * run.cost.multiply_adds // 50


FLOAT_BYTES = 4  # of a float32
BYTES_PER_LOGIT = {"float16": 2, "float32": 4}  # of a logit cache
FORWARDS_PER_STEP = 3  # forward and backward cost three forwards; the usual count

# No network is trained on labels for more than this many times its epochs for an equal cost.
MAX_EPOCHS_MULTIPLIER = 10
Lineage = dict[str, float]  # multiply-adds of training, by the name of the run


def compute_epochs_multiplier(
    label_macs: float, other_macs: float, maximum: float = math.inf
) -> float:
    """Return how many times its epochs a network is trained for an equal cost.

    Parameters
    ----------
    label_macs : float
        Multiply-adds of its own epochs on labels.
    other_macs : float
        Multiply-adds spent on teachers, which it is to spend on epochs.
    maximum : float
        Upper bound.

    Returns
    -------
    float
        Factor of its epochs.
    """
    return min(maximum, 1 + other_macs / label_macs)


def count_ancestor_macs(run: Run, cache: dict[tuple[str, int], Lineage] | None = None) -> float:
    """Count the multiply-adds of training all that a run learned from, each ancestor once.

    Parameters
    ----------
    run : Run
        The student.
    cache : dict, optional
        Lineages of earlier calls, for callers with many runs.

    Returns
    -------
    float
        Multiply-adds.
    """
    return sum(
        _trace_lineage(run, run.epochs, {} if cache is None else cache, include_self=False).values()
    )


def _trace_lineage(
    run: Run, epoch: int, cache: dict[tuple[str, int], Lineage], include_self: bool = True
) -> Lineage:
    """Return what training a run until an epoch, and each of its ancestors, cost."""
    key = (run.name, epoch if include_self else -1)
    if key not in cache:
        lineage: Lineage = {}
        parents = {parent.digest: parent for parent in run.parents}
        for member in run.spec.members:
            parent = parents[member.run]
            for name, macs in _trace_lineage(parent, member.epoch, cache).items():
                lineage[name] = max(macs, lineage.get(name, 0))
        if include_self:
            share = epoch / run.epochs if run.epochs else 0.0  # 0 epochs: pretrained weights
            lineage[run.name] = share * run.multiply_adds
        cache[key] = lineage
    return cache[key]


def count_run_bytes(plan: Plan, run: Run) -> int:
    """Count the bytes that a finished run keeps: weights, checkpoints, outputs.

    The best epoch on validation is counted in addition to the last one, though it may be the same;
    if weights are averaged, those that are not are counted too.

    Parameters
    ----------
    plan : Plan
        Plan of the run.
    run : Run
        The run.

    Returns
    -------
    int
        Bytes.
    """
    validation = plan.card.count_validation(plan.study.data.validation)
    best = validation > 0 and run.epochs > 0
    snapshots = 1 + best + uses_ema(run) + len(plan.checkpoints_to_keep.get(run.name, ()))
    images = validation + plan.card.test
    return FLOAT_BYTES * snapshots * (run.cost.parameters + images * plan.card.classes)


def uses_ema(run: Run) -> bool:
    """Return whether the evaluated weights of a run are an average.

    Parameters
    ----------
    run : Run
        The run.

    Returns
    -------
    bool
        False for a run of no epochs.
    """
    return run.epochs > 0 and run.spec.recipe.ema is not None


def count_probe_bytes(probe: Probe) -> int:
    """Count the bytes that a probe keeps: its outputs on validation and test.

    Parameters
    ----------
    probe : Probe
        The probe.

    Returns
    -------
    int
        Bytes.
    """
    return FLOAT_BYTES * (probe.spec.data.validation + probe.card.test) * probe.card.classes


def count_export_eval_bytes(export_eval: ExportEval, plan: Plan) -> int:
    """Count the bytes that an export evaluation keeps: outputs of the 8-bit graph.

    Parameters
    ----------
    export_eval : ExportEval
        The export evaluation.
    plan : Plan
        Its plan.

    Returns
    -------
    int
        Bytes.
    """
    images = export_eval.spec.data.validation + plan.card.test
    return FLOAT_BYTES * images * plan.card.classes


def warn_disk_space(needed: int, folder: Path) -> str | None:
    """Return a warning if bytes to be written do not fit on the disk of a folder.

    Parameters
    ----------
    needed : int
        Bytes to be written.
    folder : Path
        Folder on the disk; it need not exist.

    Returns
    -------
    str or None
        The warning; None if there is enough space.
    """
    while not folder.exists():
        folder = folder.absolute().parent
    free = shutil.disk_usage(folder).free
    if needed <= free:
        return None
    return (
        f"warning: the runs to do write {format_size(needed)}, "
        f"{folder} has {format_size(free)} free"
    )


def format_duration(seconds: float) -> str:
    """Format seconds in the unit that suits them.

    Parameters
    ----------
    seconds : float
        Duration.

    Returns
    -------
    str
        Such as `4.2 hours`.
    """
    minutes, hours = seconds / 60, seconds / 3600
    if hours >= 48:
        return f"{hours / 24:.1f} days"
    if hours >= 2:
        return f"{hours:.1f} hours"
    return f"{minutes:.0f} minutes" if minutes >= 2 else f"{seconds:.0f} seconds"


def format_size(count: float) -> str:
    """Format bytes in three digits and the unit that suits them.

    Parameters
    ----------
    count : float
        Bytes.

    Returns
    -------
    str
        Such as `12.3 MB`.
    """
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} PB"
