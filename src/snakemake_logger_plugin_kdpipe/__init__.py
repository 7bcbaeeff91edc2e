"""Snakemake's logger plugin `kdpipe` (see profiles/default): its events, passed to a reporter.

Snakemake finds a logger by its package name, so this package is outside of kdpipe. It only
translates events; kdpipe.workflow.progress decides what is shown, and how.
"""

import logging
import re
from collections.abc import Mapping
from typing import Any

from snakemake.logging import DefaultFilter, DefaultFormatter
from snakemake.settings.enums import Quietness
from snakemake_interface_logger_plugins.base import LogHandlerBase
from snakemake_interface_logger_plugins.common import LogEvent

from kdpipe.text import shorten_line
from kdpipe.workflow import progress

# Prefixes of Snakemake's messages that are not events.
NOTHING_PREFIX = "Nothing to be done"
STOP_PREFIX = "Terminating processes on user request"
LAST_JOBS_PREFIX = "Will exit after finishing currently running jobs"
LOCKED_TEXT = "Directory cannot be locked"
MARKER_RULE = "again"  # its wildcard is not the target of its job
# Messages about each failed job: its whole command, and that a job has failed.
JOB_ERROR_TEXTS = (
    "CalledProcessError",
    "Exiting because a job execution failed",
    "At least one job did not complete successfully",
)
# The end of the queue's messages: advice, and the submitted command.
QUEUE_TAIL = re.compile(
    r"For further error details see the cluster/cloud log.*|\n *sbatch call:.*", re.S
)


class LogHandler(LogHandlerBase):
    """Handler that passes on what Snakemake logs about its jobs.

    Other messages before the first job are buffered until it is known whether jobs are started, and
    printed if none are: they are the output of `--unlock`, `--lint` and others. The output of a dry
    run of `snakemake`, and of `--verbose`, is Snakemake's own. That of `kdpipe run -n` is a
    summary, unless options say what Snakemake is to print (-p, -q).
    """

    def __post_init__(self) -> None:
        """Create the reporter of this process."""
        settings = self.common_settings
        quiet = settings.quiet or ()
        self.reporter = progress.current_reporter = progress.ProgressReporter()
        self.is_summarized = (
            settings.dryrun
            and self.reporter.invocation.is_kdpipe
            and not (settings.verbose or settings.printshellcmds)
            and {Quietness.REASON}.issuperset(quiet)
        )
        self.uses_own_output = settings.verbose or (settings.dryrun and not self.is_summarized)
        self.snakemake_formatter = DefaultFormatter(quiet, settings.show_failed_logs)
        self.snakemake_filter = DefaultFilter(
            quiet,
            settings.debug_dag,
            settings.verbose,
            settings.dryrun,
            settings.printshellcmds,
        )
        self.job_names: dict[int, str] = {}
        self.planned_jobs: list[tuple[float, str]] = []  # of a dry run
        self.early_records: list[logging.LogRecord] = []
        self.has_begun = False  # jobs are started, or there is nothing to do

    def emit(self, record: logging.LogRecord) -> None:
        """Handle a record; as in any handler, an error does not stop the program."""
        try:
            self._handle_record(record)
        except Exception:
            self.handleError(record)

    def close(self) -> None:
        """Print the buffered messages if no job was started, and the summary."""
        if not self.has_begun and not self.uses_own_output:
            for record in self.early_records:
                self._print_as_snakemake(record)
        self.early_records.clear()
        self.reporter.close()
        super().close()

    def _handle_record(self, record: logging.LogRecord) -> None:
        """Pass on an event, or another message."""
        event = getattr(record, "event", None)
        fields = vars(record)
        if self.uses_own_output:
            self._print_as_snakemake(record)
        if self.is_summarized and event in (LogEvent.RUN_INFO, LogEvent.JOB_INFO):
            self._note_planned_job(fields)
        elif event == LogEvent.RESOURCES_INFO:  # nodes: jobs at a time, in a queue
            self.reporter.cores = fields.get("cores") or fields.get("nodes") or self.reporter.cores
        elif event == LogEvent.RUN_INFO and not self.common_settings.dryrun:
            self.has_begun = True
            if not self.uses_own_output:
                self.early_records.clear()
                self.reporter.start()
        elif event == LogEvent.JOB_INFO:
            self.job_names[fields["jobid"]] = name = _get_job_name(fields)
            self.reporter.begin_job(name)
        elif event == LogEvent.JOB_FINISHED:
            self.reporter.end_job(self.job_names.get(fields["job_id"], ""))
        elif event == LogEvent.JOB_ERROR:
            if not self.uses_own_output:
                self._handle_failure(fields)
        elif not self.uses_own_output:
            self._handle_message(record)

    def _note_planned_job(self, fields: Mapping[str, Any]) -> None:
        """Note what a dry run would start."""
        self.has_begun = True
        self.early_records.clear()
        if "stats" in fields:
            self.reporter.planned_counts = dict(fields["stats"])
        else:
            priority = fields["priority"]
            rank = -priority if isinstance(priority, int) else -float("inf")  # "highest"
            self.planned_jobs.append((rank, _get_job_name(fields)))
            self.reporter.planned_jobs = [
                name for _, name in sorted(self.planned_jobs, key=lambda job: job[0])
            ]

    def _handle_failure(self, fields: Mapping[str, Any]) -> None:
        """Pass on the failure of a job, with the message of its queue."""
        rule = fields["rule_name"]
        queue = QUEUE_TAIL.sub("", fields.get("rule_msg") or "").strip()
        is_submitted = not queue or "external_jobid" in fields.get("aux", {})
        name = self.job_names.get(fields["jobid"]) or str(rule)
        self.reporter.fail_job(rule, name, fields["log"], queue, is_submitted)

    def _handle_message(self, record: logging.LogRecord) -> None:
        """Pass on, buffer or drop a message that is not an event."""
        text = str(record.msg or "")
        if text.startswith(NOTHING_PREFIX):
            self.early_records.clear()
            self.has_begun = self.reporter.is_idle = True
        elif self.is_summarized and self.has_begun:
            return
        elif text.startswith(STOP_PREFIX):
            self.reporter.report_stop()
        elif text.startswith(LAST_JOBS_PREFIX):
            self.reporter.report_last_jobs()
        elif not self.has_begun and record.levelno < logging.WARNING:
            self.early_records.append(record)
        elif record.levelno >= logging.WARNING and not self._is_known_error(text):
            self._handle_warning(record, text)

    def _is_known_error(self, text: str) -> bool:
        """Return whether a message only repeats what the reporter has printed."""
        return self.reporter.is_stopped or any(words in text for words in JOB_ERROR_TEXTS)

    def _handle_warning(self, record: logging.LogRecord, text: str) -> None:
        """Print a warning or an error: whole before the first job, later as one line."""
        if self.has_begun:
            self.reporter.print_once(shorten_line(text))
            return
        if record.levelno >= logging.ERROR:  # for example a locked folder: nothing else matters
            self.early_records.clear()
        if LOCKED_TEXT in text:
            self.reporter.report_lock()
            return
        for line in (self.snakemake_formatter.format(record) or "").splitlines():
            self.reporter.print_line(line)

    def _print_as_snakemake(self, record: logging.LogRecord) -> None:
        """Print a message as Snakemake would."""
        if self.snakemake_filter.filter(record):
            text = self.snakemake_formatter.format(record)
            if text and text != "None":
                print(text, file=self.stream, flush=True)

    @property
    def stream(self):
        """Return the stream of the reporter."""
        return self.reporter.stream

    @property
    def writes_to_stream(self) -> bool:
        """Return that it prints."""
        return True

    @property
    def writes_to_file(self) -> bool:
        """Return that it writes no file."""
        return False

    @property
    def has_filter(self) -> bool:
        """Return that it filters by itself."""
        return True

    @property
    def has_formatter(self) -> bool:
        """Return that it formats by itself."""
        return True

    @property
    def needs_rulegraph(self) -> bool:
        """Return that it needs no rule graph."""
        return False


def _get_job_name(fields: Mapping[str, Any]) -> str:
    """Return a job's target, the wildcard of its rule; else the name of the rule."""
    if fields["rule_name"] == MARKER_RULE:
        return MARKER_RULE
    return (fields.get("wildcards") or {}).get("name") or fields["rule_name"]
