"""One, two and four runs on one GPU at a time: images a second of all together."""

from kdpipe.selfcheck.bench import Bench
from kdpipe.selfcheck.check import Check, Outcome


def look(bench: Bench) -> Outcome:
    runs, numbers = bench.runs("timed"), {}
    run = runs.plan.scratch[runs.student.network, 0, 0]
    for count in (1, 2, 4):
        places = [bench.place(f"{count}-{number}") for number in range(count)]
        records = bench.apart(
            *(lambda place=place, count=count: bench.timed(run, place, count) for place in places)
        )
        numbers[f"{count}_images_per_second"] = sum(one["images_per_second"] for one in records)
    said = ", ".join(f"{value:,.0f} of {key[0]}" for key, value in numbers.items())
    return Outcome(None, f"images a second: {said} at a time", numbers)


CHECK = Check(
    order=110,
    title="One, two and four runs on one GPU",
    look=look,
    meanwhile="runs_per_gpu: the number with the most images a second",
)
