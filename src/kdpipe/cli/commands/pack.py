"""`kdpipe pack FILE`: make several short runs, one after another; exit code 75 if interrupted."""

import sys
from pathlib import Path

from kdpipe.cli.command import Command, add_results, open_store
from kdpipe.errors import InterruptedRun


def add_arguments(parser) -> None:
    """Add the arguments of `kdpipe pack`."""
    parser.add_argument("file", type=Path, help="JSON file that lists the runs and their commands")
    help = "number of this attempt, from 1; in the last one a run that fails fails alone"
    parser.add_argument("--attempt", type=int, default=1, metavar="N", help=help)
    help = "file for the names of all that are done"
    parser.add_argument("--finished", type=Path, required=True, metavar="FILE", help=help)
    add_results(parser)


def run(options) -> int:
    """Make the runs of a pack."""
    from kdpipe.jobs.pack import read_pack, run_pack

    store = open_store(options)
    try:
        print(run_pack(read_pack(options.file), options.attempt, options.finished, store))
    except InterruptedRun as interruption:
        print(f"interrupted: {interruption}", file=sys.stderr)
        return 75
    return 0


COMMAND = Command(
    order=225,
    help="make several short runs, one after another (called by a rule)",
    add_arguments=add_arguments,
    run=run,
    never_imports=("torch",),
)
