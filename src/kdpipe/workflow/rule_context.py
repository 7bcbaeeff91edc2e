"""The study for the rules of the Snakefile: inputs, parameters and resources of each job.

A finished run is not in Snakemake's DAG at all: no rule requests it and no rule has it as input, so
neither file times nor a lost `.snakemake` folder can retrain anything. Only the head process knows
what is finished; a job, which parses the Snakefile again, counts everything as to do, since
otherwise it could not find its own target.
"""

import functools
import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from kdpipe import hashing
from kdpipe.config.schema import Study
from kdpipe.data.cards import DatasetCard
from kdpipe.data.data_spec import find_unlabelled_folder
from kdpipe.devices import gpus
from kdpipe.errors import KdpipeError
from kdpipe.jobs.pack import PackedJob, PackFile, read_pack
from kdpipe.losses.method import CUSTOM_TERM
from kdpipe.plan import estimate, resources
from kdpipe.plan.nodes import (
    Ensemble,
    ExportEval,
    LogitCache,
    Node,
    Plan,
    Probe,
    RecordedNode,
    Run,
    collect_with_ancestors,
)
from kdpipe.runs.execution_options import ExecutionOptions
from kdpipe.runs.files import write_json
from kdpipe.runs.run_folder import RECORD_FILE
from kdpipe.runs.store import Store
from kdpipe.workflow.packs import Pack, Packable, find_packs


class JobFunction:
    """A bound method that the rules hand to Snakemake as a function of a job.

    Snakemake reads the parameters of each function two or three times for each job, which takes a
    tenth of the time of a dry run unless they are at hand where it looks first.

    Parameters
    ----------
    function : callable
        The bound method.
    """

    def __init__(self, function: Callable[..., Any]):
        self.function = function
        self.__signature__ = inspect.signature(function)
        self._overwrite_params = self.__signature__.parameters  # snakemake.common's attribute

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the method."""
        return self.function(*args, **kwargs)


def job_function(method: Callable[..., Any]) -> functools.cached_property[JobFunction]:
    """Make a method of the context a `JobFunction`."""
    return functools.cached_property(lambda context: JobFunction(method.__get__(context)))


# Partial targets of the Snakefile, and the roles of the runs that each of them requires.
PARTIAL_TARGETS = {"teachers": ("teacher",), "students": ("student", "scratch", "scratch_long")}
# All other targets are files: then only these are made, and what they need.
STUDY_TARGETS = {"all", "report", "everything", *PARTIAL_TARGETS}
PACK_MINUTES = 10  # of a job that makes several short runs, unless a site says otherwise
PACKS_FOLDER = Path("logs/packs")
PACKED_RULE = "packed"  # checks that a pack has made one of its nodes


def find_recorded_nodes(plan: Plan, targets: Iterable[str]) -> dict[str, RecordedNode]:
    """Return the nodes of a plan whose records are targets, by target."""
    names = {target: Path(target).parent.name for target in targets if target.endswith(RECORD_FILE)}
    nodes = plan.nodes_by_name
    return {target: nodes[name] for target, name in names.items() if name in nodes}


@dataclass(frozen=True)
class SnakemakeOptions:
    """Options of a Snakemake invocation, from its command line and profiles.

    Attributes
    ----------
    is_dry_run : bool
        Whether this is a dry run.
    is_remote : bool
        Whether jobs run on a cluster.
    is_looking : bool
        Whether the graph is only shown: finished runs are in it too.
    longest_job : int or None
        Time limit of the cluster's jobs in minutes.
    pack_minutes : int
        How long a cluster's job is that makes several short runs; 0: each is a job of its own.
    gpu_gres : str
        How GPUs are requested on the cluster (`gpu:a100:1`, `shard:1`); empty: by number.
    job_limit : int or None
        Cores, or jobs of a cluster, that are used at a time.
    retries : callable
        Return how often a job that fails is started again.
    targets : callable
        Return the targets of the command line, none for everything. Snakemake knows these two only
        after it has parsed the Snakefile.
    """

    is_dry_run: bool = False
    is_remote: bool = False
    longest_job: int | None = None
    pack_minutes: int = PACK_MINUTES
    gpu_gres: str = ""
    job_limit: int | None = None
    retries: Callable[[], int] = int
    targets: Callable[[], Iterable[str]] = tuple
    is_looking: bool = False


@dataclass(frozen=True)
class RuleContext:
    """A study for its rules; most methods take the wildcards of a job, usually its `name`.

    Attributes
    ----------
    study : Study
        The study.
    plan : Plan
        Its plan; in a search the part that is decided.
    to_do : frozenset of str
        Names of the runs, ensembles, probes and export evaluations that lack a finished record.
    data_ready : frozenset of str
        Folders of the data sets that are prepared.
    stale : frozenset of str
        Names of those to do that have an incomplete record.
    device : {"cpu", "cuda"}
        Device of every run.
    store : Store
        The results folder.
    report_digest : str or None
        Digest of what an existing report has to be rendered from again; None if it is up to date.
    options : SnakemakeOptions
        Options of the start.
    awaited : mapping
        What a share of the study waits for, see `plan.share.find_awaited`; the nodes that wait are
        not among those to do.
    """

    study: Study
    plan: Plan
    to_do: frozenset[str]
    data_ready: frozenset[str]
    stale: frozenset[str] = frozenset()
    device: str = "cpu"
    store: Store = field(default_factory=Store)
    report_digest: str | None = None
    options: SnakemakeOptions = field(default_factory=SnakemakeOptions)
    awaited: Mapping[str, tuple[int, list[str]]] = field(
        default_factory=dict[str, tuple[int, list[str]]]
    )
    is_head: bool = True

    # Targets.

    def records(self) -> list[str]:
        """Return the paths of all records that are still to do."""
        return [path for kind in self.plan.recorded_nodes for path in self._pending_records(kind)]

    def partial_target(self, target: str) -> list[str]:
        """Return the records still to do of the runs that a partial target requires."""
        return self._pending_records("runs", self._runs_in_roles(PARTIAL_TARGETS[target]))

    @property
    def requested(self) -> frozenset[str]:
        """Return the nodes to do that the targets require: all of them without targets."""
        targets = set(self.options.targets())
        records = find_recorded_nodes(self.plan, targets)
        if not targets or targets - PARTIAL_TARGETS.keys() - records.keys():
            return self.to_do
        roles = {role for target in targets for role in PARTIAL_TARGETS.get(target, ())}
        runs = (self.plan.runs[name] for name in self._runs_in_roles(roles))
        return self.to_do & collect_with_ancestors((*runs, *records.values()))

    @property
    def report_dir(self) -> str:
        """Return the folder of the study's report."""
        return report_dir(self.study)

    @property
    def report_markers(self) -> list[str]:
        """Return a file that is missing if an existing report has to be rendered again."""
        if self.report_digest is None:
            return []
        return [f"logs/reports/{self.study.study}.{self.report_digest[:12]}"]

    # Inputs of a job.

    @job_function
    def inputs(self, wildcards: Any) -> list[str]:
        """Return a job's inputs: its data set, its parents and logit caches that are still to do.

        An ensemble needs no images: the outputs of its members are in their folders.
        """
        node = self._node(wildcards)
        data = [] if isinstance(node, Ensemble) else self._pending_data(node)
        return [*data, *self._made_inputs(node)]

    def _made_inputs(self, node: Node) -> list[str]:
        """Return a job's inputs without data sets.

        The job itself looks for no logit cache: it does not know of which a pack has made.
        """
        caches = node.logit_caches if isinstance(node, Run) and self.is_head else ()
        return [
            *self._pending_records("runs", (run.name for run in node.parents)),
            *self._stale_markers([node.name]),
            *(self._cache_marker(cache) for cache in caches),
        ]

    def _cache_marker(self, cache: LogitCache) -> str:
        """Return the file that is there once a logit cache is made."""
        if cache.name in self.pack_by_node:
            return packed_marker(cache.name)
        return cache_marker(cache.name)

    # Parameters of a job.

    @job_function
    def spec(self, wildcards: Any) -> str:
        """Return the canonical JSON of a job's spec."""
        return hashing.canonical_json(self._node(wildcards).spec)

    @job_function
    def job_options(self, wildcards: Any) -> list[str]:
        """Return the command-line options of a job that are not part of its spec."""
        node = self._node(wildcards)
        models = (node, *node.parents) if isinstance(node, Run) else (node,)
        uses_user_code = any(
            each.spec.network.build for each in models if not isinstance(each, Ensemble)
        ) or (isinstance(node, Run) and CUSTOM_TERM in (node.spec.method or ()))
        weights = self.plan.weights.get(node.name)
        device = "cpu" if isinstance(node, ExportEval) else self.device
        return ExecutionOptions(
            device,
            self.study.runs_per_gpu if device == "cuda" else 1,
            self.study.kernels if device == "cuda" else ExecutionOptions.kernels,
            Path(weights) if weights else None,
            Path(str(self.study.code)) if uses_user_code else None,
            self._workers(self._card(node)),
            estimate.count_processes(node, self.plan),
        ).to_arguments()

    @job_function
    def checkpoint_epochs(self, wildcards: Any) -> str:
        """Return the epochs of a run whose checkpoints are kept, as `0,10,20`."""
        epochs = self.plan.checkpoints_to_keep.get(wildcards.name, ())
        return ",".join(map(str, sorted(epochs)))

    @job_function
    def waiting_students(self, wildcards: Any) -> list[str]:
        """Return the names of the runs to do that learn from a logit cache."""
        return self._students_by_cache.get(wildcards.name, [])

    @functools.cached_property
    def _students_by_cache(self) -> dict[str, list[str]]:
        """Return the names of the runs to do by the logit caches that they learn from."""
        students: dict[str, list[str]] = {}
        for run in self.plan.runs.values():
            if run.name in self.to_do:
                for name in dict.fromkeys(cache.name for cache in run.logit_caches):
                    students.setdefault(name, []).append(run.name)
        return students

    @job_function
    def data_source(self, wildcards: Any) -> list[str]:
        """Return the arguments of `kdpipe prepare`: a data set, and where its files and card are.

        For unlabelled images also where these are.
        """
        data = self.plan.datasets[wildcards.name]
        options = {"path": data.path, "card": data.card}
        unlabelled_card = self.plan.unlabelled
        if unlabelled_card is not None and wildcards.name == unlabelled_card.folder:
            options["unlabelled"] = data.unlabelled
        return [data.name, *(f"--{key}={value}" for key, value in options.items() if value)]

    @property
    def study_json(self) -> str:
        """Return the study as the report job reads it on standard input."""
        return self.study.model_dump_json(exclude_defaults=True)

    # Order and resources of jobs.

    @job_function
    def priority(self, wildcards: Any) -> int:
        """Return the priority of a job: earlier seeds first, so that looks come one by one.

        An interrupted study then has whole seeds. Of one seed runs come before the logit caches of
        others, or all caches would be on the disk at once.
        """
        node = self._node(wildcards)
        rank = self._seed_ranks[node.name]
        return self.first_priority - 2 * (1 + rank) + (not isinstance(node, LogitCache))

    @property
    def first_priority(self) -> int:
        """Return the priority of what other jobs wait for and what takes no time to speak of."""
        return 2 * (len(self.study.seeds) + 2)

    @functools.cached_property
    def _seed_ranks(self) -> dict[str, int]:
        """Return which seed of the study needs each node first."""
        return estimate.rank_by_seed(self.plan)

    @job_function
    def threads(self, wildcards: Any) -> int:
        """Return the number of threads of a job, including its data-loading workers."""
        node = self._node(wildcards)
        if isinstance(node, ExportEval) and self.options.is_remote:  # a large node may be shared
            return node.spec.threads + self._workers(self.plan.card)
        return estimate.count_threads(node, self.plan)

    @job_function
    def minutes(self, wildcards: Any, attempt: int) -> int:
        """Return the time limit of a job in minutes at its n-th attempt."""
        limit = self.options.longest_job
        return self._resources(wildcards).with_attempt(attempt, limit).minutes

    @job_function
    def megabytes(self, wildcards: Any, attempt: int) -> int:
        """Return the memory limit of a job in megabytes at its n-th attempt."""
        return self._resources(wildcards).with_attempt(attempt).megabytes

    @property
    def gpus(self) -> int:
        """Return the number of GPUs of a run; 0 on a cluster where they are requested by `gres`."""
        return int(self.device == "cuda" and not self.gres)

    @job_function
    def run_gpus(self, wildcards: Any) -> int:
        """Return the number of GPUs of a run: one for each of its processes."""
        return self.gpus * estimate.count_processes(self._node(wildcards), self.plan)

    @job_function
    def run_gres(self, wildcards: Any) -> str:
        """Return a run's generic resources on a cluster: as many GPUs as it has processes."""
        n_processes = estimate.count_processes(self._node(wildcards), self.plan)
        if n_processes == 1 or not self.gres:
            return self.gres
        name, *model, count = self.gres.split(":") if ":" in self.gres else (self.gres, "1")
        if name != "gpu" or not count.isdecimal():
            raise KdpipeError(
                f"gpu_gres: {self.gres} of the profile: processes_per_run: {n_processes} needs "
                'whole GPUs, such as "gpu:1" or "gpu:a100:1", or processes_per_run: 1'
            )
        return ":".join([name, *model, str(n_processes * int(count))])

    @property
    def probe_gpus(self) -> int:
        """Return the number of GPUs of a probe.

        GPUs of this machine are not counted: a probe waits for a lease and releases it early. On a
        cluster a job keeps its GPU to the end.
        """
        return self.gpus if self.options.is_remote else 0

    @property
    def gres(self) -> str:
        """Return a run's generic resources on a cluster, such as gpu:a100:1 or shard:1."""
        return self.options.gpu_gres if self.device == "cuda" and self.options.is_remote else ""

    @property
    def gpu_slots(self) -> int:
        """Return the number of runs that the GPUs of this machine hold at a time."""
        return len(gpus.list_gpus()) * self.study.runs_per_gpu

    @property
    def max_jobs(self) -> int | None:
        """Return the number of jobs that GPUs allow at a time; None if no GPU is used here."""
        return self.gpu_slots if self.gpus and not self.options.is_remote else None

    # Packs: jobs of a cluster that make several short runs. Their wildcard is the name of a pack,
    # that of `packed_inputs` and `packed_result` the name of one of its nodes.

    @functools.cached_property
    def packs(self) -> dict[str, Pack]:
        """Return the packs of this invocation by name."""
        options = self.options
        is_packing = self.is_head and options.is_remote and not options.is_looking
        minutes = min(options.pack_minutes, options.longest_job or options.pack_minutes)
        if not (is_packing and minutes and set(options.targets()) <= STUDY_TARGETS):
            return {}
        requested = self.requested - self.stale
        runs = [run for run in self.plan.runs.values() if run.name in requested]
        runs.sort(key=lambda run: self._seed_ranks[run.name])
        caches = {cache.name: cache for run in runs for cache in run.logit_caches}
        cost_model = estimate.build_cost_model(
            self.plan, self.device, self.store.load_records("runs"), self.max_jobs
        )
        cost_model = replace(cost_model, start=None)

        def get_size(node: Packable) -> float:
            workers, limit = self._workers(self.plan.card), options.longest_job or 10**6
            share = resources.estimate_share_of_job(
                node, self.plan.card, self.device, workers, limit
            )
            return max(share, cost_model.estimate_seconds(node) / (60 * minutes))

        # A run of several processes has a job of its own, which asks for their cores or GPUs.
        runs = [run for run in runs if estimate.count_processes(run, self.plan) == 1]
        packs = find_packs(
            [*runs, *caches.values()],
            self._list_awaited,
            get_size,
            lambda node: estimate.count_threads(node, self.plan),
        )
        return {pack.name: pack for pack in packs}

    @functools.cached_property
    def pack_by_node(self) -> dict[str, Pack]:
        """Return the packs by the names of their nodes."""
        return {node.name: pack for pack in self.packs.values() for node in pack.nodes}

    def write_packs(self) -> None:
        """Write what each pack is to make, for its job, which does not know what is to do."""
        for name, pack_file in self._pack_files.items():
            PACKS_FOLDER.mkdir(parents=True, exist_ok=True)
            write_json(pack_path(name), pack_file.model_dump())

    @job_function
    def pack_inputs(self, wildcards: Any) -> list[str]:
        """Return what a pack waits for."""
        inputs: list[str] = []
        for name in sorted(self.packs[wildcards.name].inputs) if self.is_head else ():
            if name in self.plan.logit_caches:
                inputs.append(self._cache_marker(self.plan.logit_caches[name]))
            elif name in self.plan.runs:
                inputs += self._pending_records("runs", [name])
            else:
                inputs.append(name)
        return inputs

    @job_function
    def pack_of(self, wildcards: Any) -> str:
        """Return the file that is there once the pack of a node has ended."""
        return f"{PACKS_FOLDER}/{self.pack_by_node[wildcards.name].name}.done"

    @job_function
    def packed_inputs(self, wildcards: Any) -> list[str]:
        """Return what a node of a pack learns from: if that has failed, so has the node."""
        return self._made_inputs(self._node(wildcards))

    @job_function
    def packed_result(self, wildcards: Any) -> str:
        """Return a file that is there once a node of a pack is made.

        Of a logit cache nothing may be: the last of its students, in the same pack, removes it.
        """
        if wildcards.name in self.plan.logit_caches:
            return self.pack_of(wildcards)
        return f"{self.store.run(wildcards.name)}/{RECORD_FILE}"

    def describe_packed(self, name: str) -> tuple[str, list[str]]:
        """Return the rule and the logs of a node of a pack, as if it were a job of its own."""
        node = self._nodes[name]
        rule = "table" if isinstance(node, LogitCache) else "train"
        return rule, [f"logs/{node.kind}/{name}.log"]

    @job_function
    def pack_priority(self, wildcards: Any) -> int:
        """Return the priority of a pack: that of the first of its runs."""
        pack = self.packs.get(wildcards.name)
        return max(map(self.priority, pack.nodes)) if pack else self.first_priority

    @job_function
    def pack_threads(self, wildcards: Any) -> int:
        """Return the number of threads of a pack."""
        return self._pack_file(wildcards).threads

    @job_function
    def pack_minutes(self, wildcards: Any, attempt: int) -> int:
        """Return the time limit of a pack in minutes at its n-th attempt."""
        pack, limit = self._pack_file(wildcards), self.options.longest_job
        job = resources.JobResources(pack.minutes, pack.megabytes)
        return job.with_attempt(attempt, limit).minutes

    @job_function
    def pack_megabytes(self, wildcards: Any, attempt: int) -> int:
        """Return the memory limit of a pack in megabytes at its n-th attempt."""
        pack = self._pack_file(wildcards)
        return resources.JobResources(pack.minutes, pack.megabytes).with_attempt(attempt).megabytes

    def _pack_file(self, wildcards: Any) -> PackFile:
        """Return what the job of a pack is told; the job itself reads it."""
        if self.is_head:
            return self._pack_files[wildcards.name]
        return read_pack(pack_path(wildcards.name))

    @functools.cached_property
    def _pack_files(self) -> dict[str, PackFile]:
        """Return what the jobs of all packs are told, by the name of the pack."""
        return {name: self._describe_pack(pack) for name, pack in self.packs.items()}

    def _describe_pack(self, pack: Pack) -> PackFile:
        """Return what the job of a pack is told."""
        card = self.plan.card
        request = resources.estimate_pack_resources(
            pack.nodes, card, self.device, self._workers(card)
        )
        names = {node.name for node in pack.nodes}
        return PackFile(
            jobs=[
                PackedJob(
                    kind="tables" if isinstance(node, LogitCache) else "runs",
                    name=node.name,
                    arguments=self._job_arguments(node),
                    parents=[name for name in self._list_awaited(node) if name in names],
                    students=self.waiting_students(node) if isinstance(node, LogitCache) else [],
                )
                for node in pack.nodes
            ],
            threads=estimate.count_threads(pack.nodes[0], self.plan),
            minutes=request.minutes,
            megabytes=request.megabytes,
            attempts=1 + self.options.retries(),
        )

    def _job_arguments(self, node: Packable) -> list[str]:
        """Return the command line after `kdpipe` of the job of a run or a logit cache."""
        spec, options = self.spec(node), self.job_options(node)
        if isinstance(node, LogitCache):
            students = self.waiting_students(node)
            return ["tabulate", "--spec", spec, *options, "--students", *students]
        return ["train", "--spec", spec, f"--keep={self.checkpoint_epochs(node)}", *options]

    def _list_awaited(self, node: Packable) -> list[str]:
        """Return the names of what a node waits for: runs, logit caches, and markers of data."""
        caches = node.logit_caches if isinstance(node, Run) else ()
        names = [run.name for run in node.parents if run.name in self.to_do]
        return [*names, *(cache.name for cache in caches), *self._pending_data(node)]

    def _node(self, wildcards: Any) -> Node:
        """Return the node that a job makes."""
        return self._nodes[wildcards.name]

    @functools.cached_property
    def _nodes(self) -> dict[str, Node]:
        """Return all nodes by name."""
        return {**self.plan.nodes_by_name, **self.plan.logit_caches}

    def _pending_records(self, kind: str, names: Iterable[str] | None = None) -> list[str]:
        """Return the records still to do of these names, or of a whole kind, and their markers.

        The markers are targets too: Snakemake does not create missing inputs of an existing file.
        """
        names = self.plan.recorded_nodes[kind] if names is None else names
        folder, names = self.store.root / kind, [name for name in names if name in self.to_do]
        return [
            packed_marker(name) if name in self.pack_by_node else f"{folder}/{name}/{RECORD_FILE}"
            for name in names
        ] + self._stale_markers(names)

    def _stale_markers(self, names: Iterable[str]) -> list[str]:
        """Return the markers of those names whose records are incomplete."""
        return [stale_marker(name) for name in names if name in self.stale]

    def _pending_data(self, node: Node) -> list[str]:
        """Return the markers of a job's data sets that are not prepared yet."""
        source = None
        if isinstance(node, LogitCache):
            source = node.spec.unlabelled_from
        elif isinstance(node, Run) and node.spec.method:
            source = node.spec.method.get("unlabelled_from")
        folders = [self._card(node).folder, find_unlabelled_folder(source)]
        return [
            prepared_marker(folder)
            for folder in folders
            if folder and folder not in self.data_ready
        ]

    def _runs_in_roles(self, roles: Iterable[str]) -> list[str]:
        """Return the names of the runs in any of these roles."""
        return [name for name, run_roles in self.plan.roles.items() if run_roles & set(roles)]

    def _resources(self, wildcards: Any) -> resources.JobResources:
        """Return the time and the memory that a job needs."""
        node = self._node(wildcards)
        assert not isinstance(node, Ensemble)  # evaluated on the head's machine, not on a cluster
        card = self._card(node)
        device = "cpu" if isinstance(node, ExportEval) else self.device
        processes = estimate.count_processes(node, self.plan)
        return resources.estimate_resources(node, card, device, self._workers(card), processes)

    def _card(self, node: Node) -> DatasetCard:
        """Return the card of a job's data set."""
        return node.card if isinstance(node, Probe) else self.plan.card

    def _workers(self, card: DatasetCard) -> int:
        """Return the number of processes that read images for a job."""
        return self.study.workers if card.is_streamed else 0


def cache_marker(cache: str) -> str:
    """Return the marker file of a logit cache; see workflow/rules/logit_cache.smk."""
    return f"logs/tables/{cache}.made"


def packed_marker(name: str) -> str:
    """Return the file that is there once a node of a pack is made; see workflow/rules/packs.smk."""
    return f"{PACKS_FOLDER}/{name}.made"


def pack_path(pack: str) -> Path:
    """Return the file that tells the job of a pack what it is to make."""
    return PACKS_FOLDER / f"{pack}.json"


def prepared_marker(folder: str) -> str:
    """Return the marker file of a prepared data set; see workflow/rules/data.smk."""
    return f"logs/data/{folder}.prepared"


def stale_marker(name: str) -> str:
    """Return the marker file that is newer than a stale record; see workflow/rules/stale.smk."""
    return f"logs/again/{name}"


def report_dir(study: Study) -> str:
    """Return the folder of a study's report."""
    return f"reports/{study.study}"
