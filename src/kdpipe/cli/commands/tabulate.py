"""`kdpipe tabulate --spec JSON`: cache a teacher's logits for all its students."""

import re

from kdpipe.cli.command import Command, add_execution_options, add_results, parse_job
from kdpipe.errors import KdpipeError

RUN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,200}")


def add_arguments(parser) -> None:
    """Add the arguments of `kdpipe tabulate`."""
    parser.add_argument("--spec", required=True, help="spec of the logit cache, as canonical JSON")
    help = "runs that learn from it; the cache is removed after the last of them"
    parser.add_argument("--students", nargs="*", default=[], metavar="RUN", help=help)
    add_execution_options(parser)
    add_results(parser)


def run(options) -> None:
    """Cache the logits of one teacher."""
    from kdpipe.jobs.cache_logits import cache_logits

    students = options.students
    if invalid_names := [name for name in students if not RUN_NAME.fullmatch(name)]:
        raise KdpipeError(f"--students: {invalid_names[0]!r} is not the name of a run")
    print(cache_logits(*parse_job("table", options), students))


COMMAND = Command(
    order=230,
    help="cache one teacher's logits (called by a rule)",
    add_arguments=add_arguments,
    run=run,
)
