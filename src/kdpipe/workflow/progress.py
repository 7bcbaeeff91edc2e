"""The messages of a Snakemake invocation while it runs, and its summary.

On a terminal this is a live display, otherwise one line per finished job. Errors and warnings of
Snakemake are one line each in both cases. Snakemake's own output is in its log file, and is shown
with `--verbose`. The logger plugin creates the reporter and passes on the start and end of jobs,
the head process adds the study (`attach_study`); the summary comes from `status_text`.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TextIO

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from kdpipe.jobs import forkserver
from kdpipe.plan import estimate, status
from kdpipe.plan.labels import replace_names
from kdpipe.text import escape, shorten_line
from kdpipe.workflow import status_text, stopped_processes
from kdpipe.workflow.rule_context import PACKED_RULE, RuleContext
from kdpipe.workflow.run_state import JobRow, RunState
from kdpipe.workflow.stopped_processes import ServerWatch, StoppedProcess

# The live display on a terminal, by rich: a progress bar, the time left and the running jobs.

REFRESH_SECONDS = 1.0  # seconds between two scans of the results folder
STOPPED_SECONDS = 20.0  # seconds between two searches for stopped processes
MAX_ROWS = 12  # of running jobs; the others are counted


class LiveDisplay:
    """Live display of an invocation; lines that are printed meanwhile scroll above it.

    Parameters
    ----------
    run_state : RunState
        The jobs of the invocation.
    stream : file
        A terminal.
    """

    def __init__(self, run_state: RunState, stream: TextIO):
        self.run_state = run_state
        self._render_time = 0.0
        self._last_render: RenderableType = ""
        self._server_watch = ServerWatch()
        self._stuck: list[Text] = []
        self._stuck_time = time.monotonic()
        self.console = Console(file=stream, highlight=False)
        self.live = Live(
            console=self.console,
            get_renderable=self.render,
            refresh_per_second=2,
            transient=True,  # replaced by the summary
            redirect_stdout=False,
            redirect_stderr=False,
        )

    def start(self) -> None:
        """Show the display."""
        self.live.start()

    def stop(self) -> None:
        """Remove the display."""
        self._render_time = 0.0
        self.live.stop()

    def print_line(self, text: str) -> None:
        """Print a line above the display."""
        self.console.print(Text(text))

    def render(self) -> RenderableType:
        """Return the display; the results folder is read once a second."""
        if time.monotonic() - self._render_time > REFRESH_SECONDS:
            self._last_render, self._render_time = self._render_now(), time.monotonic()
        return self._last_render

    def _render_now(self) -> RenderableType:
        """Render the present state of the results folder."""
        run_state = self.run_state
        share = run_state.estimate_eta().share
        elapsed = estimate.format_seconds(time.monotonic() - run_state.start_time)
        bar = Table.grid(padding=(0, 1))
        bar.add_row(
            Text(run_state.plan.study.study, style="bold"),
            ProgressBar(total=1.0, completed=share, width=40),
            f"{100 * share:.0f} %",
        )
        times = f"{elapsed} elapsed, time left: {run_state.format_time_left()}"
        counts = Text(run_state.format_counts(), style="dim")
        rows = Table.grid(padding=(0, 2))
        jobs = run_state.list_jobs()
        for job in jobs[:MAX_ROWS]:
            rows.add_row("", job.activity, job.name, *_format_progress(job))
        lines: list[RenderableType] = [bar, times, counts, rows]
        if len(jobs) > MAX_ROWS:
            lines.append(f"   and {len(jobs) - MAX_ROWS} more running")
        if not run_state.is_remote:
            lines += self._list_stuck()
        if run_state.failed:
            lines.append(Text(f"{len(run_state.failed)} failed", style="red"))
        return Group(*lines)

    def _list_stuck(self) -> list[Text]:
        """Return a line for each process that does nothing, as of some seconds ago."""
        if time.monotonic() - self._stuck_time > STOPPED_SECONDS:
            self._stuck, self._stuck_time = _list_stuck(self._server_watch), time.monotonic()
        return self._stuck


def _list_stuck(watch: ServerWatch) -> list[Text]:
    """Return a line for each process that was stopped, and for a server that does not answer."""
    stopped, silent = stopped_processes.find_stopped(), watch.find_silent()
    lines = list(map(_format_stopped, stopped))
    if silent is not None and silent not in [process.pid for process in stopped]:
        text = (
            f"no answer: process {silent} (the server that starts the jobs) hangs; "
            f"`kill -9 {silent}` ends it, and jobs start without it"
        )
        lines.append(Text(text, style="yellow"))
    return lines


def _format_stopped(process: StoppedProcess) -> Text:
    """Return the line on a process that somebody has stopped."""
    text = f"stopped: process {process.pid} ({escape(shorten_line(process.command))}) does nothing"
    return Text(f"{text}; `kill -CONT {process.pid}` lets it continue", style="yellow")


def _format_progress(job: JobRow) -> tuple[str, str]:
    """Return the epoch and the top-1 validation error of a job, empty if it has none."""
    if not job.epochs:
        return "", ""
    error = (
        "" if job.progress.error is None else f"top-1 validation error {job.progress.error:.1f} %"
    )
    return f"epoch {job.progress.epoch} of {job.epochs}", error


MIN_LOG_BYTES = 2**20  # a disk with less is full
KILLED_REASON = "it ended without a message, as a job does that the system kills when out of memory"
# The end of the log of an interrupted job.
INTERRUPTED_PREFIXES = ("interrupted: ", "kdpipe: interrupted; ")


class ProgressReporter:
    """Reporter of one Snakemake invocation.

    Parameters
    ----------
    stream : file, optional
        Output stream; standard error by default.
    """

    def __init__(self, stream: TextIO | None = None):
        self.stream = stream or sys.stderr
        self.invocation = status_text.Invocation.from_process()
        self.context: RuleContext | None = None
        self.study_file = ""
        self.run_state: RunState | None = None
        self.display: LiveDisplay | None = None
        self.cores = 1
        self.has_forkserver = forkserver.has_forkserver()
        self.start_time = status_text.read_start_time(self.invocation)
        self.benchmark_seconds = time.monotonic() - self.start_time  # on one core, before any job
        self.is_stopped = False  # by Ctrl-C
        self.is_ending = False  # by SIGTERM, when the running jobs have ended
        self.planned_counts: dict[str, int] = {}  # by rule, of a dry run
        self.planned_jobs: list[str] = []  # of a dry run
        self.is_idle = False  # there was nothing to do
        self.has_summary = False  # it is printed
        self._printed_once: set[str] = set()
        self._is_closed = threading.Event()

    # Events of Snakemake.

    def start(self) -> None:
        """Show what is to do before the first job starts."""
        if self.context is None:
            return
        plan, requested = self.context.plan, self.context.requested
        records = self.context.store.load_records("runs")
        cost_model = estimate.build_cost_model(
            plan, self.context.device, records, self.context.max_jobs
        )
        if not self.has_forkserver:
            cost_model = replace(cost_model, start=None)
        self.run_state = RunState(
            plan,
            self.context.store,
            requested,
            cost_model,
            self.cores,
            self.context.options.is_remote,
            self.context.to_do - requested,
            frozenset(self.context.pack_by_node),
        )
        if not requested:
            return
        # A terminal that cannot move the cursor gets plain lines.
        if self.stream.isatty() and os.environ.get("TERM", "") not in ("dumb", "unknown"):
            self.display = LiveDisplay(self.run_state, self.stream)
            self.display.start()
        else:
            counts, time_left = self.run_state.format_counts(), self.run_state.format_time_left()
            self.print_line(f"study {plan.study.study}: {counts}; time left: {time_left}")
            if not self.context.options.is_remote:
                threading.Thread(target=self._watch_jobs, daemon=True).start()

    def begin_job(self, name: str) -> None:
        """Handle the start of a job; that of a pack is the start of all that it makes."""
        if self.run_state and name not in self.run_state.packed:
            for member in self._list_members(name):
                self.run_state.begin_job(member)

    def end_job(self, name: str) -> None:
        """Handle the end of a job, and print its result.

        What a pack has made ends one by one after it.
        """
        if self.run_state and self._is_pack(name):
            for member in self._list_members(name):
                self.run_state.interrupt_job(member)
            return
        line = self.run_state.end_job(name) if self.run_state else None
        if not self.run_state or not line:
            return
        if self.display is None:
            eta = self.run_state.estimate_eta()
            share = f"{100 * eta.share:.0f} %"
            if eta.left.seconds:
                left = estimate.format_range(eta.left.seconds, eta.left.width)
                share += f", {left} left{self.run_state.pace_note}"
            self.print_line(f"[{share}] {line}")
        elif name in self.run_state.not_done:
            self.print_line(line)

    def fail_job(
        self, rule: str, name: str, logs: Sequence[str], queue: str = "", is_submitted: bool = True
    ) -> None:
        """Handle the failure of a job, and print its reason.

        Parameters
        ----------
        rule, name : str
            Rule and target of the job.
        logs : sequence of str
            Its log files.
        queue : str
            Message of the cluster's queue.
        is_submitted : bool
            Whether the queue accepted it; a job that the queue rejected or ended cannot give the
            reason itself.
        """
        print_line = self.print_line
        if rule == PACKED_RULE and self.context is not None:
            print_line = self.print_once  # it is looked for as often as a job is tried again
            rule, logs = self.context.describe_packed(name)
        logs = [log for log in logs if os.path.exists(log)]
        last_line = _read_last_line(logs[0]) if logs and is_submitted else None
        if self.is_stopped or (last_line or "").startswith(INTERRUPTED_PREFIXES):
            if self.run_state:
                for member in self._list_members(name):
                    self.run_state.interrupt_job(member)
            if not self.is_stopped:
                label = self._label(name)
                self.print_line(
                    f"interrupted  {label}: its state is saved, it will resume from there"
                )
            return
        reason = self._read_failure_reason(rule, name) if is_submitted else None
        reason = reason or last_line or queue
        if queue and "'FAILED'" not in queue:  # a time limit, no memory, a dead node; no such queue
            reason = queue
        labels = self.run_state.labels if self.run_state else {}
        reason = reason or _find_full_disk(logs) or KILLED_REASON
        reason = shorten_line(replace_names(reason, labels))
        if self.run_state:
            for member in self._list_members(name):
                if self.run_state.is_made_by_pack(member):
                    self.run_state.interrupt_job(member)
                else:
                    self.run_state.fail_job(member, reason)
        log = f" ({self.invocation.display_path(Path(logs[0]))})" if logs and is_submitted else ""
        print_line(f"failed  {self._label(name)}: {reason}{log}")

    def report_stop(self) -> None:
        """Print that Ctrl-C stops the jobs."""
        self.is_stopped = True
        self._stop_display()
        is_remote = self.run_state is not None and self.run_state.is_remote
        jobs = "its jobs are removed from the queue" if is_remote else "its jobs end now"
        self.print_once(f"stopping: {jobs}, their progress is kept")
        if not is_remote:
            stopped_processes.end_jobs_later()

    def report_last_jobs(self) -> None:
        """Print that no further job is started after SIGTERM."""
        self.is_ending = True
        self.print_once("stopping when the running jobs have ended; Ctrl-C stops them too")

    def report_lock(self) -> None:
        """Print that another invocation is running in this folder, and what to do."""
        self.print_line(
            f"{Path.cwd()} is locked, since another invocation of this study is running in it: "
            "wait for it, or stop it. If there is none, which cannot be detected on a file system "
            f"without locks, run `{self.invocation.repeat_command('--unlock')}` and start again"
        )

    def close(self) -> None:
        """Print the summary, once."""
        self._is_closed.set()
        self._stop_display()
        context, self.context = self.context, None
        if context is None:
            return
        if self.planned_counts:
            lines = status_text.format_dry_run(context, self.planned_counts, self.planned_jobs)
            for line in lines:
                self.print_line(line)
        elif self.run_state is not None or self.is_idle:
            lines = status_text.format_summary(
                context, self.study_file, self.run_state, self.invocation, self.is_stopped
            )
            if self.run_state and self.run_state.core_seconds:
                core_seconds = self.run_state.core_seconds + self.benchmark_seconds
                seconds = time.monotonic() - self.start_time
                lines.append(status_text.format_duration(core_seconds, seconds))
            for line in lines:
                self.print_line(line)
            self.has_summary = True
        elif self.is_stopped:
            self.has_summary = True
            command = self.invocation.repeat_command()
            self.print_line(f"stopped before anything was started; `{command}` starts it")

    # Lines.

    def print_line(self, text: str) -> None:
        """Print a line, above the live display if there is one."""
        if self.display:
            self.display.print_line(escape(text))
        else:
            print(escape(text), file=self.stream, flush=True)

    def print_once(self, text: str) -> None:
        """Print a line that every job may repeat."""
        if text not in self._printed_once:
            self._printed_once.add(text)
            self.print_line(text)

    def _is_pack(self, name: str) -> bool:
        """Return whether a job is a pack, which makes several runs."""
        return self.context is not None and name in self.context.packs

    def _list_members(self, name: str) -> list[str]:
        """Return the names of what a job makes, which are several for a pack."""
        if self.context is None or name not in self.context.packs:
            return [name]
        return [node.name for node in self.context.packs[name].nodes]

    def _label(self, name: str) -> str:
        """Return what a line calls a job: its name ends in a digest, which is there for files."""
        if self._is_pack(name):
            return f"a job of {len(self._list_members(name)):,} short runs"
        return self.run_state.labels.get(name, name) if self.run_state else name

    def _stop_display(self) -> None:
        """Remove the live display."""
        if self.display:
            self.display.stop()
            self.display = None

    def _watch_jobs(self) -> None:
        """Print, until the invocation ends, a line for each process that does nothing.

        Also once the time left as soon as finished epochs have corrected it, if no line of a job
        that has ended says it.
        """
        watch, has_pace = ServerWatch(), False
        while not self._is_closed.wait(STOPPED_SECONDS):
            if self.run_state and not self.run_state.ended and not has_pace:
                time_left = self.run_state.format_time_left()
                has_pace = bool(self.run_state.paces)
                if has_pace:
                    self.print_line(f"time left: {time_left}")
            for line in _list_stuck(watch):
                self.print_once(line.plain)

    def _read_failure_reason(self, rule: str, name: str) -> str | None:
        """Return the reason that a job itself has logged for its failure."""
        if self.context is None:
            return None
        plan, store = self.context.plan, self.context.store
        if rule == "table":
            return store.failure_reason("tables", f".{name}")
        if rule == "prepare":
            return store.failure_reason("data", name)
        node = plan.nodes_by_name.get(name)
        return node and status.find_missing_reason(node, plan, store, {})[1]


def _find_full_disk(logs: Sequence[str]) -> str | None:
    """Return that a job could log no reason since the disk of its logs is full."""
    for folder in (os.path.dirname(log) or "." for log in logs):
        space = os.statvfs(folder)
        if space.f_bavail * space.f_frsize < MIN_LOG_BYTES:
            return f"no space left on the disk of {folder}/, so its reason could not be logged"
    return None


# Of this process: created by the logger plugin before the Snakefile is parsed.
current_reporter: ProgressReporter | None = None


def attach_study(context: RuleContext, study_file: str) -> None:
    """Attach the study to the reporter of this process, if there is one.

    Parameters
    ----------
    context : RuleContext
        The study.
    study_file : str
        Its file, as for command lines.
    """
    if current_reporter is not None:
        current_reporter.context, current_reporter.study_file = context, study_file
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, _on_sigint)


def is_kdpipe_run() -> bool:
    """Return whether `kdpipe run` has started this Snakemake."""
    return current_reporter is not None and current_reporter.invocation.is_kdpipe


def render_partial_report(context: RuleContext) -> None:
    """Render the report of an invocation with failures, from the records that exist."""
    if context.plan.share or (current_reporter is not None and current_reporter.is_stopped):
        return
    states = status.get_plan_status(context.plan, context.store)
    if all(state == "to do" for state in states.values()):
        return
    if current_reporter is not None:
        current_reporter.begin_job("render")
    subprocess.run(
        [sys.executable, "-m", "kdpipe", "report", "-"],
        input=context.study_json,
        text=True,
        encoding="utf-8",
        stdout=subprocess.DEVNULL,  # the summary lists what is missing
    )
    if current_reporter is not None:
        current_reporter.end_job("render")


def _on_sigint(number, frame) -> None:
    """Register the stop at once: jobs that the same signal ends have not failed."""
    if current_reporter is not None:
        current_reporter.is_stopped = True
    stopped_processes.continue_stopped()
    signal.default_int_handler(number, frame)


def _read_last_line(log: str) -> str | None:
    """Return the last line of a log file."""
    try:
        lines = Path(log).read_text("utf-8", errors="replace").strip().splitlines()
    except OSError:
        return None
    return lines[-1] if lines else None
