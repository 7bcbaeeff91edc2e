"""Trains a network twice whose batches are cut into two parts (`recipe.shards: 2`).

Both parts run in one process on one GPU: several GPUs for one network are not tried here.
"""

from kdpipe.gpu_check.check import Check, Outcome
from kdpipe.gpu_check.fixtures import CheckFixture, diff_files, load_run_record


def run_check(fixture: CheckFixture) -> Outcome:
    """Run the check."""
    run = fixture.get_runs(shards=2).teacher
    stores = [fixture.make_store(name) for name in ("shards", "again")]
    for store in stores:
        fixture.run_forked(lambda store=store: fixture.train(run, store))
    differences = diff_files(*(load_run_record(run, store) for store in stores))
    message = "other bytes in " + ", ".join(differences) if differences else "the same bytes"
    return Outcome(not differences, f"{message}, in one process")


CHECK = Check(
    order=45,
    title="A run with batches in parts, twice",
    function=run_check,
    meanwhile="remove shards from the recipe",
)
