"""Snakemake's logger plugin `kdpipe` (profiles/default names it): its events, handed to a teller.

Snakemake finds a logger by the name of its package, so this one stands outside of kdpipe. It only
translates; what is shown, and how, is in kdpipe.workflow.telling.
"""

import logging
import re

from snakemake.logging import DefaultFilter, DefaultFormatter
from snakemake_interface_logger_plugins.base import LogHandlerBase
from snakemake_interface_logger_plugins.common import LogEvent

from kdpipe.wording import one_line
from kdpipe.workflow import telling

# How some of its words begin, which have no event of their own.
NOTHING = "Nothing to be done"
STOPPED = "Terminating processes on user request"
STOPS_LATER = "Will exit after finishing currently running jobs"
LOCKED = "Directory cannot be locked"
MARKS = "again"  # a rule that makes nothing of what its wildcard names
# What is said of every job that fails: its whole command, and that one has failed.
OF_A_JOB = (
    "CalledProcessError",
    "Exiting because a job execution failed",
    "At least one job did not complete successfully",
)
# What the queue's own words end in: advice, and the command that was sent.
TAIL = re.compile(r"For further error details see the cluster/cloud log.*|\n *sbatch call:.*", re.S)


class LogHandler(LogHandlerBase):
    """Hands on what Snakemake says of its jobs.

    Of its other words those before the first job are kept until it is known that jobs are started,
    and said if none are: `--unlock`, `--lint` and the like speak by them. A dry run, and
    `--verbose`, are Snakemake's own.
    """

    def __post_init__(self) -> None:
        settings = self.common_settings
        self.plain = settings.dryrun or settings.verbose
        quiet = settings.quiet or ()
        self.own = DefaultFormatter(quiet, settings.show_failed_logs)
        self.passes = DefaultFilter(
            quiet,
            settings.debug_dag,
            settings.verbose,
            settings.dryrun,
            settings.printshellcmds,
        )
        self.teller = telling.current = telling.Teller()
        self.jobs: dict[int, str] = {}
        self.held: list[logging.LogRecord] = []
        self.begun = False

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._hear(record)
        except Exception:  # as every handler does: what is said must not stop what is done
            self.handleError(record)

    def _hear(self, record: logging.LogRecord) -> None:
        event = getattr(record, "event", None)
        said = vars(record)
        if self.plain:
            self._say(record)
        if event == LogEvent.RESOURCES_INFO:  # nodes: jobs at a time, in a queue
            self.teller.cores = said.get("cores") or said.get("nodes") or self.teller.cores
        elif event == LogEvent.RUN_INFO and not self.common_settings.dryrun:
            self.begun = True
            if not self.plain:
                self.held.clear()
                self.teller.start()
        elif event == LogEvent.JOB_INFO:
            self.jobs[said["jobid"]] = name = _name(said)
            self.teller.begin(name)
        elif event == LogEvent.JOB_FINISHED:
            self.teller.end(self.jobs.get(said["job_id"], ""))
        elif event == LogEvent.JOB_ERROR:
            if not self.plain:
                self._fail(said)
        elif not self.plain:
            self._hear_words(record, event)

    def _hear_words(self, record: logging.LogRecord, event) -> None:
        text = str(record.msg or "")
        if text.startswith(NOTHING):
            self.held.clear()
            self.begun = self.teller.nothing = True
        elif text.startswith(STOPPED):
            self.teller.stop()
        elif text.startswith(STOPS_LATER):
            self.teller.stop_later()
        elif not self.begun and record.levelno < logging.WARNING:
            self.held.append(record)
        elif record.levelno >= logging.WARNING and not self._is_known(text):
            self._complain(record, text)

    def _is_known(self, text: str) -> bool:
        return self.teller.stopped or any(words in text for words in OF_A_JOB)

    def _fail(self, said: dict) -> None:
        queue = TAIL.sub("", said.get("rule_msg") or "").strip()
        sent = not queue or "external_jobid" in said.get("aux", {})
        self.teller.fail(said["rule_name"], self._of(said), said["log"], queue, sent)

    def _complain(self, record: logging.LogRecord, text: str) -> None:
        """A warning or an error: whole before the first job, in one line beside the others."""
        if self.begun:
            self.teller.say_once(one_line(text))
            return
        if record.levelno >= logging.ERROR:  # a folder that is locked: that is all there is to say
            self.held.clear()
        if LOCKED in text:
            self.teller.locked()
            return
        for line in (self.own.format(record) or "").splitlines():
            self.teller.say(line)

    def _of(self, said: dict) -> str:
        return self.jobs.get(said["jobid"]) or str(said["rule_name"])

    def _say(self, record: logging.LogRecord) -> None:
        text = self.own.format(record) if self.passes.filter(record) else None
        if text and text != "None":
            print(text, file=self.stream, flush=True)

    @property
    def stream(self):
        return self.teller.stream

    def close(self) -> None:
        if not self.begun and not self.plain:
            for record in self.held:
                self._say(record)
        self.held.clear()
        self.teller.close()
        super().close()

    @property
    def writes_to_stream(self) -> bool:
        return True

    @property
    def writes_to_file(self) -> bool:
        return False

    @property
    def has_filter(self) -> bool:
        return True

    @property
    def has_formatter(self) -> bool:
        return True

    @property
    def needs_rulegraph(self) -> bool:
        return False


def _name(said: dict) -> str:
    """The name of what a job makes, which is the wildcard of its rule; else that of the rule."""
    if said["rule_name"] == MARKS:
        return MARKS
    return (said.get("wildcards") or {}).get("name") or said["rule_name"]
