"""Text on the state of a study: done, running, failed, to do, and the time left.

It is read from the results folder alone, so it works next to a running Snakemake, and needs no
torch.
"""

import csv
import io
import os
import shlex
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from kdpipe.analysis.preregistration import registration
from kdpipe.analysis.search import rounds
from kdpipe.errors import KdpipeError
from kdpipe.plan import estimate, share, status
from kdpipe.plan.labels import label_nodes, replace_names
from kdpipe.plan.nodes import Plan
from kdpipe.plan.render import format_run_count
from kdpipe.runs.files import open_regular_file
from kdpipe.runs.integrity import data_drift
from kdpipe.runs.store import Store, is_running
from kdpipe.text import format_count, join_names, shorten_line
from kdpipe.workflow import run_snakemake
from kdpipe.workflow.rule_context import PARTIAL_TARGETS, RuleContext
from kdpipe.workflow.run_state import RunState, find_running_jobs, price_plan, read_progress


def format_status(
    plan: Plan, store: Store, device: str = "cpu", gpu_jobs: int | None = None
) -> str:
    """Return the state of a study on one screen.

    Parameters
    ----------
    plan : Plan
        The plan; in a search the part of it that is decided.
    store : Store
        Its results.
    device : {"cpu", "cuda"}
        Device of its runs.
    gpu_jobs : int, optional
        Jobs that the GPUs hold at a time; None without GPUs.
    """
    states = status.get_plan_status(plan, store)
    records, damaged = store.scan_records("runs")
    pending = [run for run in plan.runs.values() if states[run.name] == "to do"]
    running = [run for run in pending if is_running(store.run(run.name))]
    damaged_runs = {run.name: damaged[run.name] for run in pending if run.name in damaged}
    failed = {
        run.name: reason
        for run in pending
        if run not in running
        and run.name not in damaged_runs
        and (reason := store.failure_reason("runs", run.name)) is not None
    }
    others = {run.name for run in running} | damaged_runs.keys() | failed.keys()
    progress = {run.name: read_progress(store.run(run.name)) for run in pending}
    interrupted = [run for run in pending if run.name not in others and progress[run.name].epoch]
    labels = label_nodes(plan)
    counts = Counter(states[name] for name in plan.runs)
    counts.update(interrupted=len(interrupted))
    counts["to do"] -= len(interrupted)
    counts.update(running=len(running), failed=len(failed), damaged=len(damaged_runs))
    counts["to do"] -= len(running) + len(failed) + len(damaged_runs)
    order = ("done", "diverged", "skipped", "damaged", "running", "interrupted", "failed", "to do")
    counts_text = ", ".join(f"{counts[state]:,} {state}" for state in order if counts[state])
    lines = [f"study {plan.study.study}: {format_run_count(plan)}: {counts_text}"]
    if (blinding := registration.find_blinding_reason(plan, store)) is not None:
        lines.append(f"sealed: {blinding}")
    if not store.root.is_dir():
        lines.append(f"no results yet at {store.root.absolute()}")
    if plan.ensembles:
        done = sum(states[name] != "to do" for name in plan.ensembles)
        lines.append(f"{format_count(len(plan.ensembles), 'ensemble')}: {done:,} evaluated")
    if plan.probes:
        done = sum(states[name] != "to do" for name in plan.probes)
        lines.append(f"{format_count(len(plan.probes), 'probe')} on other data: {done:,} finished")
    if plan.gauges:
        done = sum(states[name] != "to do" for name in plan.gauges)
        lines.append(f"{format_count(len(plan.gauges), 'exported network')}: {done:,} measured")
    caches = {cache.name: cache for run in pending for cache in run.logit_caches}
    caches_in_progress = find_running_jobs(caches.values(), store)
    if caches:
        n_made = sum(store.logit_cache(name).exists() for name in caches)
        lines.append(
            f"{format_count(len(caches), 'logit cache')} for pending runs: {n_made:,} done, "
            f"{len(caches_in_progress):,} in progress"
        )
    for run in running:
        epoch, error = progress[run.name].epoch, progress[run.name].error
        error_text = "" if error is None else f", top-1 validation error {error:.1f} %"
        lines.append(
            f"  running  {labels[run.name]}: epoch {epoch} of {run.epochs} done{error_text}"
        )
    lines += [f"  running  {labels[cache.name]}" for cache in caches_in_progress]
    for run in interrupted:
        lines.append(
            f"  interrupted  {labels[run.name]}: resumes after epoch {progress[run.name].epoch} of "
            f"{run.epochs}"
        )
    for name in plan.runs:
        if states[name] in ("diverged", "skipped"):
            reason = replace_names(records[name]["reason"], labels)
            lines.append(f"  {states[name]}  {labels[name]}: {reason}")
    for kind in ("ensembles", "probes", "gauges"):
        damaged_records = store.scan_records(kind)[1]
        for name in plan.recorded_nodes[kind]:
            if states[name] != "to do":
                continue
            if is_running(store.root / kind / name):
                lines.append(f"  running  {labels[name]}")
            elif name in damaged_records:
                damaged_runs[name] = damaged_records[name]
            elif (reason := store.failure_reason(kind, name)) is not None:
                failed[name] = reason
    failed |= _failed_inputs(plan, store, states)
    lines += [f"  damaged  {labels[name]}: {reason}" for name, reason in damaged_runs.items()]
    for name, reason in failed.items():
        reason = replace_names(reason, labels)
        lines.append(f"  failed  {labels[name]}: {reason}{_format_log(name, plan, store)}")
    stale = status.find_stale(plan, store)
    for name, reason in stale.items():
        lines.append(f"  outdated  {labels[name]}: {replace_names(reason, labels)}")
    if stale:
        lines.append(
            f"{len(stale):,} outdated: `kdpipe prune STUDY... --outdated`, with every study of "
            "these results, lists them, and with --yes removes them; the next kdpipe run computes "
            "them again"
        )
    of_copies = status.find_students_of_copies(plan, store)
    for name, reason in of_copies.items():
        lines.append(f"  other copy  {labels[name]}: {replace_names(reason, labels)}")
    if of_copies:
        lines.append(
            f"{len(of_copies):,} made of another copy of a run than the one here, merged from "
            "another machine: they count like the others, and nothing removes them"
        )
    lines += data_drift.find_changed_images(plan.study)
    if "to do" in states.values():
        n_running = len(running) + len(caches_in_progress)
        left = price_plan(plan, device, store, gpu_jobs, n_running).total
        lines.append(f"time left: {estimate.format_time_left(left)}")
    return "\n".join(lines)


def find_renamed_reports(plan: Plan, reports: Path) -> list[str]:
    """Return a line for each report of the same runs under another study's name.

    Renaming a study leaves such a report behind.

    Parameters
    ----------
    plan : Plan
        The plan.
    reports : Path
        Folder of the reports of all studies.
    """
    run_names = plan.nodes_by_name.keys()
    lines = []
    for path in sorted(reports.glob("*/results.csv")):
        if path.parent.name == plan.study.study:
            continue
        try:
            with io.TextIOWrapper(open_regular_file(path), "utf-8", newline="") as file:
                report_names = {row.get("run") for row in csv.DictReader(file)}
        except (OSError, ValueError, csv.Error):
            continue
        if report_names == run_names:
            lines.append(
                f"{path.parent} is a report of the same runs under another name: if the study was "
                "renamed, remove it"
            )
    return lines


def format_incomplete(plan: Plan, store: Store, study: str) -> str:
    """Return what a report lacks, and the command that shows why; empty if it lacks nothing.

    Parameters
    ----------
    plan, store : Plan, Store
        The study and its results.
    study : str
        Its file, or `-` for standard input.
    """
    states = status.get_plan_status(plan, store)
    parts: list[str] = []
    n_failed = 0
    for kind, words in {"runs": "runs", "gauges": "networks measured as files"}.items():
        nodes = plan.recorded_nodes[kind]
        pending = [name for name in nodes if states[name] == "to do"]
        damaged = store.scan_records(kind)[1] if pending else {}
        n_failed += sum(
            not is_running(store.root / kind / name)
            and status.find_missing_reason(nodes[name], plan, store, damaged)[1] is not None
            for name in pending
        )
        parts += [f"{len(pending):,} of {len(nodes):,} {words}"] if pending else []
    if not parts:
        return ""
    text = f" without {' and '.join(parts)}"
    if not n_failed:
        return text
    file = "FILE" if study == "-" else shlex.quote(study)
    return f"{text}, of which {n_failed:,} failed: see kdpipe status {file}"


def _failed_inputs(plan: Plan, store: Store, states: dict[str, str]) -> dict[str, str]:
    """Return the reasons, by name, why inputs of pending jobs (data sets, logit caches) failed."""
    reasons: dict[str, str] = {}
    for name, node in plan.nodes_by_name.items():
        if states[name] == "to do":
            for input_name, reason in status.iter_failed_inputs(node, plan, store):
                reasons[input_name.partition(" ")[2]] = reason  # `data NAME`, `table NAME`
    return reasons


def _format_log(name: str, plan: Plan, store: Store) -> str:
    """Return where the log of a failed job is, if it is there."""
    node = plan.nodes_by_name.get(name) or plan.logit_caches.get(name)
    path = store.root.parent / "logs" / (node.kind if node else "data") / f"{name}.log"
    return f" ({path})" if path.is_file() else ""


# The summary of an invocation: its results, where they are, and the next command.


@dataclass(frozen=True)
class Invocation:
    """The command line that started a study.

    Attributes
    ----------
    words : tuple of str
        The command line.
    folder : Path
        Working folder of the command.
    """

    words: tuple[str, ...]
    folder: Path

    @classmethod
    def from_process(cls) -> "Invocation":
        """Return the invocation of this process: `kdpipe run` or Snakemake."""
        words = run_snakemake.read_invocation()
        if words is None:
            return cls(("snakemake", *sys.argv[1:]), Path.cwd())
        return cls(("kdpipe", "run", *words), Path.cwd())

    @property
    def is_kdpipe(self) -> bool:
        """Return whether it is `kdpipe run`, not Snakemake."""
        return self.words[:1] == ("kdpipe",)

    def repeat_command(self, *more: str) -> str:
        """Return the same command line, with more options."""
        return shlex.join([*self.words, *more])

    def full_command(self) -> str:
        """Return the command line without targets and files, for the whole study."""
        words = [
            word
            for word in self.words
            if word not in PARTIAL_TARGETS and not word.startswith("results/")
        ]
        return shlex.join(words[:-1] if words[-1] == "--" else words)

    def display_path(self, path: Path) -> Path:
        """Return a path relative to the user's folder, though Snakemake may work elsewhere."""
        return path if Path.cwd() == self.folder else path.absolute()

    def study_command(self, word: str, study: str, *options: str) -> str:
        """Return the command line of another command, such as `status`, for the same study."""
        results_option = (
            [] if Path.cwd() == self.folder else ["--results", str(Path("results").absolute())]
        )
        return shlex.join(["kdpipe", word, study, *options, *results_option])


def format_summary(
    context: RuleContext,
    study: str,
    run_state: RunState | None,
    invocation: Invocation,
    is_stopped: bool,
) -> list[str]:
    """Return the summary that is printed at the end of an invocation.

    Parameters
    ----------
    context : RuleContext
        The study.
    study : str
        Its file.
    run_state : RunState or None
        The jobs; None if none ran.
    invocation : Invocation
        The command line.
    is_stopped : bool
        Whether it was stopped with Ctrl-C.
    """
    try:
        states = status.get_plan_status(context.plan, context.store)
    except KdpipeError as error:
        return [str(error)]
    run_counts = Counter(states[name] for name in context.plan.runs)
    has_pending = "to do" in states.values()
    failed = run_state.failed if run_state else {}
    part = f", share {context.plan.share}" if context.plan.share else ""
    heading = f"study {context.plan.study.study}{part}: "
    if not has_pending:
        heading += "nothing to do, " if run_state is None or not run_state.nodes else ""
    heading += _format_counts(run_counts)
    if is_stopped and (has_pending or failed):
        command = invocation.repeat_command()
        return [f"{heading}; it was stopped, `{command}` resumes each run from its saved state"]
    if failed:
        return _failure_lines(heading, failed, context, study, invocation, has_pending)
    if context.plan.share is not None and (not has_pending or context.awaited):
        return [heading, *_describe_next_steps(context, study, invocation)]
    if has_pending:
        rest = _describe_rest(context, states)
        return [f"{heading}{rest}; `{invocation.full_command()}` runs the rest"]
    if (next_round := _describe_next_round(context)) is not None:
        return [heading, f"{next_round}: `{invocation.repeat_command()}` continues"]
    page = Path(context.report_dir) / "index.html"
    return [
        heading,
        *(_recommendation_lines(context, page, study, invocation) if page.exists() else ()),
    ]


def _describe_next_steps(context: RuleContext, study: str, invocation: Invocation) -> list[str]:
    """Return what to do after a share of a study."""
    if context.awaited:
        return [
            *share.describe_awaited(context.awaited, context.plan),
            f"then `{invocation.repeat_command()}` continues",
        ]
    assert context.plan.share is not None
    if context.plan.share.count == 1:
        return [f"`{shlex.join(['kdpipe', 'run', study])}` renders the report"]
    folder = context.store.root.absolute()
    return [
        f"next: bring {folder} and the results of the other shares to one machine, "
        "`kdpipe merge RESULTS...` there, with their folders, and "
        f"`{shlex.join(['kdpipe', 'run', study])}`, which renders the report"
    ]


# Of each rule what its jobs make, in the order of the workflow.
RULE_PRODUCTS = {
    "prepare": ("data set", "data sets"),
    "table": ("logit cache", "logit caches"),
    "train": ("run", "runs"),
    "score": ("ensemble", "ensembles"),
    "probe": ("probe", "probes"),
    "gauge": ("exported network", "exported networks"),
    "render": ("report", "reports"),
}


def format_dry_run(
    context: RuleContext, counts: Mapping[str, int], jobs: Sequence[str]
) -> list[str]:
    """Return the summary of a dry run: what would be made, and what first.

    Parameters
    ----------
    context : RuleContext
        The study.
    counts : mapping of str to int
        Jobs that would be started, by rule.
    jobs : sequence of str
        Names of the jobs, those that wait for no other first.
    """
    counts, packed = Counter(counts), context.pack_by_node.keys() & jobs
    n_caches = len(packed & context.plan.logit_caches.keys())
    counts.update(train=len(packed) - n_caches, table=n_caches)
    products = [
        f"{counts[rule]:,} {words[counts[rule] > 1]}"
        for rule, words in RULE_PRODUCTS.items()
        if counts.get(rule)
    ]
    runs = context.plan.runs.keys() & jobs
    roles = Counter(role for name in runs for role in context.plan.roles.get(name, ()))
    lines = [f"study {context.plan.study.study}: a dry run; to do: {', '.join(products)}"]
    if roles:
        words = [f"{roles[role]:,} {role}" for role in ("teacher", "scratch", "student")]
        overlap = " (some in more than one role)" if roles.total() > len(runs) else ""
        lines.append(f"runs by kind: {', '.join(words)}{overlap}")
    if packed:
        n_jobs = format_count(counts["pack"], "job")
        lines.append(f"short runs share a job: {n_jobs} for {len(packed):,} of them")
    nodes = (context.plan.nodes_by_name, context.plan.logit_caches, context.plan.datasets)
    labels = label_nodes(context.plan)
    first_jobs = [labels[name] for name in jobs if any(name in known for known in nodes)][:3]
    lines += [f"first: {'; '.join(first_jobs)}"] if first_jobs else []
    return [*lines, "`--verbose` lists every job as Snakemake does"]


def read_start_time(invocation: Invocation) -> float:
    """Return the start time of the command by the monotonic clock, maybe before a benchmark."""
    now, text = time.monotonic(), os.environ.pop(run_snakemake.START_TIME_ENV, "")
    try:
        start_time = float(text)
    except ValueError:
        return now
    return start_time if invocation.is_kdpipe and 0 <= start_time <= now else now


def format_duration(core_seconds: float, seconds: float) -> str:
    """Return the line on the wall time and the core-hours of an invocation."""
    return f"took {estimate.format_seconds(seconds)}, {core_seconds / 3600:.2f} core-hours"


def _describe_rest(context: RuleContext, states: Mapping[str, str]) -> str:
    """Return what is to do beside runs, as the continuation of a sentence, if no run is."""
    plan = context.plan
    if any(states[name] == "to do" for name in plan.runs):
        return ""
    kinds = {"ensemble": plan.ensembles, "probe": plan.probes, "exported network": plan.gauges}
    counts = {kind: sum(states[n] == "to do" for n in names) for kind, names in kinds.items()}
    return f", {join_names(format_count(n, kind) for kind, n in counts.items() if n)} to do"


def _describe_next_round(context: RuleContext) -> str | None:
    """Return the round of a search that is decided and not started; None if there is none."""
    search_state = rounds.get_search_state(context.study, context.store)
    if search_state is None or search_state.current_round is None:
        return None
    next_round = search_state.current_round
    return f"round {next_round.number} of the search is decided ({next_round})"


def _format_counts(run_counts: Mapping[str, int]) -> str:
    """Return how many runs are done, and how many of them diverged or were skipped."""
    total, waiting = sum(run_counts.values()), run_counts["to do"]
    not_done = [f"{run_counts[s]:,} {s}" for s in ("diverged", "skipped") if run_counts[s]]
    suffix = f" ({', '.join(not_done)})" if not_done else ""
    if waiting:
        return f"{total - waiting:,} of {total:,} runs are done{suffix}"
    return f"{f'all {total:,} runs are' if total != 1 else 'the run is'} done{suffix}"


def _failure_lines(
    heading: str,
    failed: Mapping[str, str],
    context: RuleContext,
    study: str,
    invocation: Invocation,
    has_pending: bool,
) -> list[str]:
    """Return the lines on failed jobs, or on a report that could not be rendered."""
    first, reason = next(iter(failed.items()))
    if not has_pending:  # so it is the report that could not be rendered
        report_command = invocation.study_command("report", study)
        return [
            f"{heading}, the report failed: {shorten_line(reason)}",
            f"`{report_command}` renders it again",
        ]
    status_command = invocation.study_command("status", study)
    label = label_nodes(context.plan).get(first, first)
    return [
        f"{heading}, {len(failed):,} failed; the first, {label}: {shorten_line(reason)}",
        f"`{status_command}` shows the reasons; after fixing them, `{invocation.repeat_command()}` "
        "continues",
    ]


def _recommendation_lines(
    context: RuleContext, page: Path, study: str, invocation: Invocation
) -> list[str]:
    """Return the lines on the recommendation of the report; only they need pandas."""
    from kdpipe.report import terminal_summary

    page, store = invocation.display_path(page), Store(invocation.display_path(context.store.root))
    store = status.hide_altered(context.plan, store)
    altered_runs = sorted(store.altered["runs"])
    if altered_runs:
        runs = "1 run has" if len(altered_runs) == 1 else f"{len(altered_runs):,} runs have"
        reason = shorten_line(store.altered["runs"][altered_runs[0]])
        return [
            f"page: {page}",
            f"{runs} altered files and cannot be used; the first, "
            f"{label_nodes(context.plan)[altered_runs[0]]}: {reason}",
        ]
    try:
        export = invocation.study_command("export", study, "--best")
        return terminal_summary.describe_outcome(context.plan, store, page, export, study)
    except KdpipeError as error:
        return [f"page: {page}", str(error)]
