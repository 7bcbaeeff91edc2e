"""`kdpipe archive STUDY`: the records that a report is rendered from, to be kept with it."""

from pathlib import Path

from kdpipe.cli.arguments import add_results, store
from kdpipe.cli.command import Command


def arguments(parser) -> None:
    parser.add_argument("study", help="a study file")
    parser.add_argument(
        "--to", type=Path, metavar="DIR", help="default: reports/STUDY/records, to go with the page"
    )
    add_results(parser)


def run(options) -> None:
    from kdpipe.plan import planner
    from kdpipe.study import checking
    from kdpipe.upkeep import archive

    made = planner.make(checking.load(options.study))
    folder = options.to or Path("reports") / made.study.study / "records"
    print(archive.write(made, store(options), folder))


COMMAND = Command(
    order=40,
    help="put the records a report is rendered from into a folder",
    arguments=arguments,
    run=run,
    without=("torch",),
)
