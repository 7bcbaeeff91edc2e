"""The job that makes one teacher table: what a checkpoint answers for every image and view."""

import contextlib
import json

from kdpipe import identity
from kdpipe.jobs.failures import failures_noted
from kdpipe.results import leftovers, marks, parents
from kdpipe.results.store import Store, only_one
from kdpipe.specs import admission
from kdpipe.specs.equipment import CPU, Means
from kdpipe.training import devices


def tabulate(spec: dict, place: Store, means: Means = CPU) -> str:
    """Make a teacher table; returns a line. One that is there and whole is left as it is."""
    digest = identity.digest(spec)
    name = admission.name_of("table", spec, digest)
    work = place.table(f".{name}")
    size = f"a table of {spec['data']['train_size']} images"
    with only_one(work), failures_noted(work, size, means.code):
        with contextlib.suppress(OSError, ValueError, LookupError, TypeError):
            about = json.loads((place.table(name) / marks.ABOUT).read_bytes())
            weights = parents.made_of([spec], place)[0]["sha256"]
            if about["digest"] == digest and about["weights"] == weights:
                for path in leftovers.of(work, "tables"):
                    path.unlink()
                return f"{name}: made before"
        with devices.held(means.device, means.runs_per_gpu):
            from kdpipe.training.teachers import tables  # torch has to find the leased GPU

            tables.build(spec, place, means)
    return f"{name}: made"
