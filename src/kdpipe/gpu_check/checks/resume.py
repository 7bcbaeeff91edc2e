"""Compares a run that is killed and resumed with one that is not interrupted."""

import time

from kdpipe.gpu_check import fixtures
from kdpipe.gpu_check.check import Check, Outcome
from kdpipe.gpu_check.fixtures import CheckFixture, diff_files, load_run_record
from kdpipe.runs import run_folder


def run_check(fixture: CheckFixture) -> Outcome:
    """Run the check."""
    run = fixture.get_runs().teacher
    whole_store, store = fixture.make_store("one"), fixture.make_store("killed")
    epochs = [run.epochs]  # as for the student's teacher
    fixture.run_forked(lambda: fixture.train(run, whole_store, epochs))
    child = fixtures.ForkedCall(lambda: fixture.train(run, store, epochs), fixture.log)
    state_path, record_path = (
        run_folder.state_path(store.run(run.name)),
        store.run(run.name) / run_folder.RECORD_FILE,
    )
    while not state_path.exists() and not record_path.exists() and fixture.time_left():
        time.sleep(0.001)
    child.kill()
    was_running = state_path.exists() and not record_path.exists()
    try:
        child.result(fixture.deadline)
    except fixtures.SubprocessError as error:
        if "signal 9" not in str(error):
            raise
    if not was_running:
        return Outcome(None, "it ended before it could be killed")
    fixture.run_forked(lambda: fixture.train(run, store, epochs))
    differences = diff_files(load_run_record(run, whole_store), load_run_record(run, store))
    return Outcome(
        not differences,
        "other bytes in " + ", ".join(differences) if differences else "the same bytes",
    )


CHECK = Check(
    order=20,
    title="A run killed and resumed",
    function=run_check,
    meanwhile="jobs shorter than the time limit, or device: cpu: a resumed run differs here",
)
