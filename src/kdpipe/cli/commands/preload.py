"""`kdpipe preload FOLDER PID`: the parent from which the jobs of a study are forked."""

from pathlib import Path

from kdpipe.cli.command import Command


def add_arguments(parser) -> None:
    """Add the arguments of `kdpipe preload`."""
    parser.add_argument("folder", type=Path, help="where its socket is made")
    parser.add_argument("head", help="the process id of the head of the study")


def run(options) -> None:
    """Import torch and fork jobs until the study ends."""
    from kdpipe.cli.main import main
    from kdpipe.jobs import forkserver

    forkserver.serve_forks(options.folder, options.head, main)


COMMAND = Command(
    order=270,
    help="import torch once and fork jobs (called by run)",
    add_arguments=add_arguments,
    run=run,
)
