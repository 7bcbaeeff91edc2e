"""`kdpipe tabulate --spec JSON`: what a teacher answers for every view, for all its students."""

import re

from kdpipe.cli.arguments import add_means, add_results, means, spec, store
from kdpipe.cli.command import Command
from kdpipe.errors import KdpipeError

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,200}")


def arguments(parser) -> None:
    parser.add_argument("--spec", required=True, help="the table's canonical JSON")
    help = "runs that learn from it; the last of them to end takes it away"
    parser.add_argument("--students", nargs="*", default=[], metavar="RUN", help=help)
    add_means(parser)
    add_results(parser)


def run(options) -> None:
    from kdpipe.jobs.tabulate import tabulate

    students = options.students
    if wrong := [name for name in students if not NAME.fullmatch(name)]:
        raise KdpipeError(f"--students: {wrong[0]!r} is no name of a run")
    print(tabulate(spec(options.spec), store(options), means(options), students))


COMMAND = Command(
    order=230,
    help="make one teacher table (called by a rule)",
    arguments=arguments,
    run=run,
)
