"""Measures the throughput of a student with a logit cache, and with a live teacher."""

from kdpipe.gpu_check.check import Check, Outcome
from kdpipe.gpu_check.fixtures import CheckFixture


def run_check(fixture: CheckFixture) -> Outcome:
    """Run the check."""
    numbers = {}
    for outputs in ("table", "live"):
        runs, store = fixture.get_runs("timed", outputs), fixture.make_store("timed")
        (student_record,) = fixture.run_forked(
            lambda runs=runs, store=store: fixture.train_student(runs, store, True)
        )
        numbers[f"{outputs}_images_per_second"] = student_record["images_per_second"]
    table, live = numbers.values()
    names = f"{runs.student.network} from {runs.teacher.network}"
    message = f"{names}: {table:,.0f} images per second with a logit cache, {live:,.0f} live"
    return Outcome(None, message, numbers)


CHECK = Check(
    order=100,
    title="Throughput, with a logit cache and live",
    function=run_check,
    meanwhile="teacher_outputs: the faster of the two",
)
