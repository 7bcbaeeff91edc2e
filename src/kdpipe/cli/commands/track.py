"""`kdpipe track STUDY --to TRACKER`: log curves and results to TensorBoard or MLflow."""

import shlex
from pathlib import Path

from kdpipe import registry
from kdpipe.cli.command import Command, add_results, open_store


def add_arguments(parser) -> None:
    """Add the arguments of `kdpipe track`."""
    parser.add_argument("study", help="a study file")
    # Only the file names are listed here: the selected tracker is imported later.
    tracker_names = registry.list_names("kdpipe.workflow.trackers")
    parser.add_argument("--to", choices=tracker_names, required=True, help="the experiment tracker")
    help = "output folder; default: the name of the tracker"
    parser.add_argument("--folder", type=Path, metavar="DIR", help=help)
    help = (
        "keep logging while the study runs, here or elsewhere, until it is finished or no job is "
        "running"
    )
    parser.add_argument("--follow", action="store_true", help=help)
    add_results(parser)


def run(options) -> None:
    """Log curves and records to a tracker, once or until the study ends."""
    from kdpipe.analysis.search import rounds
    from kdpipe.config import load
    from kdpipe.workflow import tracking

    store, study = open_store(options), load.load_study(options.study)
    folder = options.folder or Path(options.to)
    with tracking.lock_tracker(folder, study.study):
        tracker, tracker_run = tracking.open_tracker(options.to, folder, study.study)
        try:
            if options.follow:
                remaining, runs = tracking.sync_until_done(
                    lambda: rounds.plan_due_runs(study, store),
                    store,
                    tracker_run,
                    lambda *added: _report_sync(folder, *added),
                )
                if remaining:
                    print(
                        f"{remaining:,} of {runs:,} runs are to do, and no job is running: see "
                        f"kdpipe status {shlex.quote(options.study)}"
                    )
            else:
                plan = rounds.plan_due_runs(study, store)
                _report_sync(folder, *tracking.sync_study(plan, store, tracker_run))
        finally:
            tracker_run.close()
    print(f"to view it: {tracker.show.format(folder=folder)}")


def _report_sync(folder: Path, epochs: int, records: int) -> None:
    """Print what was added."""
    print(f"{folder}: {epochs:,} epochs and {records:,} records added", flush=True)


COMMAND = Command(
    order=55,
    help="log curves and results to TensorBoard or MLflow",
    add_arguments=add_arguments,
    run=run,
)
