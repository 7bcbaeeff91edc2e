"""The live display of a start on a terminal, by rich: a bar, the time left, and what runs now."""

import time

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from kdpipe.plan.cost import said
from kdpipe.workflow.course import Course, Row

LOOKS = 1.0  # seconds between two looks into the results folder
ROWS = 12  # of jobs at work; of more their number is said


class Screen:
    """Shows a course until it is stopped; lines that are said scroll away above it."""

    def __init__(self, course: Course, stream):
        self.course = course
        self._looked = 0.0
        self._last: RenderableType = ""
        self.console = Console(file=stream, highlight=False)
        self.live = Live(
            console=self.console,
            get_renderable=self.shown,
            refresh_per_second=2,
            transient=True,  # at the end there are the last words
            redirect_stdout=False,
            redirect_stderr=False,
        )

    def start(self) -> None:
        self.live.start()

    def stop(self) -> None:
        self._looked = 0.0
        self.live.stop()

    def say(self, text: str) -> None:
        self.console.print(Text(text))

    def shown(self) -> RenderableType:
        """The display as it is now; the results folder is looked into once a second."""
        if time.monotonic() - self._looked > LOOKS:
            self._last, self._looked = self._now(), time.monotonic()
        return self._last

    def _now(self) -> RenderableType:
        course = self.course
        share = course.outlook().share
        gone = said.as_seconds(time.monotonic() - course.began)
        time_left = f"time left: {course.time_left()}"
        bar = Table.grid(padding=(0, 1))
        bar.add_row(
            Text(course.plan.study.study, style="bold"),
            ProgressBar(total=1.0, completed=share, width=40),
            f"{100 * share:.0f} %",
        )
        rows = Table.grid(padding=(0, 2))
        at_work = course.rows()
        for row in at_work[:ROWS]:
            rows.add_row("", row.what, row.name, *_place(row))
        counts = Text(course.counts(), style="dim")
        lines: list[RenderableType] = [bar, f"{gone} gone, {time_left}", counts, rows]
        if len(at_work) > ROWS:
            lines.append(f"   and {len(at_work) - ROWS} more at work")
        if course.failed:
            lines.append(Text(f"{len(course.failed)} failed", style="red"))
        return Group(*lines)


def _place(row: Row) -> tuple[str, str]:
    if not row.epochs:
        return "", ""
    error = "" if row.place.error is None else f"validation error {row.place.error:.1f} %"
    return f"epoch {row.place.epoch} of {row.epochs}", error
