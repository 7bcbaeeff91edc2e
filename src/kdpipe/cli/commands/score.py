"""`kdpipe score --spec JSON`: evaluate an ensemble from its members' stored outputs."""

from kdpipe.cli.command import Command, add_results, open_store, parse_spec


def add_arguments(parser) -> None:
    """Add the arguments of `kdpipe score`."""
    parser.add_argument("--spec", required=True, help="spec of the ensemble, as canonical JSON")
    add_results(parser)


def run(options) -> None:
    """Evaluate one ensemble."""
    from kdpipe.jobs.eval_ensemble import eval_ensemble

    print(eval_ensemble(parse_spec("ensemble", options.spec), open_store(options)))


COMMAND = Command(
    order=240,
    help="evaluate one ensemble from its members' stored outputs (called by a rule)",
    add_arguments=add_arguments,
    run=run,
)
