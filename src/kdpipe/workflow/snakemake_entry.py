"""`python -m kdpipe.workflow.snakemake_entry`: Snakemake, as `kdpipe run` starts it.

Snakemake's own entry point prints a hundred lines of usage for a misspelt option, and a traceback
for a plugin that cannot be imported or for Ctrl-C while it is importing; and it exits with 1 in
all of these cases. Here each is one line, with the exit codes of all commands of kdpipe.
"""

import contextlib
import importlib
import io
import logging
import os
import pkgutil
import signal
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any, NoReturn

from kdpipe.workflow import stopped_processes

PLUGIN_PREFIXES = tuple(
    f"snakemake_{kind}_plugin_" for kind in ("executor", "storage", "report", "logger", "scheduler")
)
PROFILE_LINE = "Using workflow specific profile "  # another one has "Using profile " before it
NOTHING_STARTED = "nothing was started"
PROGRESS_KEPT = "the progress of its jobs is kept"
CACHE_BYTES = 2**16  # more than the files that Snakemake keeps of a workflow


class _Terminated(SystemExit):
    """SIGTERM, before Snakemake handles it."""


def main() -> int:
    """Run Snakemake with the arguments of this process, and return its exit code.

    Returns
    -------
    int
        0 success, 1 failed jobs, 2 user error, 130 after Ctrl-C, 143 after SIGTERM.
    """
    state = _SignalState()
    state.attach()
    warnings.simplefilter("ignore", ResourceWarning)  # of Snakemake's own folders, at its end
    code = 1
    try:
        code = _run_snakemake()
    except (KeyboardInterrupt, _Terminated):
        pass
    except Exception:
        if not state.is_interrupted:  # an import that Ctrl-C has broken off
            raise
    finally:
        state.detach()
    return state.explain(code)


class _SignalState:
    """The signals that this process has received."""

    def __init__(self) -> None:
        self.is_interrupted = self.is_terminated = False

    def attach(self) -> None:
        """Handle Ctrl-C and SIGTERM, unless they are ignored, as after nohup."""
        for number, handler in (
            (signal.SIGINT, self._on_interrupt),
            (signal.SIGTERM, self._on_terminate),
        ):
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, handler)

    def detach(self) -> None:
        """End at once after a further Ctrl-C, which would interrupt Python's own last steps."""
        if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
            signal.signal(signal.SIGINT, lambda *_: os._exit(130))

    def explain(self, code: int) -> int:
        """Return the exit code, and print why it is not 0 if nothing else has."""
        reporter = _get_reporter()
        is_terminated = self.is_terminated or (reporter is not None and reporter.is_ending)
        is_interrupted = self.is_interrupted
        if code == 0 or not (is_interrupted or is_terminated):
            return code
        if reporter is None or not reporter.has_summary:
            word = "interrupted" if is_interrupted else "ended by SIGTERM"
            detail = NOTHING_STARTED if reporter is None else PROGRESS_KEPT
            print(f"kdpipe: {word}; {detail}", file=sys.stderr)
        return 130 if is_interrupted else 143

    def _on_interrupt(self, number: int, frame: Any) -> NoReturn:
        self.is_interrupted = True
        if (reporter := _get_reporter()) is not None:
            reporter.is_stopped = True  # jobs that the same signal ends have not failed
            stopped_processes.continue_stopped()
        raise KeyboardInterrupt

    def _on_terminate(self, number: int, frame: Any) -> NoReturn:
        self.is_terminated = True
        raise _Terminated(143)


def _get_reporter() -> Any:
    """Return the reporter of this process; None if Snakemake has not created it yet."""
    progress = sys.modules.get("kdpipe.workflow.progress")
    return getattr(progress, "current_reporter", None)


def _run_snakemake() -> int:
    """Parse the arguments, run Snakemake, and return its exit code."""
    from snakemake import cli, common, exceptions

    usage = io.StringIO()
    try:
        with contextlib.redirect_stderr(usage):
            parser, options = cli.parse_args(None)
    except SystemExit as end:  # --help and --version end with 0
        print(_shorten_usage(usage.getvalue()), end="", file=sys.stderr)
        return int(end.code or 0)
    except Exception as error:
        if (message := describe_broken_plugin()) is not None:
            return _print_error(message)
        if isinstance(error, exceptions.WorkflowError | exceptions.CliException):
            return _print_error(" ".join(str(error).split()))
        raise
    print(_drop_profile_line(usage.getvalue()), end="", file=sys.stderr)
    cache_dir = Path(common.get_appdirs().user_cache_dir)
    try:
        cache_dir.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile("wb", dir=cache_dir) as file:
            file.write(bytes(CACHE_BYTES))
            file.flush()
    except OSError as error:
        return _print_error(
            f"{cache_dir}, where Snakemake keeps files, is not writable ({error.strerror}): "
            "free some space there, or set XDG_CACHE_HOME or HOME to a writable folder"
        )
    try:
        return 0 if cli.args_to_api(options, parser) else 1
    except Exception as error:
        reporter = _get_reporter()
        # A second Ctrl-C breaks off whatever Snakemake does at its end.
        if reporter is None or not reporter.is_stopped:
            exceptions.print_exception(error)
        return 1


def _drop_profile_line(text: str) -> str:
    """Return warnings of Snakemake without the line that every start has, on its own profile."""
    lines = text.splitlines(keepends=True)
    return "".join(line for line in lines if not line.startswith(PROFILE_LINE))


def _shorten_usage(text: str) -> str:
    """Return an error message of argparse without the usage before it; other text as it is."""
    if not text.startswith("usage: "):
        return text
    message = text.rpartition(": error: ")[2].strip()
    return f"kdpipe run: {message}; `snakemake --help` lists the options that are passed on\n"


def describe_broken_plugin() -> str | None:
    """Return which of Snakemake's installed plugins cannot be imported; None if all can be."""
    for module in pkgutil.iter_modules():
        if not module.name.startswith(PLUGIN_PREFIXES):
            continue
        try:
            importlib.import_module(module.name)
        except Exception as error:
            package = module.name.replace("_", "-")
            return (
                f"the Snakemake plugin {package} cannot be imported "
                f"({type(error).__name__}: {error}): update it, or remove it with "
                f"`pip uninstall {package}`"
            )
    return None


def _print_error(message: str) -> int:
    """Print a user error; return its exit code."""
    from kdpipe.text import escape_lines

    print(f"kdpipe: {escape_lines(message)}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    exit_code = main()
    logging.shutdown()  # prints the summary
    if exit_code in (130, 143):  # see kdpipe.__main__.main
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(exit_code)
    sys.exit(exit_code)
