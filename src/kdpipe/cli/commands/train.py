"""`kdpipe train --spec JSON`: one run, to the end or to where it is interrupted (code 75)."""

import signal
import sys
from pathlib import Path

from kdpipe.cli.command import Command, add_execution_options, add_results, parse_job
from kdpipe.errors import InterruptedRun, KdpipeError


def add_arguments(parser) -> None:
    """Add the arguments of `kdpipe train`."""
    parser.add_argument("--spec", required=True, help="the run's canonical JSON")
    parser.add_argument("--keep", default="", help="epochs whose checkpoints stay, as 0,10,20")
    parser.add_argument(
        "--weights", type=Path, help="the file that a network brings or begins from"
    )
    add_execution_options(parser)
    add_results(parser)


def run(options) -> int:
    """Train one run."""
    from kdpipe.jobs.train import train_run

    try:
        keep_epochs = sorted({int(epoch) for epoch in options.keep.split(",") if epoch})
    except ValueError:
        raise KdpipeError(f"--keep {options.keep}: write epochs as 0,10,20") from None
    signal.signal(signal.SIGTERM, _raise_interrupted)  # training itself saves its state first
    try:
        spec, store, execution_options = parse_job("run", options)
        print(train_run(spec, keep_epochs, store, execution_options))
    except InterruptedRun as interruption:
        print(f"interrupted: {interruption}", file=sys.stderr)
        return 75
    return 0


def _raise_interrupted(*_) -> None:
    """Handle SIGTERM by an exception."""
    raise InterruptedRun("SIGTERM; nothing is lost, start it again to go on")


COMMAND = Command(
    order=220,
    help="train one run (called by a rule)",
    add_arguments=add_arguments,
    run=run,
)
