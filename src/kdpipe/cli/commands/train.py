"""`kdpipe train --spec JSON`: one run, to the end or to where it is interrupted (code 75)."""

import signal
import sys
from pathlib import Path

from kdpipe.cli.arguments import add_means, add_results, means, spec, store
from kdpipe.cli.command import Command
from kdpipe.errors import Interrupted, KdpipeError


def arguments(parser) -> None:
    parser.add_argument("--spec", required=True, help="the run's canonical JSON")
    parser.add_argument("--keep", default="", help="epochs whose checkpoints stay, as 0,10,20")
    parser.add_argument(
        "--weights", type=Path, help="the file that a network brings or begins from"
    )
    add_means(parser)
    add_results(parser)


def run(options) -> int:
    from kdpipe.jobs.train import train

    try:
        keep = sorted({int(epoch) for epoch in options.keep.split(",") if epoch})
    except ValueError:
        raise KdpipeError(f"--keep {options.keep}: write epochs as 0,10,20") from None
    signal.signal(signal.SIGTERM, _leave)  # training itself saves its state first
    try:
        place = store(options)
        print(train(spec(options.spec), keep, place, means(options)))
    except Interrupted as interruption:
        print(f"interrupted: {interruption}", file=sys.stderr)
        return 75
    return 0


def _leave(*_) -> None:
    raise Interrupted("SIGTERM; nothing is lost, start it again to go on")


COMMAND = Command(
    order=220,
    help="train one run (called by a rule)",
    arguments=arguments,
    run=run,
)
