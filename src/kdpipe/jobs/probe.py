"""The job that fits a linear probe on the features of a network for another data set."""

import time
from importlib import metadata
from pathlib import Path

from kdpipe.devices import leases
from kdpipe.errors import DivergedError
from kdpipe.jobs import post_hoc
from kdpipe.jobs.run_record import build_manifest, describe_device
from kdpipe.runs.execution_options import CPU_OPTIONS, ExecutionOptions
from kdpipe.runs.spec import ProbeSpec
from kdpipe.runs.store import Store


def probe_run(spec: ProbeSpec, store: Store, options: ExecutionOptions = CPU_OPTIONS) -> str:
    """Probe a finished network on another data set; return the last line of the log.

    The features are not kept; the record has the chosen strength of the regularization and the
    validation result of each strength, and the outputs on validation and test are stored next to
    it.
    """

    def compute(record: dict, folder: Path) -> dict:
        return _run_probe(spec, record, folder, store, options)

    def describe_size() -> str:
        return f"train_size {spec.data.train_size}"

    return post_hoc.run_post_hoc(spec, store, describe_size, compute, options.code)


def _run_probe(
    spec: ProbeSpec, record: dict, folder: Path, store: Store, options: ExecutionOptions
) -> dict:
    """Return the record of a probe of a run whose training succeeded."""
    try:
        with leases.acquire_gpus(options.device, options.runs_per_gpu):
            import torch  # it has to find the leased GPU

            from kdpipe.training import linear_probe

            start_time = time.monotonic()
            probe_data = linear_probe.extract_probe_data(spec, store, options)
            device = describe_device(options.device, spec.threads)
        # On the CPU, while others have the GPU.
        results = linear_probe.run_probe(spec, record["digest"], folder, probe_data)
    except DivergedError as outcome:
        return record | {"status": "diverged", "reason": str(outcome)}
    libraries = {"torch": torch.__version__, "scikit-learn": metadata.version("scikit-learn")}
    record["versions"] |= libraries
    return record | {
        "status": "done",
        "device": device,
        "seconds": {"total": round(time.monotonic() - start_time, 3)},
        **results,
        "files": build_manifest(folder),
    }
