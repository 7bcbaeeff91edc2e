"""The command line: one verb for each thing a person or a rule asks for.

init writes a study; run, check, plan, status, report, archive and prune take one; prepare, train,
score and probe are what the rules call, and can be typed by hand. A mistake of the user is one
message and exit code 2.
"""

import argparse
import contextlib
import errno
import os
import sys

from kdpipe import __version__, discovery
from kdpipe.cli.command import Command
from kdpipe.errors import KdpipeError
from kdpipe.jobs import leash
from kdpipe.wording import printable, printable_lines

# Of the machine, not bugs: no space, no permission, a name too long, a disk that fails.
DENIED = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS)
DENIED += (errno.ENAMETOOLONG, errno.ELOOP, errno.EIO, errno.ESTALE, errno.ENOLCK)


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit code (0 done, 2 a mistake of the user, 75 interrupted)."""
    try:
        options = parser().parse_args(_words(sys.argv[1:] if arguments is None else arguments))
        # If it is a job of a study that runs on this machine:
        leash.hold(leash.end_of(os.environ.get(leash.HEAD)))
        with contextlib.redirect_stdout(_Plain(sys.stdout)):
            return options.run(options) or 0
    except KdpipeError as error:
        print(f"kdpipe: {printable_lines(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("kdpipe: interrupted; nothing is half-written", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of `kdpipe plan | head` has gone
        sys.stderr.close()
        return 0
    except OSError as error:
        if error.errno not in DENIED:
            raise
        name = printable(error.filename or "a file")
        print(f"kdpipe: {name}: {error.strerror}", file=sys.stderr)
        return 2


def _words(typed: list[str]) -> list[str]:
    """What was typed, with `--` before what is meant for another program: argparse leaves it."""
    command = commands().get(typed[0]) if typed else None
    if command is None or not command.passes_on or typed[1:] in (["-h"], ["--help"]):
        return typed
    return [typed[0], "--", *typed[1:]]


class _Plain:
    """Standard output that no name of a file can steer a terminal through."""

    def __init__(self, stream):
        self.stream = stream

    def write(self, text: str) -> int:
        return self.stream.write(printable_lines(text))

    def flush(self) -> None:
        self.stream.flush()

    def __getattr__(self, name: str):
        return getattr(self.stream, name)


def commands() -> dict[str, Command]:
    """What can be typed, by its word, in the order of the help."""
    files = discovery.every("kdpipe.cli.commands", "COMMAND", Command)
    found = {name.replace("_", "-"): command for name, command in files.items()}
    return dict(sorted(found.items(), key=lambda one: one[1].order))


def parser() -> argparse.ArgumentParser:
    """The words and options of every command."""
    parser = argparse.ArgumentParser(
        prog="kdpipe", description="Which teacher, stopped when, distilled how?"
    )
    parser.add_argument("--version", action="version", version=f"kdpipe {__version__}")
    words = parser.add_subparsers(required=True, metavar="COMMAND")
    for word, command in commands().items():
        below = words.add_parser(word, help=command.help, description=command.help)
        command.arguments(below)
        below.set_defaults(run=command.run)
    return parser
