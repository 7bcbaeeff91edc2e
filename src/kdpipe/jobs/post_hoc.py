"""The common part of the jobs that measure a finished network: probes, export evaluations."""

from collections.abc import Callable
from pathlib import Path

from kdpipe.jobs import validate
from kdpipe.jobs.run_record import add_code, clean_up, format_summary, new_record, record_failures
from kdpipe.runs import records
from kdpipe.runs.spec import ExportEvalSpec, ProbeSpec
from kdpipe.runs.store import Store, lock_run_folder
from kdpipe.runs.upstream import find_failed_parent, list_parent_checksums


def run_post_hoc(
    spec: ProbeSpec | ExportEvalSpec,
    store: Store,
    size: Callable[[], str],
    compute: Callable[[dict, Path], dict],
    code: Path | None = None,
) -> str:
    """Publish the record of a measurement of a finished run.

    A finished measurement is kept. If the run diverged or was skipped, the measurement is skipped.

    Parameters
    ----------
    spec : ProbeSpec or ExportEvalSpec
        The measurement.
    store : Store
        The results folder.
    size : callable
        Returns what could be made smaller to need less memory; called after the spec was validated.
    compute : callable
        From the new record and its folder to the record with results.
    code : Path or None
        The folder of the code of custom networks, whose digests the record states.

    Returns
    -------
    str
        The last line of the log.
    """
    validate.validate_spec(spec)
    digest, name = spec.digest, spec.name
    folder = store.root / f"{spec.kind}s" / name
    with lock_run_folder(folder), record_failures(folder, size()):
        reason = find_failed_parent(spec.members, store)
        old_record = records.read_finished_record(folder, digest)
        if old_record is not None and (old_record["status"] != "skipped" or reason is not None):
            records.publish_record(folder, old_record)
            clean_up(folder)
            return f"{name}: finished before ({old_record['status']})"
        record = new_record(spec)
        if reason is not None:
            record |= {"status": "skipped", "reason": reason}
        else:
            record[records.PARENTS_KEY] = list_parent_checksums(spec.members, store)
            record = add_code(compute(record, folder), code)
        records.publish_record(folder, record)
        clean_up(folder)
    return format_summary(record)
