"""The job that makes one teacher table: what a checkpoint answers for every image and view.

Beside a table stand the names of the students that were said to learn from it. The last of them to
end takes it away: whoever started the others, and whether or not they know of each other.
"""

import contextlib
import json
from collections.abc import Collection

from kdpipe import identity
from kdpipe.devices import leases
from kdpipe.jobs.failures import failures_noted
from kdpipe.results import leftovers, parents
from kdpipe.results.marks import ABOUT, STUDENTS
from kdpipe.results.store import Store, is_running, only_one
from kdpipe.specs import admission
from kdpipe.specs.equipment import CPU, Means
from kdpipe.specs.made import tabled


def tabulate(spec: dict, place: Store, means: Means = CPU, students: Collection[str] = ()) -> str:
    """Make a teacher table; returns a line. One that is there and whole is left as it is.

    It stays until all of these students, and those that others have named, have ended.
    """
    digest = identity.digest(spec)
    name = admission.name_of("table", spec, digest)
    work = place.table(f".{name}")
    size = f"a table of {tabled(spec)} images"
    with only_one(work), failures_noted(work, size, means.code):
        for student in students:
            (work / STUDENTS).mkdir(exist_ok=True)
            (work / STUDENTS / student).touch()
        with contextlib.suppress(OSError, ValueError, LookupError, TypeError):
            about = json.loads((place.table(name) / ABOUT).read_bytes())
            weights = parents.made_of([spec], place)[0]["sha256"]
            if about["digest"] == digest and about["weights"] == weights:
                for path in leftovers.of(work, "tables"):
                    path.unlink()
                return f"{name}: made before"
        with leases.held(means.device, means.runs_per_gpu):
            from kdpipe.training.teachers import tables  # torch has to find the leased GPU

            tables.build(spec, place, means)
    return f"{name}: made"


def release(student: str, place: Store) -> None:
    """A student has ended: what is left of its tables goes if nobody waits for it any more."""
    for mark in (place.root / "tables").glob(f".*/{STUDENTS}/{student}"):
        work = mark.parents[1]
        with only_one(work):
            marks = list(mark.parent.glob("*"))
            # One that was killed between its record and this line waits for nothing.
            if all(each == mark or place.has_record("runs", each.name) for each in marks):
                leftovers.discard(place.table(work.name[1:]))
                for each in marks:
                    if each != mark:
                        each.unlink(missing_ok=True)
            mark.unlink(missing_ok=True)  # last: if this process is killed, it is here again
            with contextlib.suppress(OSError):  # others wait
                mark.parent.rmdir()


def release_all(place: Store) -> None:
    """The same of all students that have ended, and were killed before they could do it."""
    for work in leftovers.unawaited(place):
        for mark in [] if is_running(work) else list(work.glob(f"{STUDENTS}/*")):
            release(mark.name, place)
