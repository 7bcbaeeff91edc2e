"""`kdpipe measure`: how fast networks train here; asked in JSON, answered in a line for each."""

import json
import sys

from kdpipe.cli.arguments import add_means, means
from kdpipe.cli.command import Command
from kdpipe.errors import KdpipeError


def arguments(parser) -> None:
    help = "how long it may take"
    parser.add_argument("--seconds", type=float, required=True, metavar="N", help=help)
    help = "when the process was started, in seconds of the machine's clock"
    parser.add_argument("--since", type=float, required=True, metavar="T", help=help)
    add_means(parser)


def run(options) -> None:
    from kdpipe.jobs.measure import measure

    try:
        asked = json.load(sys.stdin)
    except ValueError as error:
        raise KdpipeError(f"kdpipe measure: what is asked is not JSON ({error})") from None
    for speed in measure(asked, options.seconds, options.since, means(options)):
        print(json.dumps(speed), flush=True)


COMMAND = Command(
    order=260,
    help="time networks for a price (called by plan --measure and run)",
    arguments=arguments,
    run=run,
)
