"""Images a second of a student that learns from a table and from a live teacher."""

from kdpipe.selfcheck.bench import Bench
from kdpipe.selfcheck.check import Check, Outcome


def look(bench: Bench) -> Outcome:
    numbers = {}
    for outputs in ("table", "live"):
        runs, place = bench.runs("timed", outputs), bench.place("timed")
        (record,) = bench.apart(lambda runs=runs, place=place: bench.taught(runs, place, True))
        numbers[f"{outputs}_images_per_second"] = record["images_per_second"]
    table, live = numbers.values()
    names = f"{runs.student.network} from {runs.teacher.network}"
    said = f"{names}: {table:,.0f} images a second by table, {live:,.0f} live"
    return Outcome(None, said, numbers)


CHECK = Check(
    order=100,
    title="Throughput, by table and live",
    look=look,
    meanwhile="teacher_outputs: the faster of the two",
)
