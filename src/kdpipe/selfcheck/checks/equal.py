"""Two trainings of one run, each in a process of its own: a teacher, its table, and a student."""

from kdpipe.selfcheck.bench import Bench, differing, record
from kdpipe.selfcheck.check import Check, Outcome


def look(bench: Bench) -> Outcome:
    runs, places = bench.runs(), [bench.place("one"), bench.place("another")]
    bench.apart(*(lambda place=place: bench.taught(runs, place) for place in places[:1]))
    bench.apart(*(lambda place=place: bench.taught(runs, place) for place in places[1:]))
    wrong = [
        f"{run.network}: {name}"
        for run in (runs.teacher, runs.student)
        for name in differing(*(record(run, place) for place in places))
    ]
    said = "other bytes in " + ", ".join(wrong) if wrong else "the same bytes"
    return Outcome(not wrong, said)


CHECK = Check(
    order=10,
    title="A run trained twice",
    look=look,
    meanwhile="device: cpu where bytes matter; else go on, and read records as of `kernels: any`",
)
