"""The state of an invocation: jobs done, running and failed, and the time left.

Snakemake reports the start and end of jobs; their progress is read from the results folder. A job
is running while a process holds the lock of its folder, and its epoch is in its progress file. Both
are visible to a running Snakemake, from another terminal, and on a cluster. Progress is measured in
estimated seconds, not in the number of jobs.
"""

import json
import statistics
import time
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from kdpipe.plan import estimate, status
from kdpipe.plan.estimate import CostModel, Estimate, Pace
from kdpipe.plan.labels import label_nodes, replace_names
from kdpipe.plan.nodes import LogitCache, Node, Plan, Run
from kdpipe.runs import records, run_folder
from kdpipe.runs.files import READ_ERRORS, read_regular_file
from kdpipe.runs.store import Store, is_running

QUEUED = "queued"  # activity of a job that another machine has not begun
SLOW_SECONDS = 0.05  # an estimate that takes longer is not repeated for every line


class RunProgress(NamedTuple):
    """The progress of a run.

    Attributes
    ----------
    epoch : int
        Finished epochs.
    error : float or None
        Top-1 validation error after the last of them, in percent.
    seconds : float
        What their training took; 0 where a version that did not write it runs.
    """

    epoch: int = 0
    error: float | None = None
    seconds: float = 0.0


NO_PROGRESS = RunProgress()


def read_progress(folder: Path) -> RunProgress:
    """Return the progress of the run in a folder, from its progress file."""
    try:
        progress = _read_progress_file(folder)
        last = progress["curve"][-1]["val"] if progress["curve"] else None
        error = 100 * (1 - last["accuracy"]) if last else None
        return RunProgress(int(progress["epoch"]), error, float(progress.get("seconds", 0.0)))
    except READ_ERRORS:  # there may be none yet
        return RunProgress()


def read_curve(folder: Path) -> list[dict]:
    """Return the curve of an unfinished run as its progress file has it: one line per epoch."""
    try:
        return list(_read_progress_file(folder)["curve"])
    except READ_ERRORS:  # there may be none yet
        return []


def _read_progress_file(folder: Path) -> dict[str, Any]:
    return json.loads(read_regular_file(run_folder.progress_path(folder)))


def get_job_folder(node: Node, store: Store) -> Path:
    """Return the folder in which the job of a node works and holds its lock."""
    name = f".{node.name}" if isinstance(node, LogitCache) else node.name
    return store.root / node.kind / name


def find_running_jobs(nodes: Iterable[Node], store: Store) -> list[Node]:
    """Return those nodes whose jobs are running."""
    return [node for node in nodes if is_running(get_job_folder(node, store))]


def is_active(plan: Plan, store: Store) -> bool:
    """Return whether a job of the plan runs, or a Snakemake holds the folder of the results."""
    if any((store.root.absolute().parent / ".snakemake" / "locks").glob("*.lock")):
        return True
    nodes = (*plan.nodes_by_name.values(), *plan.logit_caches.values())
    return any(is_running(get_job_folder(node, store)) for node in nodes)


# Pending nodes and their estimated cost, shown by `init`, `plan` and `status`.


class PricedPlan(NamedTuple):
    """A plan with the cost of what is to do.

    Attributes
    ----------
    states : dict of str to str
        State of each node by name.
    cost_model : CostModel
        Estimates of its jobs.
    total : Estimate
        Estimate of all that is to do.
    plain_total : Estimate or None
        The same without the fork server of `kdpipe run`, if it would use one.
    """

    states: dict[str, str]
    cost_model: CostModel
    total: Estimate
    plain_total: Estimate | None


def price_plan(
    plan: Plan, device: str, store: Store, gpu_jobs: int | None = None, n_running: int = 0
) -> PricedPlan:
    """Return a plan with the cost of what is to do on this machine.

    Parameters
    ----------
    plan : Plan
        The plan.
    device : {"cpu", "cuda"}
        Device of its runs.
    store : Store
        Its results.
    gpu_jobs : int, optional
        Jobs that the GPUs hold at a time; None without GPUs.
    n_running : int
        Jobs that are running already, which may be more than this machine has cores.
    """
    states = status.get_plan_status(plan, store)
    to_do = [name for name, node_state in states.items() if node_state == "to do"]
    cost_model = estimate.build_cost_model(plan, device, store.load_records("runs"), gpu_jobs)
    cores = max(n_running, estimate.count_cores())
    started = store.list_folders("runs") & plan.runs.keys() & set(to_do)
    folders = {name: store.run(name) for name in started if is_running(store.run(name))}
    paces = {name: find_pace(read_progress(folder)) for name, folder in folders.items()}
    cost_model = replace(cost_model, paces={name: pace for name, pace in paces.items() if pace})
    graph = estimate.build_job_graph(plan, to_do)

    def estimate_total(cost_model: CostModel) -> Estimate:
        seconds_done = _estimate_seconds_done(cost_model, to_do, store)
        return cost_model.estimate_graph(graph, cores, seconds_done)

    total, plain_total = estimate_total(cost_model), None
    if cost_model.start is not None:
        plain_total = estimate_total(replace(cost_model, start=None))
    return PricedPlan(states, cost_model, total, plain_total)


def find_pace(progress: RunProgress, first: RunProgress = NO_PROGRESS) -> Pace | None:
    """Return how long the epochs of a run take; None if none is finished.

    Parameters
    ----------
    progress : RunProgress
        Its progress now.
    first : RunProgress
        Its progress before, which an earlier start, maybe on another machine, has made.
    """
    epochs, seconds = progress.epoch - first.epoch, progress.seconds - first.seconds
    return Pace(seconds, epochs) if epochs > 0 and seconds > 0 else None


def _estimate_seconds_done(
    cost_model: CostModel, to_do: Collection[str], store: Store
) -> dict[str, float]:
    """Return the estimated seconds that are done already: epochs of runs, existing logit caches."""
    plan = cost_model.plan
    runs = [plan.runs[name] for name in to_do if name in plan.runs]
    started = store.list_folders("runs")
    epochs = {run: read_progress(store.run(run.name)).epoch for run in runs if run.name in started}
    seconds = {run.name: cost_model.estimate_done(run, epoch) for run, epoch in epochs.items()}
    return seconds | {
        cache.name: cost_model.estimate_seconds(cache)
        for cache in _find_existing_caches(runs, store)
    }


def _find_existing_caches(runs: Iterable[Run], store: Store) -> list[LogitCache]:
    """Return the logit caches of these runs that exist and are not yet removed."""
    existing = store.list_folders("tables")
    if not existing:
        return []
    caches = {cache.name: cache for run in runs for cache in run.logit_caches}
    return [cache for name, cache in caches.items() if name in existing]


# The jobs of one invocation.


@dataclass(frozen=True)
class JobRow:
    """A running job in the live display.

    Attributes
    ----------
    name : str
        What is made, in words.
    activity : str
        Its activity: training, caching logits, evaluating, ..., or starting.
    progress : RunProgress
        The progress of a run.
    epochs : int
        Epochs of a run, else 0.
    """

    name: str
    activity: str
    progress: RunProgress
    epochs: int


@dataclass(frozen=True)
class Eta:
    """The share of an invocation's cost that is done, and an estimate of the time left."""

    share: float
    left: Estimate


@dataclass
class RunState:
    """The jobs of one invocation.

    Attributes
    ----------
    plan, store : Plan, Store
        The study and its results.
    to_do : frozenset of str
        Names of the requested nodes.
    initial_cost_model : CostModel
        Estimates as they were before any job ran.
    cores : int
        Cores that Snakemake may use; jobs at a time where they run on other machines.
    is_remote : bool
        Whether jobs run on other machines.
    deferred : frozenset of str
        Nodes to do that are not part of this invocation.
    packed : frozenset of str
        Nodes that are made by jobs which make several.
    start_time : float
        When it started, by the monotonic clock; the other times too.
    running : dict of str to float
        When each running job started, by name.
    ended : set of str
        Names of jobs that succeeded.
    failed : dict of str to str
        Why jobs failed, by name.
    not_done : dict of str to str
        Status of the runs that diverged or were skipped, by name.
    working_since : dict of str to float
        When a remote job left the queue.
    startup_seconds : list of float
        Seconds that jobs of runs took beyond the runs' own.
    core_seconds : float
        Core-seconds of all jobs that ended or failed.
    first_progress : dict of str to RunProgress
        The progress of a run when its job began, by name.
    paces : dict of str to Pace
        How long the epochs of running runs take, by name.
    """

    plan: Plan
    store: Store
    to_do: frozenset[str]
    initial_cost_model: CostModel
    cores: int
    is_remote: bool = False
    deferred: frozenset[str] = frozenset()
    packed: frozenset[str] = frozenset()
    start_time: float = field(default_factory=time.monotonic)
    running: dict[str, float] = field(default_factory=dict)
    ended: set[str] = field(default_factory=set)
    failed: dict[str, str] = field(default_factory=dict)
    not_done: dict[str, str] = field(default_factory=dict)
    working_since: dict[str, float] = field(default_factory=dict)
    startup_seconds: list[float] = field(default_factory=list)
    core_seconds: float = 0.0
    first_progress: dict[str, RunProgress] = field(default_factory=dict)
    paces: dict[str, Pace] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Collect the pending nodes, with the logit caches of their runs."""
        self.records = dict(self.initial_cost_model.records)
        self.labels = label_nodes(self.plan) | {"render": "the report"}
        pending = {
            name: node for name, node in self.plan.nodes_by_name.items() if name in self.to_do
        }
        runs = [node for node in pending.values() if isinstance(node, Run)]
        caches = {cache.name: cache for run in runs for cache in run.logit_caches}
        self.nodes: dict[str, Node] = caches | pending
        self.existing_caches = {cache.name for cache in _find_existing_caches(runs, self.store)}
        self._cost_model: CostModel | None = self.initial_cost_model
        self._eta: Eta | None = None
        self._eta_time = self._eta_duration = 0.0

    # Events.

    def begin_job(self, name: str) -> None:
        """Note that a job has begun."""
        node = self.nodes.get(name)
        if isinstance(node, Run):
            self.first_progress[name] = read_progress(get_job_folder(node, self.store))
        self.running[name] = time.monotonic()
        self.failed.pop(name, None)

    def end_job(self, name: str) -> str | None:
        """Note that a job has ended; return a line on its result, if it is part of the plan."""
        node, record = self.nodes.get(name), None
        if node is not None and not isinstance(node, LogitCache):
            record = records.find_whole_record(get_job_folder(node, self.store), node.digest)
        duration = self._remove_running(name, record)
        if node is None:
            return None
        self.ended.add(name)
        if isinstance(node, Run) and record is not None:
            self.records[name] = record
            if record["status"] != "done":
                self.not_done[name] = record["status"]
            elif duration is not None and not self.is_remote:
                self.startup_seconds.append(max(0.0, duration - record["seconds"]["total"]))
            self._cost_model = None
        seconds = "" if duration is None else f", {estimate.format_seconds(duration)}"
        outcome = replace_names(_describe_outcome(node, record), self.labels)
        return f"{self.labels[name]}: {outcome}{seconds}"

    def fail_job(self, name: str, reason: str) -> None:
        """Note that a job has failed, and why."""
        self._remove_running(name)
        self.failed[name] = reason

    def is_made_by_pack(self, name: str) -> bool:
        """Return whether a pack has made a run, though the pack itself may go on or have failed."""
        node = self.nodes.get(name)
        is_packed_run = isinstance(node, Run) and name in self.packed
        return is_packed_run and (self.store.run(name) / run_folder.RECORD_FILE).exists()

    def interrupt_job(self, name: str) -> None:
        """Note that a job was interrupted: it resumes when it is started again."""
        self._remove_running(name)

    def _remove_running(self, name: str, record: dict | None = None) -> float | None:
        """Return the seconds of a job that has ended; None if its start is unknown."""
        now = time.monotonic()
        self.first_progress.pop(name, None)
        if record is None:  # an attempt that failed tells nothing of the next one
            self.paces.pop(name, None)
        duration: float | None = now - self.running.pop(name, now)
        if self.is_remote:  # its end is noticed late, and its time in the queue does not count
            times = [record["seconds"]["total"]] if record and "seconds" in record else []
            times += [now - self.working_since.pop(name)] if name in self.working_since else []
            duration = min(times, default=None)
        node = self.nodes.get(name)
        threads = min(self.slots, estimate.count_threads(node, self.plan)) if node else 1
        self.core_seconds += (duration or 0.0) * threads
        return duration

    # What is left.

    @property
    def slots(self) -> int:
        """Return the cores; on other machines as many as the widest job has, for each job."""
        threads = (estimate.count_threads(node, self.plan) for node in self.nodes.values())
        return self.cores * max(threads, default=1) if self.is_remote else self.cores

    @property
    def cost_model(self) -> CostModel:
        """Return the estimates, updated with measurements of this invocation."""
        if self._cost_model is None:
            start = self.initial_cost_model.start
            if self.startup_seconds:
                start = statistics.median(self.startup_seconds)
            # Copies, since another thread adds to both.
            records_now = self.records.copy()
            paces = {name: p for name, p in self.paces.copy().items() if name not in records_now}
            self._cost_model = replace(
                self.initial_cost_model, records=self.records, start=start, paces=paces
            )
        return self._cost_model

    def estimate_eta(self) -> Eta:
        """Estimate what is left; if that takes long, return a recent estimate."""
        now = time.monotonic()
        is_slow = self._eta_duration > SLOW_SECONDS
        is_recent = is_slow and now - self._eta_time < 10 * self._eta_duration
        if self._eta is None or not is_recent:
            self._eta = Eta(self.compute_fraction_done(), self.estimate_left())
            self._eta_time = time.monotonic()
            self._eta_duration = self._eta_time - now
        return self._eta

    def compute_fraction_done(self) -> float:
        """Return the share of the total cost that is done."""
        cost_model = self.cost_model
        total_seconds = sum(cost_model.estimate_seconds(node) for node in self.nodes.values())
        # A copy, since another thread adds to the jobs that have ended.
        finished = self.ended | self.existing_caches
        done_seconds = sum(cost_model.estimate_seconds(self.nodes[name]) for name in finished)
        done_seconds += sum(
            seconds
            for name, seconds in self._compute_seconds_done().items()
            if name not in finished
        )
        return min(1.0, done_seconds / total_seconds) if total_seconds else 1.0

    def estimate_left(self) -> Estimate:
        """Return an estimate of the remaining cost."""
        waiting = self.to_do - self.ended - self.failed.keys()
        cache_seconds = {
            cache.name: self.cost_model.estimate_seconds(cache)
            for cache in self._list_made_caches()
        }
        seconds_done = self._compute_seconds_done() | cache_seconds
        return self.cost_model.estimate_total(waiting, self.slots, seconds_done)

    def _list_made_caches(self) -> list[LogitCache]:
        """Return the logit caches that exist, from this invocation or an earlier one."""
        finished = self.ended | self.existing_caches
        return [
            node
            for node in self.nodes.values()
            if isinstance(node, LogitCache) and node.name in finished
        ]

    def _compute_seconds_done(self) -> dict[str, float]:
        """Return the estimated seconds that each running job has done."""
        seconds_done = {}
        for name, since in self.running.copy().items():
            if (node := self.nodes.get(name)) is None:
                continue
            if self.is_made_by_pack(name):
                seconds_done[name] = self.cost_model.estimate_seconds(node)
            elif isinstance(node, Run):
                progress = read_progress(get_job_folder(node, self.store))
                if self._is_working(node):
                    self._note_pace(node, progress)
                seconds_done[name] = self.cost_model.estimate_done(node, progress.epoch)
            elif self._is_working(node) or not self.is_remote:
                begin = self.working_since[name] if self.is_remote else since
                elapsed = time.monotonic() - begin
                seconds = 0.9 * self.cost_model.estimate_seconds(node)
                seconds_done[name] = min(seconds, elapsed)
        return seconds_done

    def _note_pace(self, run: Run, progress: RunProgress) -> None:
        """Note how long the epochs of a running run take, since its job began."""
        first = self.first_progress.get(run.name, NO_PROGRESS)
        if first.epoch and not first.seconds:  # unknown: what earlier epochs took is in the seconds
            return
        pace = find_pace(progress, first)
        if pace is not None and pace != self.paces.get(run.name):
            self.paces[run.name] = pace
            self._cost_model = None

    def _is_working(self, node: Node) -> bool:
        """Return whether a job is running, which may be long after it was submitted."""
        if is_running(get_job_folder(node, self.store)):
            self.working_since.setdefault(node.name, time.monotonic())
            return True
        return False

    # Display.

    def format_time_left(self) -> str:
        """Return the time left in words."""
        remaining = self.estimate_eta().left
        if not self.is_remote:
            if self.cost_model.paces and remaining.seconds:
                return (
                    f"{estimate.format_range(remaining.seconds, remaining.width)}{self.pace_note}"
                )
            return estimate.format_time_left(remaining)
        if remaining.seconds is None:
            return "unknown until a run has finished"
        return f"{estimate.format_time_left(remaining)}, and the time in the queue"

    @property
    def pace_note(self) -> str:
        """Return what follows a time left that running runs have corrected."""
        return ", at the current pace" if self.cost_model.paces else ""

    def format_counts(self) -> str:
        """Return how many of the requested runs, logit caches, ensembles and so on are done."""
        caches = {name for name, node in self.nodes.items() if isinstance(node, LogitCache)}
        names_by_kind = {
            "runs": self.plan.runs,
            "logit caches": caches,
            "ensembles": self.plan.ensembles,
            "probes": self.plan.probes,
            "exported networks": self.plan.gauges,
        }
        parts = []
        for kind, names in names_by_kind.items():
            requested = [name for name in names if name not in self.deferred]
            n_done = sum(name in self.ended or name not in self.nodes for name in requested)
            parts += [f"{kind} {n_done:,} of {len(requested):,}"] if requested else []
        return ", ".join(parts)

    def list_jobs(self) -> list[JobRow]:
        """Return the running jobs, the longest first, and then those in the queue."""
        running = [name for name in self.running.copy() if not self.is_made_by_pack(name)]
        rows = [self._make_row(name, self.nodes.get(name)) for name in running]
        return sorted(rows, key=lambda row: row.activity == QUEUED)

    def _make_row(self, name: str, node: Node | None) -> JobRow:
        """Return the row of a running job."""
        if node is None:  # not in the plan: the data set before it, the report after it
            activity = "rendering the report" if name == "render" else "preparing the data"
            label = "" if name == "render" else self.labels.get(name, name)
            return JobRow(label, activity, RunProgress(), 0)
        folder = get_job_folder(node, self.store)
        progress = read_progress(folder) if isinstance(node, Run) else RunProgress()
        activities = {"Run": "training", "LogitCache": "caching logits", "Ensemble": "scoring"}
        activity = activities.get(type(node).__name__, "probing")
        if not self._is_working(node):
            activity = QUEUED if self.is_remote else "starting"
        epochs = node.epochs if isinstance(node, Run) else 0
        return JobRow(self.labels[node.name], activity, progress, epochs)


def _describe_outcome(node: Node, record: dict | None) -> str:
    """Return the result on validation images; only the report reads that on test images."""
    if record is None:
        return "made" if isinstance(node, LogitCache) else "done"
    if record["status"] != "done":
        return f"{record['status']} ({record['reason']})"
    val = (record.get("last") or {}).get("val")
    return f"top-1 validation error {100 * (1 - val['accuracy']):.2f} %" if val else "done"
