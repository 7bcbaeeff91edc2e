"""`kdpipe gauge --spec JSON`: measure error, size and latency of an exported network."""

from kdpipe.cli.command import Command, add_execution_options, add_results, parse_job


def add_arguments(parser) -> None:
    """Add the arguments of `kdpipe gauge`."""
    parser.add_argument(
        "--spec", required=True, help="spec of the export evaluation, as canonical JSON"
    )
    add_execution_options(parser)
    add_results(parser)


def run(options) -> None:
    """Measure one exported network."""
    from kdpipe.export.evaluate import evaluate_export

    print(evaluate_export(*parse_job("gauge", options)))


COMMAND = Command(
    order=255,
    help="measure one exported network (called by a rule)",
    add_arguments=add_arguments,
    run=run,
)
