"""Retrains a finished run up to a checkpoint that it did not keep."""

import shutil

from kdpipe.gpu_check.check import Check, Outcome
from kdpipe.gpu_check.fixtures import CheckFixture, diff_files, load_run_record


def run_check(fixture: CheckFixture) -> Outcome:
    """Run the check."""
    run = fixture.get_runs().teacher
    whole_store, store, full_store = (
        fixture.make_store(name) for name in ("one", "replayed", "kept")
    )
    fixture.run_forked(lambda: fixture.train(run, whole_store, [run.epochs]))
    shutil.copytree(whole_store.run(run.name), store.run(run.name))
    # A replay whose epochs differ fails by itself.
    fixture.run_forked(lambda: fixture.train(run, store, [1, run.epochs]))
    fixture.run_forked(lambda: fixture.train(run, full_store, [1, run.epochs]))
    differences = diff_files(load_run_record(run, store), load_run_record(run, full_store))
    message = (
        "other bytes in " + ", ".join(differences)
        if differences
        else "the same bytes of the checkpoint"
    )
    return Outcome(not differences, message)


CHECK = Check(
    order=30,
    title="A finished run replayed to a checkpoint",
    function=run_check,
    meanwhile="name all checkpoints of a teacher before it is trained",
)
