"""`kdpipe probe --spec JSON`: how well the features of one network serve another data set."""

from kdpipe.cli.arguments import add_means, add_results, means, spec, store
from kdpipe.cli.command import Command


def arguments(parser) -> None:
    parser.add_argument("--spec", required=True, help="the probe's canonical JSON")
    add_means(parser)
    add_results(parser)


def run(options) -> None:
    from kdpipe.jobs.probe import probe

    print(probe(spec(options.spec), store(options), means(options)))


COMMAND = Command(
    order=250,
    help="probe one network on another data set (called by a rule)",
    arguments=arguments,
    run=run,
)
