"""TODO jobs.tabulate, from jobs."""

import contextlib
import json

from kdpipe import identity
from kdpipe.jobs.failures import failures_noted
from kdpipe.results import store
from kdpipe.specs import admission
from kdpipe.specs.equipment import CPU, Means
from kdpipe.training import devices


def tabulate(spec: dict, place: store.Store, means: Means = CPU) -> str:
    """Make a teacher table; returns a line. One that is there and whole is left as it is."""
    digest = identity.digest(spec)
    name = admission.name_of("table", spec, digest)
    work = place.table(f".{name}")
    size = f"a table of {spec['data']['train_size']} images"
    with store.only_one(work), failures_noted(work, size, means.code):
        with contextlib.suppress(OSError, ValueError, LookupError, TypeError):
            if json.loads((place.table(name) / "about.json").read_bytes())["digest"] == digest:
                return f"{name}: made before"
        with devices.held(means.device, means.runs_per_gpu):
            from kdpipe.training.teachers import (
                tables as teacher_tables,  # torch comes with it, and has to find the leased GPU
            )

            teacher_tables.build(spec, place, means)
    return f"{name}: made"
