"""What a start tells: what goes on while it runs, and at its end what came of it.

On a terminal one live display, else a line for each job that made something; failures, and what
Snakemake warns of, in one line each either way. Snakemake's own account is in its log file, and
comes back with `--verbose`. The Snakefile says which study it is (`tell_of`), the logger plugin
which jobs begin and end.
"""

import os
import shlex
import sys
import textwrap
import time
from dataclasses import replace
from pathlib import Path

from kdpipe.errors import KdpipeError
from kdpipe.jobs import preloaded
from kdpipe.plan import hindrances, status
from kdpipe.plan.cost import price, said
from kdpipe.wording import printable
from kdpipe.workflow.course import Course
from kdpipe.workflow.dag import Dag
from kdpipe.workflow.screen import Screen

WIDEST = 300  # characters of a line that somebody else has written


class Teller:
    """Tells of one start of Snakemake; `dry` where nothing is run."""

    def __init__(self, stream=None):
        self.stream = stream or sys.stderr
        self.dag: Dag | None = None
        self.study_file: str | None = None
        self.course: Course | None = None
        self.screen: Screen | None = None
        self.cores = 1
        self.preloaded = preloaded.STARTED in os.environ
        self.began = time.monotonic()
        self.stopped = False
        self.nothing = False
        self.log: str | None = None

    # --- what is said to it

    def start(self) -> None:
        """Jobs are about to be started."""
        if self.dag is None:
            return
        made, names = self.dag.plan, self.dag.asked
        records = self.dag.store.records("runs")
        found = price.of(made, self.dag.device, records, self.dag.at_once)
        if not self.preloaded:
            found = replace(found, start=None)
        later = self.dag.to_do - names
        self.course = Course(made, self.dag.store, names, found, self.cores, self.dag.remote, later)
        if not names:
            return
        if self.stream.isatty():
            self.screen = Screen(self.course, self.stream)
            self.screen.start()
        else:
            left = said.time_left(self.course.left())
            self.say(f"study {made.study.study}: {self.course.counts()}; time left: {left}")

    def begin(self, name: str) -> None:
        if self.course:
            self.course.begin(name)

    def end(self, name: str) -> None:
        line = self.course.end(name) if self.course else None
        if self.course and line and self.screen is None:
            left = self.course.left()
            time_left = said.as_range(left.seconds, left.width) if left.seconds else ""
            share = f"{100 * self.course.fraction():.0f} %"
            self.say(f"[{share}{f', {time_left} left' if time_left else ''}] {line}")

    def fail(self, rule: str, name: str, log: str | None) -> None:
        """The job of a rule has failed."""
        reason = self._reason(rule, name) or _last_line(log) or "no reason is known"
        if self.course:
            self.course.fail(name, reason)
        self.say(f"failed  {name}: {_one_line(reason)}" + (f" ({log})" if log else ""))

    def say(self, text: str) -> None:
        """A line of its own, above the live display where there is one."""
        if self.screen:
            self.screen.say(text)
        else:
            print(printable(text), file=self.stream, flush=True)

    # --- the end

    def close(self) -> None:
        """The last words, once."""
        if self.screen:
            self.screen.stop()
            self.screen = None
        dag, self.dag = self.dag, None
        if dag is not None and (self.course is not None or self.nothing):
            for line in self._last_words(dag):
                self.say(line)

    def _last_words(self, dag: Dag) -> list[str]:
        plan, store = dag.plan, dag.store
        try:
            states = status.of(plan, store)
        except KdpipeError as error:
            return [str(error)]
        waiting = [name for name, state in states.items() if state == "to do"]
        total = len(plan.runs)
        waiting_runs = sum(name in plan.runs for name in waiting)
        page = Path(dag.report_folder) / "index.html"
        lines = []
        if not waiting:
            idle = self.course is None or not self.course.items
            nothing = "nothing to do, " if idle else ""
            lines.append(f"study {plan.study.study}: {nothing}all {total:,} runs are done")
        if waiting:
            lines += self._unfinished(dag, total - waiting_runs, total)
        elif page.exists():
            lines += _decision(dag, page)
        if self.course and self.course.core_seconds:
            took = said.as_seconds(time.monotonic() - self.began)
            hours = self.course.core_seconds / 3600
            lines.append(f"took {took}, {hours:.2f} core-hours")
        return lines

    def _unfinished(self, dag: Dag, done: int, total: int) -> list[str]:
        """What is still to do, why, and what to type."""
        again = shlex.join(["kdpipe", "run", *([self.study_file] if self.study_file else [])])
        failed = self.course.failed if self.course else {}
        shown = f"study {dag.plan.study.study}: {done:,} of {total:,} runs are done"
        if failed:
            first, reason = next(iter(failed.items()))
            why = shlex.join(["kdpipe", "status", self.study_file or "config.yaml"])
            return [
                f"{shown}, {len(failed):,} failed; the first, {first}: {_one_line(reason)}",
                f"`{why}` says why each has failed; when it is mended, `{again}` goes on",
            ]
        if self.stopped:
            return [f"{shown}; it was stopped, `{again}` goes on where each run stood"]
        return [f"{shown}; `{again}` does the rest"]

    def _reason(self, rule: str, name: str) -> str | None:
        """What the job itself has noted."""
        if self.dag is None:
            return None
        plan, store = self.dag.plan, self.dag.store
        if rule in ("table", "prepare"):
            kind, folder = ("tables", f".{name}") if rule == "table" else ("data", name)
            return store.failure(kind, folder)
        for items in plan.recorded.values():
            if name in items:
                return hindrances.of(items[name], plan, store, {})[1]
        return None


def _decision(dag: Dag, page: Path) -> list[str]:
    """In words; pandas is needed for it, and only now."""
    from kdpipe.report import decision

    try:
        return decision.lines(dag.plan, dag.store, page)
    except KdpipeError as error:
        return [f"page: {page}", str(error)]


def _one_line(text: str) -> str:
    return textwrap.shorten(" ".join(text.split()), WIDEST, placeholder=" ...")


def _last_line(log: str | None) -> str | None:
    """What a job said last, of those that note no reason."""
    try:
        lines = Path(log or "").read_text(errors="replace").strip().splitlines()
    except OSError:
        return None
    return lines[-1] if lines else None


current: Teller | None = None  # of this process, made by the logger plugin before a study is read


def tell_of(dag: Dag, study_file: str | None) -> None:
    """Say which study the start is of; where nobody tells of it nothing happens."""
    if current is not None:
        current.dag, current.study_file = dag, study_file
