"""Estimates of a study: seconds of each job, and of all together, and how uncertain they are.

Two things are known of a job: how fast this machine was measured to be, and what finished runs of
the study took. The first gives an estimate, the second corrects it, by network where a run of the
same network has finished. If neither is known there is no estimate in seconds, and multiply-adds
only say how jobs compare.

Jobs are laid out by a simulation of Snakemake's scheduler: whatever has all its inputs may start,
runs before logit caches, while there are cores. A logit cache is on the disk until the last of its
students ends.

Measured speeds lie in a file in the user's cache. A speed belongs to a processor, a version of
torch, a network on images of a shape, a batch size and threads. It is measured in as many processes
as there are cores, since that is how a study runs (`workflow.machine_benchmark`); here it is
stored, and read without torch.
"""

import functools
import heapq
import json
import math
import os
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

from kdpipe import hashing
from kdpipe.data.cards import DatasetCard
from kdpipe.devices import host
from kdpipe.plan.nodes import Ensemble, ExportEval, LogitCache, Node, Plan, Probe, Run
from kdpipe.plan.resources import (
    FLOAT_BYTES,
    count_export_eval_bytes,
    count_probe_bytes,
    count_run_bytes,
    format_size,
    uses_ema,
)
from kdpipe.runs.files import READ_ERRORS, read_regular_file, write_json
from kdpipe.runs.recipe import enabled_mixes
from kdpipe.runs.spec import RunSpec

CACHE_ENV = "KDPIPE_CACHE"  # environment variable: a folder in place of ~/.cache/kdpipe
SPEEDS_FILE = "speeds.json"
MAX_LOAD = 0.25  # cores that other processes may take from a benchmark


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
    bfloat16_image : float
        Classifying one image as a teacher that answers in bfloat16; 0: not measured.
    load : float
        Cores that other processes took from it while it was measured; 0 also where a version that
        did not note it measured.
    """

    step: float
    epoch: float
    image: float
    setup: float
    start: float
    megabytes: float
    bfloat16_image: float = 0.0
    load: float = 0.0

    @property
    def is_loaded(self) -> bool:
        """Return whether the machine had other work, so that it is slower than its runs will be."""
        return self.load > MAX_LOAD


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
    if enabled_mixes(recipe):  # of drawn views, partners are augmented as well
        config |= {"mixed": "once" if "mixed" in views else True}
    config |= {"network": network.to_dict(), "shape": list(plan.card.shape)}
    config |= {
        "device": device,
        "processor": host.read_cpu_model(),
        "torch": get_library_version("torch"),
    }
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
    if not speeds:
        return {}
    keys: dict[tuple[int, int, int], str] = {}
    found: dict[str, Speed] = {}
    for name, run in plan.runs.items():
        # Thousands of runs share these objects, and a key is the digest of a text.
        parts = (id(run.spec.network), id(run.spec.recipe), id(run.spec.data))
        if parts not in keys:
            keys[parts] = make_speed_key(plan, run, device)
        if (speed := speeds.get(keys[parts])) is not None:
            found[name] = speed
    return found


def load_speeds() -> dict[str, Speed]:
    """Load every speed that was measured on this machine.

    Returns
    -------
    dict of str to Speed
        Speeds by key; empty if the file cannot be read.
    """
    try:
        speeds = json.loads(read_regular_file(get_cache_path(SPEEDS_FILE)))
        return {key: Speed(**fields) for key, fields in speeds.items() if _is_valid_speed(fields)}
    except READ_ERRORS:
        return {}


def _is_valid_speed(fields: dict[str, Any]) -> bool:
    """Return whether all fields are plausible numbers."""
    return all(type(value) in (int, float) and 0 <= value < 1e9 for value in fields.values())


def save_speeds(speeds: dict[str, Speed]) -> None:
    """Add speeds to the cache; none that was measured under less load is replaced.

    Parameters
    ----------
    speeds : dict of str to Speed
        Speeds by key.

    Raises
    ------
    StoreError
        If the cache cannot be written.
    """
    known = load_speeds()
    for key, speed in speeds.items():
        old = known.get(key)
        has_more = old is not None and speed.bfloat16_image and not old.bfloat16_image
        if old is None or has_more or speed.load <= old.load:
            known[key] = speed
    write_json(get_cache_path(SPEEDS_FILE), {key: asdict(speed) for key, speed in known.items()})


def get_cache_path(name: str) -> Path:
    """Return the path of a file in the user's cache."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "kdpipe"
    return Path(os.environ.get(CACHE_ENV) or cache) / name


@functools.cache
def get_library_version(name: str) -> str:
    """Return the version of a library without importing it, `none` where it is not installed."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "none"


# Multiply-adds per second if nothing is known: only ratios of them are shown then.
DEFAULT_MACS_PER_SECOND = 5e9

START_SECONDS = 2.5  # to start Python and import torch, if it was not measured
FORK_START_SECONDS = 0.5  # to start a job that is forked from a preloaded parent
SNAKEMAKE_SECONDS = 0.3  # from the end of a job to the start of the next in its place
ENSEMBLE_SECONDS = 2.0  # of an ensemble: stored outputs, no torch
EXPORT_SECONDS = 12.0  # of an export evaluation: a graph, its quantisation and its latencies
# Of the report: pandas, matplotlib and the figures; and for each run, as measured with 6 to 440.
REPORT_SECONDS, REPORT_SECONDS_PER_RUN = 4.5, 0.035
IMAGE_READ_SECONDS = (
    0.007  # to read, decode and crop an image like ImageNet's on one core, as measured
)
PROBE_FIT_SECONDS = 2e-9  # to fit a probe, for each image, feature and class
# Uncertainty of an estimate, as a share of it: before a run has finished, and at least.
WIDTH_UNSEEN, WIDTH_SEEN = 0.25, 0.08

TIME_UNITS = ((48 * 3600, 86400, "days"), (2 * 3600, 3600, "hours"), (120, 60, "minutes"))


@dataclass(frozen=True)
class Pace:
    """The pace of a running run: the seconds that some of its epochs took."""

    seconds: float
    epochs: int


@dataclass(frozen=True)
class Schedule:
    """A simulated schedule.

    Attributes
    ----------
    seconds : float
        From the first start to the last end.
    core_seconds : float
        Summed over cores.
    cache_bytes : int
        Largest size of the logit caches that are on the disk at a time.
    max_jobs : int
        Most jobs at a time.
    """

    seconds: float
    core_seconds: float
    cache_bytes: int
    max_jobs: int  # the most jobs at a time


@dataclass(frozen=True)
class Estimate:
    """What is still to do.

    Attributes
    ----------
    schedule : Schedule
        The simulated schedule.
    seconds : float or None
        Wall time with the report; None if nothing is known.
    width : float
        Uncertainty, as a share of the seconds.
    """

    schedule: Schedule
    seconds: float | None
    width: float


def build_cost_model(
    plan: Plan, device: str, records: Mapping[str, dict[str, Any]], on_gpus: int | None = None
) -> "CostModel":
    """Build the cost model of a plan on this machine.

    Parameters
    ----------
    plan : Plan
        The plan.
    device : {'cpu', 'cuda'}
        Device that it runs on.
    records : mapping of str to dict
        Records of its runs, by name.
    on_gpus : int, optional
        Jobs that the GPUs hold at a time.

    Returns
    -------
    CostModel
        The cost model, with all speeds that were measured.
    """
    start = FORK_START_SECONDS if uses_forkserver(plan.runs.values(), device) else None
    return CostModel(plan, find_speeds(plan, device), records, start, on_gpus)


def uses_forkserver(runs: Iterable[Run], device: str) -> bool:
    """Return whether `kdpipe run` forks the jobs of these runs from a preloaded parent.

    A process with several threads, or with a GPU, cannot be forked; two jobs are not worth it (see
    `jobs.forkserver`).

    Parameters
    ----------
    runs : iterable of Run
        Runs that are to do.
    device : {'cpu', 'cuda'}
        Device that they train on.

    Returns
    -------
    bool
        Whether they are forked.
    """
    threads = [run.spec.recipe.threads for run in runs]
    return device == "cpu" and len(threads) > 2 and max(threads) == 1


@dataclass(frozen=True)
class CostModel:
    """Estimated seconds of the jobs of a plan.

    Attributes
    ----------
    plan : Plan
        The plan.
    speeds : mapping of str to Speed
        Measured speeds by the name of the run.
    records : mapping of str to dict
        Records of runs, by name.
    start : float or None
        Seconds of a job beyond its own work, if that was measured.
    on_gpus : int or None
        Jobs that the GPUs hold at a time; None without GPUs.
    paces : mapping of str to Pace
        Those of running runs that have no record, by name.
    """

    plan: Plan
    speeds: Mapping[str, Speed] = field(default_factory=dict[str, Speed])
    records: Mapping[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]])
    start: float | None = None
    on_gpus: int | None = None
    paces: Mapping[str, Pace] = field(default_factory=dict[str, Pace])

    def estimate_seconds(self, node: Node) -> float:
        """Estimate the seconds of a job, with the time until Snakemake starts the next.

        Parameters
        ----------
        node : Node
            Node that the job makes.

        Returns
        -------
        float
            Seconds.
        """
        if isinstance(node, Ensemble):
            return SNAKEMAKE_SECONDS + ENSEMBLE_SECONDS if self.start is None else self.start
        return self._start_seconds + self._estimate_work(node) * self._get_correction(
            _get_network(node)
        )

    def estimate_student(self, run: Run, outputs: str) -> float:
        """Estimate the seconds of a student with other teacher outputs than planned.

        Parameters
        ----------
        run : Run
            The student.
        outputs : {'live', 'table'}
            Whether its teacher is live; a logit cache is a job of its own.

        Returns
        -------
        float
            Seconds.
        """
        work = self._estimate_run(run, outputs == "live")
        return self._start_seconds + work * self._get_correction(run.network)

    def estimate_cache(self, teacher: Run, images: int, precision: str = "float32") -> float:
        """Estimate the seconds of the logit cache of a teacher, planned or not.

        Parameters
        ----------
        teacher : Run
            The teacher.
        images : int
            Images times views.
        precision : str
            In which the teacher answers.

        Returns
        -------
        float
            Seconds.
        """
        work = self._estimate_cache(teacher, images, precision)
        return self._start_seconds + work * self._get_correction(teacher.network)

    def estimate_done(self, node: Node, epochs: int) -> float:
        """Estimate the seconds that the first epochs of a run have taken.

        Parameters
        ----------
        node : Node
            Node that the job makes; only runs have epochs.
        epochs : int
            Epochs that are done.

        Returns
        -------
        float
            Seconds.
        """
        return (
            self.estimate_seconds(node) * epochs / max(1, node.epochs)
            if isinstance(node, Run)
            else 0.0
        )

    @property
    def is_known(self) -> bool:
        """Return whether anything is known of the speed of this machine."""
        return bool(self.speeds or self._ratios)

    def estimate_total(
        self, to_do: Collection[str], cores: int, seconds_done: Mapping[str, float] = {}
    ) -> Estimate:
        """Estimate all that is to do.

        Parameters
        ----------
        to_do : collection of str
            Names of nodes.
        cores : int
            Cores to run on.
        seconds_done : mapping of str to float
            Seconds of work that a job has already done, by name.

        Returns
        -------
        Estimate
            The simulated schedule, and seconds.
        """
        return self.estimate_graph(build_job_graph(self.plan, to_do), cores, seconds_done)

    def estimate_graph(
        self, graph: "JobGraph", cores: int, seconds_done: Mapping[str, float] = {}
    ) -> Estimate:
        """Estimate all that is to do from its graph; see `estimate_total`."""

        def seconds_left(node: Node) -> float:
            return max(0.0, self.estimate_seconds(node) - seconds_done.get(node.name, 0.0))

        schedule = graph.simulate(seconds_left, max(1, cores), self.on_gpus)
        seconds = schedule.seconds + (estimate_report(self.plan) if graph.nodes else 0.0)
        return Estimate(schedule, seconds if self.is_known else None, self.width)

    @functools.cached_property
    def width(self) -> float:
        """Return the uncertainty of an estimate as a share of it, from finished runs."""
        ratios = [ratio for _, _, ratio in self._ratios]
        if len(ratios) < 3:
            return WIDTH_UNSEEN
        by_network = [ratio / self._get_correction(name) for name, _, ratio in self._ratios]
        spread = sum((ratio - 1) ** 2 for ratio in by_network) / (len(ratios) - 1)
        return min(1.0, WIDTH_SEEN + 2 * (spread / len(ratios)) ** 0.5)

    # --- seconds of work, before any correction

    def _estimate_work(self, node: Run | LogitCache | Probe | ExportEval) -> float:
        """Estimate the seconds of a job's own work, before any correction."""
        match node:
            case Run():
                return self._estimate_run(node, not node.logit_caches)
            case LogitCache():
                images = node.multiply_adds / max(1, node.parent.cost.multiply_adds)
                return self._estimate_cache(node.parent, images, node.spec.teacher_precision)
            case Probe():
                data = node.spec.data
                images = data.train_size + data.validation + node.card.test
                fits = PROBE_FIT_SECONDS * data.train_size * 100 * node.card.classes
                return (
                    self._add_reading(node.card, images, images * self._get_image_seconds(node.run))
                    + fits
                )
            case ExportEval():
                return self._estimate_export_eval(node)

    def _estimate_cache(self, teacher: Run, images: float, precision: str) -> float:
        """Estimate the forward passes of a teacher over images in every view."""
        seconds = images * self._get_image_seconds(teacher, precision)
        return self._add_reading(self.plan.card, images, seconds)

    def _estimate_export_eval(self, export_eval: ExportEval) -> float:
        """Estimate PyTorch and both graphs on the images, which are read once."""
        card = self.plan.card
        images = export_eval.spec.data.validation + card.test
        return (
            self._add_reading(card, images, 3 * images * self._get_image_seconds(export_eval.run))
            + EXPORT_SECONDS
        )

    def _estimate_run(self, run: Run, is_live: bool) -> float:
        """Estimate the seconds of a run, once for all that differ in nothing that they depend on.

        Thousands of runs of a plan share the objects that their specs consist of.
        """
        spec = run.spec
        is_taught = is_live and spec.teacher is not None and spec.method is not None
        key = (
            run.cost,
            id(self.speeds.get(run.name)),
            id(spec.network),
            id(spec.data),
            id(spec.recipe),
            id(spec.method),
            len(self.plan.checkpoints_to_keep.get(run.name, ())),
            self._list_teacher_speeds(run) if is_taught else None,
        )
        if key not in self._run_seconds:  # its spec is kept, so that no other gets its ids
            self._run_seconds[key] = spec, self._compute_run_seconds(run, is_live)
        return self._run_seconds[key][1]

    def _list_teacher_speeds(self, run: Run) -> tuple[str | int, ...]:
        """Return all that the seconds of a run's live teacher depend on."""
        precision = run.spec.teacher.teacher_precision if run.spec.teacher else ""
        speeds = [id(self.speeds.get(parent.name)) for parent in run.parents]
        return (precision, *speeds, *(parent.cost.multiply_adds for parent in run.parents))

    @functools.cached_property
    def _run_seconds(self) -> dict[tuple[Any, ...], tuple[RunSpec, float]]:
        """Return the seconds of runs that were estimated, with a spec of such a run."""
        return {}

    def _compute_run_seconds(self, run: Run, is_live: bool) -> float:
        """Estimate steps, validation after each epoch, and the evaluation at the end."""
        card, data, recipe = self.plan.card, run.spec.data, run.spec.recipe
        val, train, epochs = data.validation, data.train_size, run.epochs
        image_seconds = self._get_image_seconds(run)
        at_end = (1 + (val > 0) + uses_ema(run)) * (train + val + card.test)
        at_end += len(self.plan.checkpoints_to_keep.get(run.name, ())) * (val + card.test)
        seconds = image_seconds * (epochs * val + at_end)
        n_unlabelled = run.spec.unlabelled_images_seen
        images_read = epochs * (train + val) + n_unlabelled + at_end
        speed = self.speeds.get(run.name)
        steps = epochs * -(-train // recipe.batch_size)
        n_processes = count_processes(run, self.plan)
        if speed is None:
            seconds += run.train_multiply_adds / DEFAULT_MACS_PER_SECOND / n_processes
        else:
            steps += (
                n_unlabelled / recipe.batch_size
            )  # they take as long as more steps of the batch size
            seconds += speed.setup + epochs * speed.epoch + steps * speed.step / n_processes
        # A live teacher classifies every image.
        if run.spec.method and run.spec.teacher and is_live:
            precision = run.spec.teacher.teacher_precision
            teacher_images = train * run.spec.method["kd_epochs"] + n_unlabelled
            seconds += (
                teacher_images
                / n_processes
                * sum(self._get_image_seconds(parent, precision) for parent in run.parents)
            )
        return self._add_reading(card, images_read, seconds) + _estimate_loading(card)

    def _add_reading(self, card: DatasetCard, images: float, seconds: float) -> float:
        """Add the seconds of reading images from their files, if they are streamed.

        With `workers` that happens during the job's own work, else before it.
        """
        if not card.is_streamed:
            return seconds
        workers = self.plan.study.workers
        read_seconds = images * IMAGE_READ_SECONDS / max(1, workers)
        return max(seconds, read_seconds) if workers else seconds + read_seconds

    def _get_image_seconds(self, run: Run, precision: str = "float32") -> float:
        """Return the seconds of classifying one image, as a teacher in a precision."""
        speed = self.speeds.get(run.name)
        if speed and precision == "bfloat16" and speed.bfloat16_image:
            return speed.bfloat16_image
        return speed.image if speed else run.cost.multiply_adds / DEFAULT_MACS_PER_SECOND

    @functools.cached_property
    def _start_seconds(self) -> float:
        """Return the seconds of Snakemake, Python and torch before a job does anything."""
        if self.start is not None:
            return self.start
        starts = [speed.start for speed in self.speeds.values()]
        return SNAKEMAKE_SECONDS + (sum(starts) / len(starts) if starts else START_SECONDS)

    # --- correction by finished runs, and by the finished epochs of running ones

    @functools.cached_property
    def _ratios(self) -> list[tuple[str, float, float]]:
        """Return (network, estimated seconds, ratio of measured to them) of what was measured."""
        ratios: list[tuple[str, float, float]] = []
        for name, pace in self.paces.items():
            run = self.plan.runs[name]
            estimated = self._estimate_run(run, not run.logit_caches)
            share = pace.epochs / run.epochs
            ratios.append((run.network, share * estimated, pace.seconds / (share * estimated)))
        for name, run in self.plan.runs.items():
            record = self.records.get(name)
            if record and record["status"] == "done" and run.epochs and "seconds" in record:
                estimated = self._estimate_run(run, not run.logit_caches)
                ratios.append((run.network, estimated, record["seconds"]["total"] / estimated))
        return ratios

    @functools.cached_property
    def _corrections(self) -> dict[str, float]:
        """Return measured by estimated seconds, by network and, as '', of all."""
        estimated: dict[str, float] = {}
        measured: dict[str, float] = {}
        for network, seconds, ratio in self._ratios:
            for key in (network, ""):
                estimated[key] = estimated.get(key, 0.0) + seconds
                measured[key] = measured.get(key, 0.0) + seconds * ratio
        return {key: measured[key] / estimated[key] for key in estimated}

    def _get_correction(self, network: str) -> float:
        """Return the correction of a network, or else that of all."""
        return self._corrections.get(network, self._corrections.get("", 1.0))


def estimate_report(plan: Plan) -> float:
    """Return the seconds of rendering the report of a plan."""
    return REPORT_SECONDS + REPORT_SECONDS_PER_RUN * len(plan.runs)


def _get_network(node: Run | LogitCache | Probe | ExportEval) -> str:
    """Return the network that does a job's work."""
    if isinstance(node, Run):
        return node.network
    return node.parent.network if isinstance(node, LogitCache) else node.run.network


def _estimate_loading(card: DatasetCard) -> float:
    """Estimate the seconds of reading all images and comparing them with their card."""
    channels, height, width = card.shape
    pixels = 0 if card.is_streamed else (card.train + card.test) * channels * height * width
    return pixels * 5e-9


# --- how jobs fit beside each other: a simulation of Snakemake's scheduler


def simulate_schedule(
    plan: Plan,
    to_do: Collection[str],
    seconds: Callable[[Node], float],
    cores: int,
    on_gpus: int | None = None,
) -> Schedule:
    """Simulate the schedule of all that is to do, with the logit caches that it needs.

    Parameters
    ----------
    plan : Plan
        The plan.
    to_do : collection of str
        Names of nodes.
    seconds : callable
        Returns the seconds of a node's job.
    cores : int
        Cores to run on.
    on_gpus : int, optional
        Jobs that the GPUs hold at a time, ensembles and export evaluations apart.

    Returns
    -------
    Schedule
        The schedule.
    """
    return build_job_graph(plan, to_do).simulate(seconds, cores, on_gpus)


@dataclass(frozen=True)
class JobGraph:
    """What is to do, and what waits for what.

    Attributes
    ----------
    plan : Plan
        The plan.
    nodes : list of Node
        What is to do, in the order of its priority; a node's number is its position.
    dependents : list of list of int
        Of each node those that wait for it.
    caches : list of list of int
        Of each node the logit caches that it reads.
    n_waiting : list of int
        Of each node how many others it waits for.
    """

    plan: Plan
    nodes: list[Node]
    dependents: list[list[int]]
    caches: list[list[int]]
    n_waiting: list[int]

    def simulate(
        self, seconds: Callable[[Node], float], cores: int, on_gpus: int | None = None
    ) -> Schedule:
        """Simulate the schedule; the parameters are those of `simulate_schedule`."""
        nodes, n_waiting = self.nodes, [*self.n_waiting]
        n_students = [len(students) for students in self.dependents]
        n_threads = [min(count_threads(node, self.plan), cores) for node in nodes]
        uses_gpu = [
            on_gpus is not None and not isinstance(node, (Ensemble, ExportEval)) for node in nodes
        ]
        cache_sizes = [node.bytes if isinstance(node, LogitCache) else 0 for node in nodes]
        ready = [number for number, count in enumerate(n_waiting) if not count]
        running: list[tuple[float, str, int]] = []
        now = core_seconds = 0.0
        free_cores, cache_bytes, peak_bytes, max_jobs = cores, 0, 0, 0
        on_gpu = 0
        while ready or running:
            while ready and free_cores > 0:
                number = ready[0]
                threads = n_threads[number]
                if running and (
                    threads > free_cores or (uses_gpu[number] and on_gpu >= (on_gpus or 1))
                ):
                    break
                heapq.heappop(ready)
                duration = seconds(nodes[number])
                heapq.heappush(running, (now + duration, nodes[number].name, number))
                free_cores -= threads
                core_seconds += duration * threads
                on_gpu += uses_gpu[number]
                cache_bytes += cache_sizes[number]
                peak_bytes = max(peak_bytes, cache_bytes)
                max_jobs = max(max_jobs, len(running))
            now, _, number = heapq.heappop(running)
            free_cores += n_threads[number]
            on_gpu -= uses_gpu[number]
            for dependent in self.dependents[number]:
                n_waiting[dependent] -= 1
                if not n_waiting[dependent]:
                    heapq.heappush(ready, dependent)
            for cache in self.caches[number]:
                n_students[cache] -= 1
                if not n_students[cache]:
                    cache_bytes -= cache_sizes[cache]
        return Schedule(now, core_seconds, peak_bytes, max_jobs)


def build_job_graph(plan: Plan, to_do: Collection[str]) -> JobGraph:
    """Build the graph of all that is to do, with the logit caches that it needs.

    Parameters
    ----------
    plan : Plan
        The plan.
    to_do : collection of str
        Names of nodes.

    Returns
    -------
    JobGraph
        The graph, without what is done already.
    """
    nodes = _sort_nodes(plan, to_do)
    numbers = {node.name: number for number, node in enumerate(nodes)}
    dependents: list[list[int]] = [[] for _ in nodes]
    caches = [[numbers[cache.name] for cache in _get_caches(node)] for node in nodes]
    n_waiting: list[int] = []
    for number, node in enumerate(nodes):
        parents = [numbers[parent.name] for parent in node.parents if parent.name in numbers]
        parents += caches[number]
        n_waiting.append(len(parents))
        for parent in parents:
            dependents[parent].append(number)
    return JobGraph(plan, nodes, dependents, caches, n_waiting)


def _sort_nodes(plan: Plan, to_do: Collection[str]) -> list[Node]:
    """Return what is to do in the order in which it starts if it has its inputs.

    Earlier seeds come first, and of one seed runs before logit caches.
    """
    nodes, ranks = _collect_nodes(plan, to_do), rank_by_seed(plan)
    return sorted(nodes.values(), key=lambda node: (ranks[node.name], isinstance(node, LogitCache)))


def rank_by_seed(plan: Plan) -> dict[str, int]:
    """Return which seed of a study needs each node first: 0 is the first seed of the study.

    What several seeds need, as a teacher of all of them, is needed by the first of these. All
    splits of a seed have its rank; a seed that only a block has comes after those of the study.

    Parameters
    ----------
    plan : Plan
        The plan.

    Returns
    -------
    dict of str to int
        The rank by the name of the node.
    """
    order = {seed: position for position, seed in enumerate(plan.study.seeds)}
    nodes: list[Node] = [*plan.nodes_by_name.values(), *plan.logit_caches.values()]
    by_rank: list[list[Node]] = [[] for _ in range(len(order) + 1)]
    for node in nodes:
        by_rank[order.get(_get_seed(node), len(order))].append(node)
    ranks: dict[str, int] = {}
    for rank, waiting in enumerate(by_rank):  # so the first rank that a node gets is its least
        while waiting:
            node = waiting.pop()
            if node.name not in ranks:
                ranks[node.name] = rank
                waiting += node.parents
                waiting += _get_caches(node)
    return ranks


def _get_seed(node: Node) -> int:
    """Return the seed of a node; that of the run that a logit cache is of."""
    return node.parent.seed if isinstance(node, LogitCache) else node.seed


def count_cores() -> int:
    """Count the cores that this process may use, as Snakemake does for `--cores all`.

    Returns
    -------
    int
        Number of cores.
    """
    return len(os.sched_getaffinity(0))


def count_threads(node: Node, plan: Plan) -> int:
    """Count the cores of a job, with those of the processes that read images for it.

    An ensemble takes one. An export evaluation measures latencies, so nothing runs beside it on
    this machine.

    Parameters
    ----------
    node : Node
        Node that the job makes.
    plan : Plan
        Its plan.

    Returns
    -------
    int
        Number of cores.
    """
    if isinstance(node, Ensemble):
        return 1
    if isinstance(node, ExportEval):
        return count_cores()
    threads = node.spec.recipe.threads if isinstance(node, Run) else node.spec.threads
    threads *= count_processes(node, plan)
    card = node.card if isinstance(node, Probe) else plan.card
    return threads + (plan.study.workers if card.is_streamed else 0)


def count_processes(node: Node, plan: Plan) -> int:
    """Count the processes that train a network; other jobs have one."""
    if not isinstance(node, Run):
        return 1
    return node.spec.recipe.count_processes(plan.study.processes_per_run)


def _collect_nodes(plan: Plan, to_do: Collection[str]) -> dict[str, Node]:
    """Return what is to do by name, with the logit caches that its runs learn from."""
    to_do = frozenset(to_do)
    nodes = {name: node for name, node in plan.nodes_by_name.items() if name in to_do}
    runs = [node for node in nodes.values() if isinstance(node, Run)]
    return {cache.name: cache for run in runs for cache in run.logit_caches} | nodes


def _get_caches(node: Node) -> tuple[LogitCache, ...]:
    """Return the logit caches that a node reads."""
    return node.logit_caches if isinstance(node, Run) else ()


# --- estimates as text


def describe_estimate(
    cost_model: CostModel,
    total: Estimate,
    states: dict[str, str],
    plain_total: Estimate | None = None,
) -> str | None:
    """Describe what is to do in two lines, as `kdpipe plan` ends.

    Parameters
    ----------
    cost_model : CostModel
        Cost model of the plan.
    total : Estimate
        Estimate of all that is to do.
    states : dict of str to str
        State of each node, by name.
    plain_total : Estimate, optional
        Estimate for plain Snakemake, if that is another one.

    Returns
    -------
    str or None
        The lines; None if nothing is to do.
    """
    plan = cost_model.plan
    if not any(state == "to do" for state in states.values()):
        return None
    lines = [f"time: {format_time_left(total)}"]
    if total.seconds is not None:
        hours = total.schedule.core_seconds / 3600
        digits = 0 if hours >= 10 else 1 if hours >= 1 else 2
        lines[0] += f"; {hours:.{digits}f} core-hours"
        if plain_total is not None and plain_total.seconds is not None:
            lines[0] += (
                f" (plain snakemake: {format_range(plain_total.seconds, plain_total.width)})"
            )
    peak_bytes, cache_bytes = estimate_peak_disk(plan, total, states), total.schedule.cache_bytes
    line = f"disk: at most {format_size(peak_bytes)}"
    line += (
        f", of which {format_size(cache_bytes)} are logit caches that are removed again"
        if cache_bytes
        else ""
    )
    if megabytes := [speed.megabytes for speed in cost_model.speeds.values()]:
        memory = total.schedule.max_jobs * (
            1e6 * max(megabytes) + _count_image_bytes(plan) + _count_largest_cache_bytes(plan)
        )
        line += f"; memory: about {format_size(memory)}"
    return "\n".join([*lines, line])


def format_time_left(total: Estimate) -> str:
    """Format the hours of what is still to do.

    Parameters
    ----------
    total : Estimate
        Estimate of it.

    Returns
    -------
    str
        Range of hours, and jobs at a time.
    """
    if not total.schedule.max_jobs:
        return "seconds, for the report"
    if total.seconds is None:
        return "unknown until a run has finished (kdpipe plan --measure benchmarks the networks)"
    return (
        f"{format_range(total.seconds, total.width)}, {format_concurrency(total.schedule.max_jobs)}"
    )


def format_range(seconds: float, width: float) -> str:
    """Format uncertain seconds in the unit that suits them: `6 to 10 minutes`.

    Parameters
    ----------
    seconds : float
        Estimated duration.
    width : float
        Uncertainty, as a share of it.

    Returns
    -------
    str
        The range.
    """
    size, unit = next(
        ((size, name) for minimum, size, name in TIME_UNITS if seconds >= minimum), (1, "seconds")
    )
    low, high = (seconds * (1 + sign * width) / size for sign in (-1, 1))
    digits = int(high < 10 and size > 1)
    first, last = f"{low:.{digits}f}", f"{high:.{digits}f}"
    return f"{'about' if first == last else f'{first} to'} {last} {unit}"


def format_seconds(seconds: float) -> str:
    """Format elapsed seconds: `4.2 s`, `5 min 36 s`, `1 h 6 min`.

    Parameters
    ----------
    seconds : float
        Duration.

    Returns
    -------
    str
        The duration.
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    if seconds < 3600:
        minutes, rest = divmod(int(seconds), 60)
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min"


def format_concurrency(count: int) -> str:
    """Format how many jobs run at a time.

    Parameters
    ----------
    count : int
        Number of jobs.

    Returns
    -------
    str
        Such as `4 jobs at a time`.
    """
    return "one job at a time" if count == 1 else f"{count} jobs at a time"


def estimate_peak_disk(plan: Plan, total: Estimate, states: dict[str, str]) -> int:
    """Estimate the bytes that what is to do writes, at most at a time.

    Logit caches and states of running jobs count as often as they exist at a time; before anything
    is done, the prepared images count too.

    Parameters
    ----------
    plan : Plan
        The plan.
    total : Estimate
        Estimate of all that is to do.
    states : dict of str to str
        State of each node, by name.

    Returns
    -------
    int
        Bytes.
    """
    to_do = [run for run in plan.runs.values() if states[run.name] == "to do"]
    runs = sum(count_run_bytes(plan, run) for run in to_do)
    probes = sum(
        count_probe_bytes(probe) for probe in plan.probes.values() if states[probe.name] == "to do"
    )
    probes += sum(
        count_export_eval_bytes(export_eval, plan)
        for export_eval in plan.gauges.values()
        if states[export_eval.name] == "to do"
    )
    # State of each running job: weights, momentum, the best weights so far, and an average.
    state_sizes = [(3 + bool(run.spec.recipe.ema)) * run.cost.parameters for run in to_do]
    working_bytes = total.schedule.max_jobs * FLOAT_BYTES * max(state_sizes, default=0)
    prepared_bytes = 0 if "done" in states.values() else _count_pixel_bytes(plan)
    return runs + probes + total.schedule.cache_bytes + working_bytes + prepared_bytes


def _count_image_bytes(plan: Plan) -> int:
    """Count the bytes of a job's images: as prepared, and once more with their margin."""
    return 2 * _count_pixel_bytes(plan)


def _count_pixel_bytes(plan: Plan) -> int:
    """Count the bytes of all images in their arrays; none if they are streamed."""
    if plan.card.is_streamed:
        return 0
    return (plan.card.train + plan.card.validation + plan.card.test) * math.prod(plan.card.shape)


def _count_largest_cache_bytes(plan: Plan) -> int:
    """Count the bytes of the logit caches that one run maps, at most."""
    runs = plan.runs.values()
    return max((sum(cache.bytes for cache in run.logit_caches) for run in runs), default=0)
