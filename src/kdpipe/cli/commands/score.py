"""`kdpipe score --spec JSON`: one ensemble, from the stored outputs of its members."""

from kdpipe.cli.arguments import add_results, spec, store
from kdpipe.cli.command import Command


def arguments(parser) -> None:
    parser.add_argument("--spec", required=True, help="the ensemble's canonical JSON")
    add_results(parser)


def run(options) -> None:
    from kdpipe.jobs.score import score

    print(score(spec(options.spec), store(options)))


COMMAND = Command(
    order=240,
    help="score one ensemble from stored outputs (called by a rule)",
    arguments=arguments,
    run=run,
)
