"""The summary of a start: what came of it, where that is, and what to type next."""

import os
import shlex
import sys
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from kdpipe.analysis.search import rounds
from kdpipe.errors import KdpipeError
from kdpipe.plan import estimate, status
from kdpipe.runs.store import Store
from kdpipe.text import shorten_line
from kdpipe.workflow import run_snakemake
from kdpipe.workflow.rule_context import PARTIAL_TARGETS, RuleContext
from kdpipe.workflow.run_state import RunState


@dataclass(frozen=True)
class Invocation:
    """What was typed to start a study.

    Attributes
    ----------
    words : tuple of str
        The command line.
    folder : Path
        Folder that it was typed in.
    """

    words: tuple[str, ...]
    folder: Path

    @classmethod
    def from_process(cls) -> "Invocation":
        """Return what started this process: `kdpipe run`, by the environment, or Snakemake."""
        words = os.environ.get(run_snakemake.INVOCATION_ENV)
        if words is None:
            return cls(("snakemake", *sys.argv[1:]), Path.cwd())
        return cls(("kdpipe", "run", *shlex.split(words)), Path.cwd())

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
        """Return a path as seen from where this was typed, though Snakemake works elsewhere."""
        return path if Path.cwd() == self.folder else path.absolute()

    def study_command(self, word: str, study: str, *options: str) -> str:
        """Return the command line of another verb for the same study, as `kdpipe status`."""
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
    """Return the lines that are printed at the end of a start.

    Parameters
    ----------
    context : RuleContext
        The study.
    study : str
        Its file.
    run_state : RunState or None
        The jobs; None if none ran.
    invocation : Invocation
        What was typed.
    is_stopped : bool
        Whether it was stopped by Ctrl-C.
    """
    try:
        states = status.get_plan_status(context.plan, context.store)
    except KdpipeError as error:
        return [str(error)]
    run_counts = Counter(states[name] for name in context.plan.runs)
    has_pending = "to do" in states.values()
    failed = run_state.failed if run_state else {}
    heading = f"study {context.plan.study.study}: "
    if not has_pending:
        heading += "nothing to do, " if run_state is None or not run_state.nodes else ""
    heading += _format_counts(run_counts)
    if is_stopped and (has_pending or failed):
        command = invocation.repeat_command()
        return [f"{heading}; it was stopped, `{command}` goes on where each run stood"]
    if failed:
        return _failure_lines(heading, failed, context, study, invocation, has_pending)
    if has_pending:
        return [f"{heading}; `{invocation.full_command()}` does the rest"]
    if (next_round := _describe_next_round(context)) is not None:
        return [heading, f"{next_round}: `{invocation.repeat_command()}` goes on"]
    page = Path(context.report_dir) / "index.html"
    return [
        heading,
        *(_recommendation_lines(context, page, study, invocation) if page.exists() else ()),
    ]


def read_start_time() -> float:
    """Return when this start was typed, by the monotonic clock, maybe before a benchmark."""
    now = time.monotonic()
    try:
        return min(now, float(os.environ.pop(run_snakemake.START_TIME_ENV, now)))
    except ValueError:
        return now


def format_duration(core_seconds: float, seconds: float) -> str:
    """Return the line on the wall time and the core-hours of a start."""
    return f"took {estimate.format_seconds(seconds)}, {core_seconds / 3600:.2f} core-hours"


def _describe_next_round(context: RuleContext) -> str | None:
    """Return the round of a search that is decided and not begun; None if there is none."""
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
    return f"all {total:,} runs are done{suffix}"


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
            f"{heading}, its report failed: {shorten_line(reason)}",
            f"`{report_command}` renders it again",
        ]
    status_command = invocation.study_command("status", study)
    return [
        f"{heading}, {len(failed):,} failed; the first, {first}: {shorten_line(reason)}",
        f"`{status_command}` says why each has failed; when it is mended, "
        f"`{invocation.repeat_command()}` goes on",
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
            f"{runs} files that are altered, and count no more; the first, {altered_runs[0]}: "
            f"{reason}",
        ]
    try:
        export = invocation.study_command("export", study, "--best")
        return terminal_summary.describe_outcome(context.plan, store, page, export)
    except KdpipeError as error:
        return [f"page: {page}", str(error)]
