"""A finished run of which one more checkpoint is asked: it is trained again up to there."""

import shutil

from kdpipe.selfcheck.bench import Bench
from kdpipe.selfcheck.check import Check, Outcome


def look(bench: Bench) -> Outcome:
    run = bench.runs().teacher
    whole, place = bench.place("one"), bench.place("replayed")
    bench.apart(lambda: bench.train(run, whole, [run.epochs]))
    shutil.copytree(whole.run(run.name), place.run(run.name))
    (record,) = bench.apart(lambda: bench.train(run, place, [1, run.epochs]))
    there = "1" in record["checkpoints"]
    return Outcome(there, "the checkpoint of epoch 1" if there else "no checkpoint of epoch 1")


CHECK = Check(
    order=30,
    title="A finished run replayed to a checkpoint",
    look=look,
    meanwhile="name all checkpoints of a teacher before it is trained",
)
