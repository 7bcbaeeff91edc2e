"""`kdpipe measure`: how fast networks train here; JSON on standard input, a line for each."""

import json
import sys

from kdpipe.cli.command import Command, add_execution_options, parse_execution_options
from kdpipe.errors import KdpipeError


def add_arguments(parser) -> None:
    """Add the arguments of `kdpipe measure`."""
    help = "how long it may take"
    parser.add_argument("--seconds", type=float, required=True, metavar="N", help=help)
    help = "when the process was started, in seconds of the machine's clock"
    parser.add_argument("--since", type=float, required=True, metavar="T", help=help)
    add_execution_options(parser)


def run(options) -> None:
    """Time networks that are given as JSON on standard input."""
    from kdpipe.jobs.measure import measure_speeds

    try:
        request = json.load(sys.stdin)
    except ValueError as error:
        raise KdpipeError(f"kdpipe measure: what is asked is not JSON ({error})") from None
    for speed in measure_speeds(
        request, options.seconds, options.since, parse_execution_options(options)
    ):
        print(json.dumps(speed), flush=True)


COMMAND = Command(
    order=260,
    help="time networks for a price (called by plan --measure and run)",
    add_arguments=add_arguments,
    run=run,
)
