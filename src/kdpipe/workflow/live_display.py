"""The live display of a start on a terminal, by rich: a bar, the time left, and what runs now."""

import time
from typing import TextIO

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from kdpipe.plan import estimate
from kdpipe.workflow.run_state import JobRow, RunState

REFRESH_SECONDS = 1.0  # seconds between two readings of the results folder
MAX_ROWS = 12  # of running jobs; the others are counted


class LiveDisplay:
    """Live display of a start; lines that are printed meanwhile scroll away above it.

    Parameters
    ----------
    run_state : RunState
        The jobs of the start.
    stream : file
        A terminal.
    """

    def __init__(self, run_state: RunState, stream: TextIO):
        self.run_state = run_state
        self._render_time = 0.0
        self._last_render: RenderableType = ""
        self.console = Console(file=stream, highlight=False)
        self.live = Live(
            console=self.console,
            get_renderable=self.render,
            refresh_per_second=2,
            transient=True,  # the summary takes its place
            redirect_stdout=False,
            redirect_stderr=False,
        )

    def start(self) -> None:
        """Show the display."""
        self.live.start()

    def stop(self) -> None:
        """Take the display away."""
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
        """Render what the results folder holds now."""
        run_state = self.run_state
        share = run_state.estimate_eta().share
        elapsed = estimate.format_seconds(time.monotonic() - run_state.start_time)
        bar = Table.grid(padding=(0, 1))
        bar.add_row(
            Text(run_state.plan.study.study, style="bold"),
            ProgressBar(total=1.0, completed=share, width=40),
            f"{100 * share:.0f} %",
        )
        times = f"{elapsed} gone, time left: {run_state.format_time_left()}"
        counts = Text(run_state.format_counts(), style="dim")
        rows = Table.grid(padding=(0, 2))
        jobs = run_state.list_jobs()
        for job in jobs[:MAX_ROWS]:
            rows.add_row("", job.activity, job.name, *_format_progress(job))
        lines: list[RenderableType] = [bar, times, counts, rows]
        if len(jobs) > MAX_ROWS:
            lines.append(f"   and {len(jobs) - MAX_ROWS} more at work")
        if run_state.failed:
            lines.append(Text(f"{len(run_state.failed)} failed", style="red"))
        return Group(*lines)


def _format_progress(job: JobRow) -> tuple[str, str]:
    """Return the epoch and the validation error of a job, empty where it has none."""
    if not job.epochs:
        return "", ""
    error = "" if job.progress.error is None else f"validation error {job.progress.error:.1f} %"
    return f"epoch {job.progress.epoch} of {job.epochs}", error
