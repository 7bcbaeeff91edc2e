"""A run that is killed in the middle and started again, beside one that never was."""

import time

from kdpipe.results import run_folder
from kdpipe.selfcheck import apart
from kdpipe.selfcheck.bench import Bench, differing, record
from kdpipe.selfcheck.check import Check, Outcome


def look(bench: Bench) -> Outcome:
    run = bench.runs().teacher
    whole, place = bench.place("one"), bench.place("killed")
    epochs = [run.epochs]  # as the student's teacher keeps them
    bench.apart(lambda: bench.train(run, whole, epochs))
    child = apart.Child(lambda: bench.train(run, place, epochs), bench.log)
    state, ended = run_folder.state(place.run(run.name)), place.run(run.name) / run_folder.RECORD
    while not state.exists() and not ended.exists() and bench.left():
        time.sleep(0.001)
    child.kill()
    was = state.exists() and not ended.exists()
    try:
        child.result(bench.until)
    except apart.Fault as fault:
        if "signal 9" not in str(fault):
            raise
    if not was:
        return Outcome(None, "it had ended before it could be killed")
    bench.apart(lambda: bench.train(run, place, epochs))
    wrong = differing(record(run, whole), record(run, place))
    return Outcome(not wrong, "other bytes in " + ", ".join(wrong) if wrong else "the same bytes")


CHECK = Check(
    order=20,
    title="A run killed and resumed",
    look=look,
    meanwhile="jobs shorter than the time limit, or device: cpu: a resumed run is another one here",
)
