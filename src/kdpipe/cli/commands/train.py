"""`kdpipe train --spec JSON`: train one run; exit code 75 if it is interrupted."""

import signal
import sys
from pathlib import Path

from kdpipe.cli.command import Command, add_execution_options, add_results, parse_job
from kdpipe.errors import InterruptedRun, KdpipeError


def add_arguments(parser) -> None:
    """Add the arguments of `kdpipe train`."""
    parser.add_argument("--spec", required=True, help="spec of the run, as canonical JSON")
    parser.add_argument(
        "--keep", default="", help="epochs whose checkpoints are kept, e.g. 0,10,20"
    )
    parser.add_argument(
        "--weights", type=Path, help="file with a network's pretrained or initial weights"
    )
    add_execution_options(parser)
    add_results(parser)


def run(options) -> int:
    """Train one run."""
    from kdpipe.jobs.train import train_run

    try:
        keep_epochs = sorted({int(epoch) for epoch in options.keep.split(",") if epoch})
    except ValueError:
        raise KdpipeError(f"--keep {options.keep}: give epochs as 0,10,20") from None
    signal.signal(signal.SIGTERM, _raise_interrupted)  # training itself saves its state first
    try:
        spec, store, execution_options = parse_job("run", options)
        print(train_run(spec, keep_epochs, store, execution_options))
    except InterruptedRun as interruption:
        print(f"interrupted: {interruption}", file=sys.stderr)
        return 75
    return 0


def _raise_interrupted(*_) -> None:
    """Raise an exception on SIGTERM."""
    raise InterruptedRun("SIGTERM; the state is saved, start it again to continue")


COMMAND = Command(
    order=220,
    help="train one run (called by a rule)",
    add_arguments=add_arguments,
    run=run,
)
