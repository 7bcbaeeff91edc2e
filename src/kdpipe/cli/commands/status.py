"""`kdpipe status STUDY`: how far a study has come, and why what failed has failed."""

from kdpipe.cli.arguments import add_reports, add_results, device, on_gpus, store
from kdpipe.cli.command import Command


def arguments(parser) -> None:
    parser.add_argument("study", help="a study file")
    add_reports(parser)
    add_results(parser)


def run(options) -> None:
    from kdpipe.search import due
    from kdpipe.study import checking
    from kdpipe.upkeep import watching

    place = store(options)
    made = due.plan(checking.load(options.study), place)
    print(watching.as_text(made, place, device(made.study), on_gpus(made.study)))
    for line in watching.under_other_names(made, options.reports):
        print(line)


COMMAND = Command(
    order=50,
    help="what is done, running, failed and to do, and the time left",
    arguments=arguments,
    run=run,
    without=("torch", "pandas"),
)
