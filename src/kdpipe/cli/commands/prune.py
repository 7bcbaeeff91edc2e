"""`kdpipe prune STUDY...`: list the results that no study needs; `--yes` removes them."""

from kdpipe.cli.command import Command, add_reports, add_results, open_store


def add_arguments(parser) -> None:
    """Add the arguments of `kdpipe prune`."""
    parser.add_argument(
        "studies", nargs="+", metavar="STUDY", help="study files whose results are kept"
    )
    parser.add_argument("--yes", action="store_true", help="remove the listed results")
    parser.add_argument(
        "--outdated",
        action="store_true",
        help="also list results computed from weights that were retrained since",
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
    help="list results that none of the studies needs; remove them with --yes",
    add_arguments=add_arguments,
    run=run,
    never_imports=("torch",),
)
