"""Loading the study of a Snakemake invocation, and finding what is to do.

The Snakefile is parsed by the head process, which plans, checks and starts jobs, and again by each
job. Only the head reads the results folder and decides what is to do; a job needs only its own spec
and counts everything as to do.
"""

import contextlib
import gc
import os
import shutil
import sys
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from kdpipe.analysis.preregistration import registration
from kdpipe.analysis.search import rounds, state
from kdpipe.config import load
from kdpipe.config.schema import Study
from kdpipe.devices import gpus
from kdpipe.errors import KdpipeError, raise_study_errors
from kdpipe.jobs import cache_logits, parent_watchdog
from kdpipe.plan import planner, share, status
from kdpipe.plan.nodes import Plan, Share
from kdpipe.report import fingerprint
from kdpipe.runs.integrity import data_drift
from kdpipe.runs.ownership import CARD_FILE
from kdpipe.runs.records import ensure_record_backup, read_finished_record
from kdpipe.runs.run_folder import RECORD_FILE
from kdpipe.runs.store import Store
from kdpipe.text import join_names
from kdpipe.workflow import (
    preflight,
    progress,
    run_snakemake,
    snakemake_verbs,
    stopped_processes,
)
from kdpipe.workflow.rule_context import (
    PACKS_FOLDER,
    RuleContext,
    SnakemakeOptions,
    cache_marker,
    prepared_marker,
    report_dir,
    stale_marker,
)

# Keys for how a study is run; with `--config device=cuda` alone the default study is still used.
EXECUTION_KEYS = {"device", "runs_per_gpu", "processes_per_run", "kernels", "workers", "look"}
WHOLE_KEY = "whole"  # of --config: finished runs are in the graph too, to be looked at
# Keys that select a share of a study; no part of the study, and unknown in its file.
SHARE_KEYS = {"share", "share_whole"}
KILLED_MESSAGE = "the previous invocation was killed: its lock of this folder is removed"
QUEUED_MESSAGE = "; its jobs are still in the queue (squeue --me); kdpipe waits for them"
REPORT_FILES = ("index.html", "index.md", "results.csv", "claims.json")  # outputs of `render`


def load_rule_context(
    config: dict,
    config_files: list,
    default_file: Path,
    is_head: bool,
    options: SnakemakeOptions | None = None,
) -> RuleContext:
    """Load the study of an invocation; print errors and exit with code 2.

    Parameters
    ----------
    config : dict
        Snakemake's `config`.
    config_files : list of str or Path
        Files of --configfile.
    default_file : Path
        Study file that is used if `config` has no study.
    is_head : bool
        Whether this is the head process, not one of its jobs.
    options : SnakemakeOptions, optional
        Options of the invocation.
    """
    if shutil.which("kdpipe") is None:  # Snakemake was called by its path
        os.environ["PATH"] = os.pathsep.join(
            [os.path.dirname(sys.executable), os.environ.get("PATH") or os.defpath]
        )
    config = dict(config)  # Snakemake's own stays as it is, for its jobs
    whole = config.pop(WHOLE_KEY, None)
    source = StudySource(config, config_files, Path(default_file))
    load_context = load_for_head if is_head else load_for_job
    options = options or SnakemakeOptions()
    try:
        if is_head:
            looks = snakemake_verbs.is_looking(sys.argv[1:])
            if snakemake_verbs.parse_whole(whole, looks):
                options = replace(options, is_dry_run=True, is_looking=True)
        return load_context(source, options)
    except KdpipeError as error:
        preflight.exit_with_error(error)


def load_for_head(source: "StudySource", options: SnakemakeOptions) -> RuleContext:
    """Load the study for the head process: plan it, find what is to do, and prepare the folders.

    Raises KdpipeError for errors that would otherwise occur later, in Snakemake or in every job.
    """
    preflight.check_job_limit(options.job_limit)
    preflight.check_workdir(source.default_file.parent)
    if options.is_remote and not options.is_dry_run:
        preflight.require_slurm(sys.argv[1:])
    study, store = source.load_study(), Store()
    plan, search_state = rounds.advance_search(study, store)
    if (requested_share := source.find_share()) is not None:
        plan = share.select_share(plan, requested_share)
        targets = snakemake_verbs.parse_targets(sys.argv[1:])
        preflight.refuse_report(targets, requested_share, Path(report_dir(study)))
    errors = data_drift.find_changed_images(study, source.name)
    errors += data_drift.find_changed_preparations(plan, store)
    raise_study_errors(source.name, errors)

    states = status.get_plan_status(plan, store)
    awaited = share.find_awaited(plan, store)
    waiting = {name for _, names in awaited.values() for name in names}
    to_do = frozenset(
        name
        for name in plan.nodes_by_name
        if states.get(name, "to do") == "to do" and name not in waiting
    )
    data_ready = frozenset(
        folder for folder in plan.datasets if (store.data(folder) / CARD_FILE).exists()
    )
    stale_folders = _find_stale_folders(plan, to_do, store)
    if to_do:
        errors = data_drift.find_missing_images(plan, store)
        errors += data_drift.find_missing_weights(plan, to_do)
        raise_study_errors(source.name, errors)
    kinds = _list_pending_kinds(plan, to_do, data_ready)
    preflight.check_output_dirs(kinds, store, Path(report_dir(study)))
    if plan.gauges.keys() & to_do:
        preflight.require_export_packages()
    device = gpus.select_device(
        study.device, options.is_remote, _find_finished_device(plan, to_do, store)
    )
    os.environ[gpus.DEVICE_VARIABLE] = device  # for the jobs
    os.environ[run_snakemake.STUDY_FILE_ENV] = source.display_path
    if not options.is_remote:
        preflight.require_compiler((plan.runs[name] for name in to_do & plan.runs.keys()), device)

    if options.is_looking:  # finished runs are in the graph too, and nothing is made
        everything = frozenset(plan.nodes_by_name)
        gc.freeze()
        nothing = frozenset[str]()
        return RuleContext(study, plan, everything, nothing, nothing, device, store, None, options)
    forced = snakemake_verbs.list_forcing(sys.argv[1:])
    finished = [name for name in plan.runs if name not in to_do]
    if forced and finished:
        print(snakemake_verbs.describe_forcing(forced, store.run(finished[0])), file=sys.stderr)
    context = RuleContext(
        study,
        plan,
        to_do,
        data_ready,
        frozenset(stale_folders),
        device,
        store,
        None if to_do or plan.share else _find_outdated_report_digest(plan, store),
        options,
        awaited,
    )
    if not options.is_dry_run:
        if preflight.acquire_lock():
            message = KILLED_MESSAGE + (QUEUED_MESSAGE if options.is_remote else "")
            print(message, file=sys.stderr)
            if orphans := stopped_processes.continue_orphans():
                pids = ", ".join(map(str, orphans))
                print(f"its stopped jobs (process {pids}) continue, and end", file=sys.stderr)
        if search_state is not None:
            state.save_journal(search_state, store)
        if to_do:
            registration.store_registration(study, store)
        _clean_up(context)
        for folder in stale_folders.values():
            ensure_record_backup(folder)
    _tie_processes(options)
    progress.attach_study(context, source.display_path)
    gc.freeze()  # the plan stays: no collection has to look through it while Snakemake works
    return context


def load_for_job(source: "StudySource", options: SnakemakeOptions) -> RuleContext:
    """Load the study for a job, which counts everything as to do and nothing as stale.

    The plan is that of the whole study: a job's machine may not see yet the results on which a
    search was decided.
    """
    study, store = source.load_study(), Store()
    decided_plan, _ = rounds.advance_search(study, store)
    plan = planner.build_plan(study)
    return RuleContext(
        study,
        plan,
        to_do=frozenset(decided_plan.nodes_by_name),
        data_ready=frozenset(plan.datasets),
        device=gpus.get_job_device(study.device),
        store=store,
        options=options,
        is_head=False,
    )


@dataclass(frozen=True)
class StudySource:
    """The source of the study; see `load_rule_context`."""

    config: dict
    config_files: list
    default_file: Path

    @property
    def is_default(self) -> bool:
        """Return whether the study is that of the default file."""
        return not set(self.config) - EXECUTION_KEYS - SHARE_KEYS

    @property
    def name(self) -> str:
        """Return the name of the source in messages."""
        if self.is_default:
            return str(self.default_file)
        return ", ".join(map(str, self.config_files)) or "--config"

    @property
    def display_path(self) -> str:
        """Return the study file as a path for command lines in this folder."""
        path = Path(self.config_files[-1]) if self.config_files else self.default_file
        return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)

    def load_study(self) -> Study:
        """Load and validate the study; raise KdpipeError for its errors."""
        for path in self.config_files:
            content = load.read_yaml(path)  # stricter than Snakemake's loader
            if isinstance(content, dict) and (keys := SHARE_KEYS & content.keys()):
                raise KdpipeError(
                    f"{path}: {join_names(sorted(keys))}: not a key of a study: --config share=K/N"
                )
        config = {key: value for key, value in self.config.items() if key not in SHARE_KEYS}
        if not self.is_default:
            folder = Path(self.config_files[-1]).parent if self.config_files else Path()
            return load.validate_study(config, self.name, folder)
        content = load.read_yaml(self.default_file)
        content = content | config if isinstance(content, dict) else content
        return load.validate_study(content, self.name, self.default_file.parent)

    def find_share(self) -> Share | None:
        """Return the share that `--config share=K/N` requests; raise KdpipeError if it is none."""
        is_whole = self.config.get("share_whole", False)
        if not isinstance(is_whole, bool):
            raise KdpipeError(f"share_whole={is_whole}: must be true or false")
        if "share" in self.config:
            return share.parse_share(self.config["share"], is_whole)
        if is_whole:
            raise KdpipeError("share_whole belongs to share=K/N, which is missing")
        return None


def _list_pending_kinds(
    plan: Plan, to_do: Collection[str], data_ready: Collection[str]
) -> Iterator[str]:
    """Return the folders below `results` in which something will be written."""
    yield from (kind for kind, nodes in plan.recorded_nodes.items() if nodes.keys() & set(to_do))
    if any(plan.runs[name].logit_caches for name in to_do if name in plan.runs):
        yield "tables"
    if plan.datasets.keys() - set(data_ready):
        yield "data"


def _find_stale_folders(plan: Plan, to_do: Collection[str], store: Store) -> dict[str, Path]:
    """Return by name the folders of nodes that are to do although they have a record.

    Snakemake treats an existing record as up to date if it has no metadata of the job that made it.
    """
    folders = {
        name: store.root / node.kind / name
        for name, node in plan.nodes_by_name.items()
        if name in to_do
    }
    return {name: folder for name, folder in folders.items() if (folder / RECORD_FILE).exists()}


def _find_finished_device(plan: Plan, to_do: Collection[str], store: Store) -> str | None:
    """Return the device of a finished run of the plan, if there is one."""
    for name in plan.runs.keys() - set(to_do):
        record = read_finished_record(store.run(name), plan.runs[name].digest)
        if record is not None and record["status"] == "done":
            return record["device"]["type"]
    return None


def _find_outdated_report_digest(plan: Plan, store: Store) -> str | None:
    """Return the digest of the content of a report that must be rendered again, else None.

    Snakemake may have been killed between the last run and the report, the report may be that of
    another study with the same name, or one of its files may be altered. Snakemake itself detects a
    missing file.
    """
    folder = Path(report_dir(plan.study))
    if not all((folder / name).exists() for name in REPORT_FILES):
        return None
    digest = fingerprint.compute_digest(plan, store)
    is_current = digest == fingerprint.read_digest(folder) and fingerprint.is_intact(folder)
    return None if is_current else digest


def _clean_up(context: RuleContext) -> None:
    """Remove leftovers of killed invocations and jobs, and markers that are no longer needed."""
    plan, store = context.plan, context.store
    with contextlib.suppress(OSError):  # another user's, which this study does not need
        cache_logits.release_all_caches(store)
        for path in fingerprint.find_orphans_of_report(Path(context.report_dir)):
            path.unlink(missing_ok=True)
    for name in plan.nodes_by_name:
        Path(stale_marker(name)).unlink(missing_ok=True)
    for path in PACKS_FOLDER.glob("*"):  # the logs stay
        if path.suffix in (".json", ".done", ".made"):
            path.unlink(missing_ok=True)
    for marker in Path("logs/reports").glob(f"{plan.study.study}.{'[0-9a-f]' * 12}"):
        marker.unlink(missing_ok=True)
    for cache in plan.logit_caches:
        if not store.logit_cache(cache).exists():
            Path(cache_marker(cache)).unlink(missing_ok=True)
    for folder in plan.datasets:
        if folder not in context.data_ready:
            Path(prepared_marker(folder)).unlink(missing_ok=True)


def _tie_processes(options: SnakemakeOptions) -> None:
    """End this process with the parent of its search round, and jobs with this process."""
    starter = os.environ.pop(parent_watchdog.HEAD_VARIABLE, None)
    parent_watchdog.watch_parents(parent_watchdog.open_parent_fd(starter))
    if not (options.is_remote or options.is_dry_run):
        head = parent_watchdog.Head.of_this_process()
        head.note_token()
        os.environ[parent_watchdog.HEAD_VARIABLE] = str(head)
