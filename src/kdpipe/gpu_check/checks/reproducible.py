"""Trains the same teacher, logit cache and student twice, each in a separate process."""

from kdpipe.gpu_check.check import Check, Outcome
from kdpipe.gpu_check.fixtures import CheckFixture, diff_files, load_run_record


def run_check(fixture: CheckFixture) -> Outcome:
    """Run the check."""
    runs, stores = fixture.get_runs(), [fixture.make_store("one"), fixture.make_store("another")]
    fixture.run_forked(
        *(lambda store=store: fixture.train_student(runs, store) for store in stores[:1])
    )
    fixture.run_forked(
        *(lambda store=store: fixture.train_student(runs, store) for store in stores[1:])
    )
    differences = [
        f"{run.network}: {name}"
        for run in (runs.teacher, runs.student)
        for name in diff_files(*(load_run_record(run, store) for store in stores))
    ]
    message = "other bytes in " + ", ".join(differences) if differences else "the same bytes"
    return Outcome(not differences, message)


CHECK = Check(
    order=10,
    title="A run trained twice",
    function=run_check,
    meanwhile="device: cpu where bytes matter; otherwise treat results as those of `kernels: any`",
)
