"""The job that probes one network: what its features are worth on another data set."""

import time
from importlib import metadata
from pathlib import Path

from kdpipe.devices import leases
from kdpipe.errors import Diverged
from kdpipe.jobs import asked
from kdpipe.jobs.record import facts_of_device, facts_of_files
from kdpipe.results.store import Store
from kdpipe.specs.equipment import CPU, Means


def probe(spec: dict, place: Store, means: Means = CPU) -> str:
    """Probe a finished network on another data set; returns a line.

    Features are taken and thrown away; the record keeps the chosen strength and what each came
    to, the outputs on val and test lie beside it.
    """

    def ask(record: dict, folder: Path) -> dict:
        return _probe(record, folder, place, means)

    return asked.once("probe", spec, place, lambda: f"train_size {spec['data']['train_size']}", ask)


def _probe(record: dict, folder: Path, place: Store, means: Means) -> dict:
    """The record of a probe that could be made."""
    spec = record["spec"]
    try:
        with leases.held(means.device, means.runs_per_gpu):
            import torch  # it has to find the leased GPU

            from kdpipe.training import probing

            began = time.monotonic()
            seen = probing.given(spec, place, means)
            device = facts_of_device(means.device, spec["threads"])
        # On the CPU, while others have the GPU.
        found = probing.probe(spec, record["digest"], folder, seen)
    except Diverged as outcome:
        return record | {"status": "diverged", "reason": str(outcome)}
    libraries = {"torch": torch.__version__, "scikit-learn": metadata.version("scikit-learn")}
    record["versions"] |= libraries
    return record | {
        "status": "done",
        "device": device,
        "seconds": {"total": round(time.monotonic() - began, 3)},
        **found,
        "files": facts_of_files(folder),
    }
