"""`kdpipe preload FOLDER PID`: the parent from which the jobs of a study are forked."""

from pathlib import Path

from kdpipe.cli.command import Command


def arguments(parser) -> None:
    parser.add_argument("folder", type=Path, help="where its socket is made")
    parser.add_argument("head", help="the process id of the head of the study")


def run(options) -> None:
    from kdpipe.cli.main import main
    from kdpipe.jobs import preloaded

    preloaded.serve(options.folder, options.head, main)


COMMAND = Command(
    order=270,
    help="import torch once and fork jobs (called by run)",
    arguments=arguments,
    run=run,
)
