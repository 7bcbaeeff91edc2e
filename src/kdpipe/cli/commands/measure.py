"""`kdpipe measure`: benchmark networks given as JSON on standard input."""

import json
import sys

from kdpipe.cli.command import Command, add_execution_options, parse_execution_options
from kdpipe.errors import KdpipeError


def add_arguments(parser) -> None:
    """Add the arguments of `kdpipe measure`."""
    help = "time limit"
    parser.add_argument("--seconds", type=float, required=True, metavar="N", help=help)
    help = "start time of the process, in seconds of the machine's clock"
    parser.add_argument("--since", type=float, required=True, metavar="T", help=help)
    add_execution_options(parser)


def run(options) -> None:
    """Benchmark networks that are given as JSON on standard input."""
    from kdpipe.jobs.measure import measure_speeds

    try:
        request = json.load(sys.stdin)
    except ValueError as error:
        raise KdpipeError(f"kdpipe measure: standard input is not JSON ({error})") from None
    for speed in measure_speeds(
        request, options.seconds, options.since, parse_execution_options(options)
    ):
        print(json.dumps(speed), flush=True)


COMMAND = Command(
    order=260,
    help="benchmark networks for a cost estimate (called by plan --measure and run)",
    add_arguments=add_arguments,
    run=run,
)
