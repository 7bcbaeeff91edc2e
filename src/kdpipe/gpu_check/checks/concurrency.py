"""Measures the total throughput of one, two and four runs that share a GPU."""

from kdpipe.gpu_check.check import Check, Outcome
from kdpipe.gpu_check.fixtures import CheckFixture


def run_check(fixture: CheckFixture) -> Outcome:
    """Run the check."""
    runs, numbers = fixture.get_runs("timed"), {}
    run = runs.plan.scratch[runs.student.network, 0, 0]
    for count in (1, 2, 4):
        stores = [fixture.make_store(f"{count}-{number}") for number in range(count)]
        records = fixture.run_forked(
            *(
                lambda store=store, count=count: fixture.train_timed(run, store, count)
                for store in stores
            )
        )
        numbers[f"{count}_images_per_second"] = sum(
            record["images_per_second"] for record in records
        )
    message = ", ".join(f"{value:,.0f} of {key[0]}" for key, value in numbers.items())
    return Outcome(None, f"images per second: {message} at a time", numbers)


CHECK = Check(
    order=110,
    title="One, two and four runs on one GPU",
    function=run_check,
    meanwhile="runs_per_gpu: the number with the most images per second",
)
