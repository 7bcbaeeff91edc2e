"""The entry point of the command line.

`init` writes a study; `run`, `check`, `plan`, `status`, `report`, `archive` and `prune` take one;
`prepare`, `train`, `score` and `probe` are called by the rules of the workflow, and can be typed by
hand. A user error is printed as one message, with exit code 2.
"""

import argparse
import contextlib
import errno
import os
import sys

from kdpipe import __version__, registry
from kdpipe.cli.command import Command
from kdpipe.errors import KdpipeError, NotRegularFileError
from kdpipe.jobs import parent_watchdog
from kdpipe.text import escape, escape_lines

# Errors of the machine, not bugs: no space, no permission, a name too long, a failing disk.
SYSTEM_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS)
SYSTEM_ERRORS += (errno.ENAMETOOLONG, errno.ELOOP, errno.EIO, errno.ESTALE, errno.ENOLCK)


def main(arguments: list[str] | None = None) -> int:
    """Run one command.

    Parameters
    ----------
    arguments : list of str or None
        The command line after `kdpipe`; None: the arguments of the process.

    Returns
    -------
    int
        The exit code: 0 success, 2 user error, 75 interrupted and resumable, 130 stopped by Ctrl-C.
    """
    try:
        options = build_parser().parse_args(
            _insert_separator(sys.argv[1:] if arguments is None else arguments)
        )
        # A job of a study that runs on this machine ends with its parents:
        parent_watchdog.watch_parents(
            parent_watchdog.open_parent_fd(os.environ.get(parent_watchdog.HEAD_VARIABLE))
        )
        with contextlib.redirect_stdout(_EscapedStream(sys.stdout)):
            return options.run(options) or 0
    except KdpipeError as error:
        print(f"kdpipe: {escape_lines(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("kdpipe: interrupted; no file is left incomplete", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of `kdpipe plan | head` has exited
        sys.stderr.close()
        return 0
    except OSError as error:
        if error.errno not in SYSTEM_ERRORS and not isinstance(error, NotRegularFileError):
            raise
        name = escape(error.filename or "a file")
        print(f"kdpipe: {name}: {error.strerror}", file=sys.stderr)
        return 2


def _insert_separator(typed: list[str]) -> list[str]:
    """Return the arguments with `--` before those that argparse must pass on."""
    command = load_commands().get(typed[0]) if typed else None
    if command is None or not command.passes_through or typed[1:] in (["-h"], ["--help"]):
        return typed
    return [typed[0], "--", *typed[1:]]


class _EscapedStream:
    """Standard output with control characters escaped, since file names may contain them."""

    def __init__(self, stream):
        self.stream = stream

    def write(self, text: str) -> int:
        """Write a text, escaped."""
        return self.stream.write(escape_lines(text))

    def flush(self) -> None:
        """Flush the stream."""
        self.stream.flush()

    def __getattr__(self, name: str):
        return getattr(self.stream, name)


def load_commands() -> dict[str, Command]:
    """Load the commands by name, in the order of the help."""
    files = registry.load_all_objects("kdpipe.cli.commands", "COMMAND", Command)
    commands = {name.replace("_", "-"): command for name, command in files.items()}
    return dict(sorted(commands.items(), key=lambda item: item[1].order))


def build_parser() -> argparse.ArgumentParser:
    """Build the parser with the names and options of all commands."""
    parser = argparse.ArgumentParser(
        prog="kdpipe", description="Which teacher, stopped when, distilled how?"
    )
    parser.add_argument("--version", action="version", version=f"kdpipe {__version__}")
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND")
    for word, command in load_commands().items():
        subparser = subparsers.add_parser(word, help=command.help, description=command.help)
        command.add_arguments(subparser)
        subparser.set_defaults(run=command.run)
    return parser
