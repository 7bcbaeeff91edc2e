"""The job that probes one network: what its features are worth on another data set."""

import time
from importlib import metadata
from pathlib import Path

from kdpipe import identity
from kdpipe.errors import Diverged
from kdpipe.jobs.failures import failures_noted
from kdpipe.jobs.record import blank, facts_of_device, facts_of_files, summary, tidy
from kdpipe.results import records
from kdpipe.results.parents import failed_member, made_of
from kdpipe.results.store import Store, only_one
from kdpipe.specs import admission
from kdpipe.specs.equipment import CPU, Means
from kdpipe.training import devices


def probe(spec: dict, place: Store, means: Means = CPU) -> str:
    """Probe a finished network on another data set; returns a line.

    Features are taken and thrown away; the record keeps the chosen strength and what each came
    to, the outputs on val and test lie beside it.
    """
    digest = identity.digest(spec)
    name = admission.name_of("probe", spec, digest)
    folder = place.probe(name)
    size = f"train_size {spec['data']['train_size']}"
    with only_one(folder), failures_noted(folder, size):
        reason = failed_member([spec], place)
        old = records.finished(folder, digest)
        if old is not None and (old["status"] != "skipped" or reason is not None):
            records.publish(folder, old)
            tidy(folder)
            return f"{name}: finished before ({old['status']})"
        record = blank("probe", name, digest, spec)
        if reason is not None:
            record |= {"status": "skipped", "reason": reason}
        else:
            record[records.PARENTS] = made_of([spec], place)
            with devices.held(means.device, means.runs_per_gpu):
                record = _probe(record, folder, place, means)
        records.publish(folder, record)
        tidy(folder)
    return summary(record)


def _probe(record: dict, folder: Path, place: Store, means: Means) -> dict:
    """The record of a probe that could be made."""
    import torch

    from kdpipe.training import probing

    spec = record["spec"]
    began = time.monotonic()
    try:
        found = probing.probe(spec, record["digest"], folder, place, means)
    except Diverged as outcome:
        return record | {"status": "diverged", "reason": str(outcome)}
    libraries = {"torch": torch.__version__, "scikit-learn": metadata.version("scikit-learn")}
    record["versions"] |= libraries
    return record | {
        "status": "done",
        "device": facts_of_device(means.device, spec["threads"]),
        "seconds": {"total": round(time.monotonic() - began, 3)},
        **found,
        "files": facts_of_files(folder),
    }
