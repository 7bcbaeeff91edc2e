"""A finished run of which one more checkpoint is asked: it is trained again up to there."""

import shutil

from kdpipe.selfcheck.bench import Bench, differing, record
from kdpipe.selfcheck.check import Check, Outcome


def look(bench: Bench) -> Outcome:
    run = bench.runs().teacher
    whole, place, kept = (bench.place(name) for name in ("one", "replayed", "kept"))
    bench.apart(lambda: bench.train(run, whole, [run.epochs]))
    shutil.copytree(whole.run(run.name), place.run(run.name))
    # A replay whose epochs are others is refused by itself.
    bench.apart(lambda: bench.train(run, place, [1, run.epochs]))
    bench.apart(lambda: bench.train(run, kept, [1, run.epochs]))
    wrong = differing(record(run, place), record(run, kept))
    said = "other bytes in " + ", ".join(wrong) if wrong else "the checkpoint's bytes too"
    return Outcome(not wrong, said)


CHECK = Check(
    order=30,
    title="A finished run replayed to a checkpoint",
    look=look,
    meanwhile="name all checkpoints of a teacher before it is trained",
)
