"""`kdpipe preload FOLDER HEAD`: start the fork server of a study's jobs."""

from pathlib import Path

from kdpipe.cli.command import Command


def add_arguments(parser) -> None:
    """Add the arguments of `kdpipe preload`."""
    parser.add_argument("folder", type=Path, help="folder of its socket")
    parser.add_argument("head", help="the study's head process, as in KDPIPE_HEAD")


def run(options) -> None:
    """Import torch and fork jobs until the study ends."""
    from kdpipe.cli.main import main
    from kdpipe.jobs import forkserver

    forkserver.serve_forks(options.folder, options.head, main)


COMMAND = Command(
    order=270,
    help="start a fork server, which imports torch once (called by run)",
    add_arguments=add_arguments,
    run=run,
)
