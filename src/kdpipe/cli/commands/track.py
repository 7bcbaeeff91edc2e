"""`kdpipe track STUDY --to TRACKER`: curves and records, mirrored to where curves are looked at."""

import shlex
from pathlib import Path

from kdpipe import discovery
from kdpipe.cli.arguments import add_results, store
from kdpipe.cli.command import Command


def arguments(parser) -> None:
    parser.add_argument("study", help="a study file")
    # By the names of the files: reading them is for the one that is asked for.
    known = discovery.names("kdpipe.upkeep.trackers")
    parser.add_argument("--to", choices=known, required=True, help="whose format")
    help = "its folder; default: the name of the tracker"
    parser.add_argument("--folder", type=Path, metavar="DIR", help=help)
    help = "go on while the study runs, here or elsewhere, until nothing of it is to do, or goes on"
    parser.add_argument("--follow", action="store_true", help=help)
    add_results(parser)


def run(options) -> None:
    from kdpipe.search import due
    from kdpipe.study import checking
    from kdpipe.upkeep import tracking

    place, study = store(options), checking.load(options.study)
    folder = options.folder or Path(options.to)
    tracker, mirror = tracking.opened(options.to, folder, study.study)

    def say(epochs: int, records: int) -> None:
        print(f"{folder}: {epochs:,} epochs and {records:,} records added", flush=True)

    try:
        if options.follow:
            left, runs = tracking.follow(lambda: due.plan(study, place), place, mirror, say)
            if left:
                print(
                    f"{left:,} of {runs:,} runs are to do, and nothing of the study goes "
                    f"on: kdpipe status {shlex.quote(options.study)} says why"
                )
        else:
            say(*tracking.mirror(due.plan(study, place), place, mirror))
    finally:
        mirror.close()
    print(f"to look at it: {tracker.show.format(folder=folder)}")


COMMAND = Command(
    order=55,
    help="mirror curves and records into TensorBoard or MLflow",
    arguments=arguments,
    run=run,
)
