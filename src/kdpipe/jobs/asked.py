"""What the jobs have in common that ask a finished network something, once."""

from collections.abc import Callable
from pathlib import Path

from kdpipe import identity
from kdpipe.jobs.failures import failures_noted
from kdpipe.jobs.record import blank, summary, tidy
from kdpipe.results import records
from kdpipe.results.parents import failed_member, made_of
from kdpipe.results.store import Store, only_one
from kdpipe.specs import admission


def once(
    kind: str,
    spec: dict,
    place: Store,
    size: Callable[[], str],
    ask: Callable[[dict, Path], dict],
) -> str:
    """Publish the record of what is asked of the run in a spec; returns a line.

    ask: given the record that it begins with and its folder, the record of what came out. What is
    finished stays; of a run that ended in another way than done nothing is asked. size: what of
    the job could be made smaller, of a spec that was taken.
    """
    digest = identity.digest(spec)
    name = admission.name_of(kind, spec, digest)
    folder = place.root / f"{kind}s" / name
    with only_one(folder), failures_noted(folder, size()):
        reason = failed_member([spec], place)
        old = records.finished(folder, digest)
        if old is not None and (old["status"] != "skipped" or reason is not None):
            records.publish(folder, old)
            tidy(folder)
            return f"{name}: finished before ({old['status']})"
        record = blank(kind, name, digest, spec)
        if reason is not None:
            record |= {"status": "skipped", "reason": reason}
        else:
            record[records.PARENTS] = made_of([spec], place)
            record = ask(record, folder)
        records.publish(folder, record)
        tidy(folder)
    return summary(record)
