"""`kdpipe prune STUDY...`: what none of these studies needs; `--yes` removes it."""

from kdpipe.cli.command import Command, add_reports, add_results, open_store


def add_arguments(parser) -> None:
    """Add the arguments of `kdpipe prune`."""
    parser.add_argument("studies", nargs="+", metavar="STUDY", help="every study to be kept")
    parser.add_argument("--yes", action="store_true", help="remove what is shown")
    parser.add_argument(
        "--outdated", action="store_true", help="and what is made of weights made again since"
    )
    add_reports(parser)
    add_results(parser)


def run(options) -> None:
    """Print, or remove, what no study needs."""
    from kdpipe.config import load
    from kdpipe.plan import planner
    from kdpipe.report import fingerprint
    from kdpipe.runs.integrity.prune import prune_store

    plans = [planner.build_plan(load.load_study(path)) for path in options.studies]
    old_reports = fingerprint.find_report_orphans(options.reports)
    print(prune_store(plans, open_store(options), options.yes, options.outdated, old_reports))


COMMAND = Command(
    order=70,
    help="show what none of the studies needs; with --yes, remove it",
    add_arguments=add_arguments,
    run=run,
    never_imports=("torch",),
)
