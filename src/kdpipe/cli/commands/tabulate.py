"""`kdpipe tabulate --spec JSON`: what a teacher answers for every view, for all its students."""

from kdpipe.cli.arguments import add_means, add_results, means, spec, store
from kdpipe.cli.command import Command


def arguments(parser) -> None:
    parser.add_argument("--spec", required=True, help="the table's canonical JSON")
    add_means(parser)
    add_results(parser)


def run(options) -> None:
    from kdpipe.jobs.tabulate import tabulate

    print(tabulate(spec(options.spec), store(options), means(options)))


COMMAND = Command(
    order=230,
    help="make one teacher table (called by a rule)",
    arguments=arguments,
    run=run,
)
