"""`kdpipe prune STUDY...`: what none of the given studies needs any more; `--yes` removes it."""

from kdpipe.cli.arguments import add_reports, add_results, store
from kdpipe.cli.command import Command


def arguments(parser) -> None:
    parser.add_argument("studies", nargs="+", metavar="STUDY", help="every study to be kept")
    parser.add_argument("--yes", action="store_true", help="remove what is shown")
    parser.add_argument(
        "--outdated", action="store_true", help="and what is made of weights made again since"
    )
    add_reports(parser)
    add_results(parser)


def run(options) -> None:
    from kdpipe.plan import planner
    from kdpipe.report import leftovers
    from kdpipe.study import checking
    from kdpipe.upkeep.prune import prune

    plans = [planner.make(checking.load(path)) for path in options.studies]
    left = leftovers.of(options.reports)
    print(prune(plans, store(options), options.yes, options.outdated, left))


COMMAND = Command(
    order=70,
    help="show what none of the studies needs; with --yes, remove it",
    arguments=arguments,
    run=run,
    without=("torch",),
)
