"""`kdpipe archive STUDY`: its records into one file, the report rendered from it beside it."""

from pathlib import Path

from kdpipe.cli.arguments import add_results, store
from kdpipe.cli.command import Command


def arguments(parser) -> None:
    parser.add_argument("study", help="a study file")
    parser.add_argument(
        "--to",
        type=Path,
        metavar="DIR",
        help="the records alone, into this folder; default: both into reports/published/STUDY",
    )
    add_results(parser)


def run(options) -> None:
    from kdpipe.search import due
    from kdpipe.study import checking
    from kdpipe.upkeep import archive, comparing

    place = store(options)
    made = due.plan(checking.load(options.study), place)
    comparing.refuse(options.study, comparing.of_prepared(made, place))
    folder = options.to or Path("reports") / "published" / made.study.study
    print(archive.write(made, place, folder))
    if not options.to:
        from kdpipe.report.render import render
        from kdpipe.results.store import Store

        print(f"{render(made, Store(folder), folder)}/index.html: rendered from it")


COMMAND = Command(
    order=40,
    help="put the records of a study, and its report, where they are kept",
    arguments=arguments,
    run=run,
    without=("torch",),
)
