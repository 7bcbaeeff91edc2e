"""`kdpipe gauge --spec JSON`: what one network comes to as a file that ships."""

from kdpipe.cli.arguments import add_means, add_results, means, spec, store
from kdpipe.cli.command import Command


def arguments(parser) -> None:
    parser.add_argument("--spec", required=True, help="the gauge's canonical JSON")
    add_means(parser)
    add_results(parser)


def run(options) -> None:
    from kdpipe.shipping.gauge import gauge

    print(gauge(spec(options.spec), store(options), means(options)))


COMMAND = Command(
    order=255,
    help="measure one network as a file that ships (called by a rule)",
    arguments=arguments,
    run=run,
)
