"""`kdpipe probe --spec JSON`: evaluate a network's features on another data set."""

from kdpipe.cli.command import Command, add_execution_options, add_results, parse_job


def add_arguments(parser) -> None:
    """Add the arguments of `kdpipe probe`."""
    parser.add_argument("--spec", required=True, help="spec of the probe, as canonical JSON")
    add_execution_options(parser)
    add_results(parser)


def run(options) -> None:
    """Fit a linear probe on the features of one network."""
    from kdpipe.jobs.probe import probe_run

    print(probe_run(*parse_job("probe", options)))


COMMAND = Command(
    order=250,
    help="fit a linear probe on one network's features (called by a rule)",
    add_arguments=add_arguments,
    run=run,
)
