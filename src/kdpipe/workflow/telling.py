"""What a start tells while it runs, and when it has ended.

On a terminal one live display, else a line for each job that made something; what goes wrong, and
what Snakemake warns of, in one line each either way. Snakemake's own account is in its log file,
and comes back with `--verbose`. The Snakefile says which study it is (`tell_of`), the logger plugin
which jobs begin and end; the last words are those of `ending`.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from kdpipe.jobs import preloaded
from kdpipe.plan import hindrances, status
from kdpipe.plan.cost import price, said
from kdpipe.wording import one_line, printable
from kdpipe.workflow import ending
from kdpipe.workflow.course import Course
from kdpipe.workflow.dag import Dag
from kdpipe.workflow.screen import Screen

KILLED = "it ended without a word, as a job does that the system kills for want of memory"
INTERRUPTED = ("interrupted: ", "kdpipe: interrupted; ")  # how a job that was cut off says it


class Teller:
    """Tells of one start of Snakemake."""

    def __init__(self, stream=None):
        self.stream = stream or sys.stderr
        self.typed = ending.Typed.now()
        self.dag: Dag | None = None
        self.study_file = ""
        self.course: Course | None = None
        self.screen: Screen | None = None
        self.cores = 1
        self.preloaded = preloaded.STARTED in os.environ
        self.began = ending.began()
        self.measured = time.monotonic() - self.began  # by one core, before any job
        self.stopped = False  # by Ctrl-C
        self.nothing = False
        self._said: set[str] = set()

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
        # A terminal that cannot go back to a line has lines.
        if self.stream.isatty() and os.environ.get("TERM", "") not in ("dumb", "unknown"):
            self.screen = Screen(self.course, self.stream)
            self.screen.start()
        else:
            left = self.course.time_left()
            self.say(f"study {made.study.study}: {self.course.counts()}; time left: {left}")

    def begin(self, name: str) -> None:
        if self.course:
            self.course.begin(name)

    def end(self, name: str) -> None:
        line = self.course.end(name) if self.course else None
        if not self.course or not line:
            return
        if self.screen is None:
            outlook = self.course.outlook()
            left = outlook.left
            time_left = said.as_range(left.seconds, left.width) if left.seconds else ""
            share = f"{100 * outlook.share:.0f} %"
            self.say(f"[{share}{f', {time_left} left' if time_left else ''}] {line}")
        elif name in self.course.marred:
            self.say(line)

    def fail(self, rule: str, name: str, logs: Sequence[str], queue: str = "", sent=True) -> None:
        """The job of a rule has failed; `queue`: what the queue that it was sent to says of it.

        One that was not sent, or that the queue has ended, did not come to say why itself.
        """
        logs = [log for log in logs if os.path.exists(log)]
        last = _last_line(logs[0]) if logs and sent else None
        if self.stopped or (last or "").startswith(INTERRUPTED):
            if self.course:
                self.course.interrupt(name)
            if not self.stopped:
                self.say(f"interrupted  {name}: its state is saved, it goes on from there")
            return
        reason = (self._noted(rule, name) if sent else None) or last or queue
        if queue and "'FAILED'" not in queue:  # a time limit, no memory, a dead node; no such queue
            reason = queue
        reason = one_line(reason or KILLED)
        if self.course:
            self.course.fail(name, reason)
        log = f" ({self.typed.shown(Path(logs[0]))})" if logs and sent else ""
        self.say(f"failed  {name}: {reason}{log}")

    def stop(self) -> None:
        """Somebody has pressed Ctrl-C."""
        self.stopped = True
        if self.screen:
            self.screen.stop()
            self.screen = None
        jobs = "its jobs are taken out of the queue" if self._remote else "its jobs end now"
        self.say_once(f"stopping: {jobs}, and what they have done so far stays")

    def stop_later(self) -> None:
        """Somebody has sent SIGTERM: nothing is begun any more."""
        self.say_once("stopping when the jobs that are at work have ended; Ctrl-C stops them too")

    def locked(self) -> None:
        """Snakemake does not work in this folder."""
        where = Path.cwd()
        self.say(
            f"{where} is locked, since another start of this study works in it: wait for it, or "
            "stop it. If you know that there is none, which a file system without locks cannot "
            f"tell, type `{self.typed.again('--unlock')}`, and then start again"
        )

    def say(self, text: str) -> None:
        """A line of its own, above the live display where there is one."""
        if self.screen:
            self.screen.say(printable(text))
        else:
            print(printable(text), file=self.stream, flush=True)

    def say_once(self, text: str) -> None:
        """A line that may come again with every job."""
        if text not in self._said:
            self._said.add(text)
            self.say(text)

    # --- the end

    def close(self) -> None:
        """The last words, once."""
        if self.screen:
            self.screen.stop()
            self.screen = None
        dag, self.dag = self.dag, None
        if dag is None:
            return
        if self.course is not None or self.nothing:
            last = ending.lines(dag, self.study_file, self.course, self.typed, self.stopped)
            if self.course and self.course.core_seconds:
                seconds = time.monotonic() - self.began
                last.append(ending.took(self.course.core_seconds + self.measured, seconds))
            for line in last:
                self.say(line)
        elif self.stopped:
            self.say(f"stopped before anything was begun; `{self.typed.again()}` begins")

    @property
    def _remote(self) -> bool:
        return self.course is not None and self.course.remote

    def _noted(self, rule: str, name: str) -> str | None:
        """What the job itself has noted of why it failed."""
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


def _last_line(log: str) -> str | None:
    """What a job said last."""
    try:
        lines = Path(log).read_text(errors="replace").strip().splitlines()
    except OSError:
        return None
    return lines[-1] if lines else None


current: Teller | None = None  # of this process, made by the logger plugin before a study is read


def tell_of(dag: Dag, study_file: str) -> None:
    """Say which study the start is of; where nobody tells of it nothing happens."""
    if current is not None:
        current.dag, current.study_file = dag, study_file
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, _interrupted)


def _interrupted(number, frame) -> None:
    """At once, since the jobs get the same signal, and none of them has failed by it."""
    if current is not None:
        current.stopped = True
    signal.default_int_handler(number, frame)


def report_anyway(dag: Dag) -> None:
    """Render the report of a start in which something failed, from the records that there are."""
    if current is not None and current.stopped:
        return
    if all(state == "to do" for state in status.of(dag.plan, dag.store).values()):
        return
    if current is not None:
        current.begin("render")
    subprocess.run(
        [sys.executable, "-m", "kdpipe", "report", "-"],
        input=dag.study_json,
        text=True,
        stdout=subprocess.DEVNULL,  # what is missing is said at the end
    )
    if current is not None:
        current.end("render")
