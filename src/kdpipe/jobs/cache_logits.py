"""The job that builds one logit cache: the logits of a checkpoint for every image and view.

The build folder of a cache has an empty file for each student that will use it. The last student to
end removes the cache, even if the students belong to different studies.
"""

import contextlib
import json
from collections.abc import Collection

from kdpipe.devices import leases
from kdpipe.jobs import validate
from kdpipe.jobs.run_record import record_failures
from kdpipe.runs import ownership, records, upstream
from kdpipe.runs.execution_options import CPU_OPTIONS, ExecutionOptions
from kdpipe.runs.files import read_regular_file
from kdpipe.runs.ownership import CACHE_INFO_FILE, STUDENTS_FOLDER
from kdpipe.runs.spec import LogitCacheSpec
from kdpipe.runs.store import Store, is_running, lock_run_folder


def cache_logits(
    spec: LogitCacheSpec,
    store: Store,
    options: ExecutionOptions = CPU_OPTIONS,
    students: Collection[str] = (),
) -> str:
    """Build a logit cache, unless a complete one exists.

    It is kept until all of these students, and those of earlier calls, have ended.

    Parameters
    ----------
    spec : LogitCacheSpec
        The cache.
    store : Store
        The results folder.
    options : ExecutionOptions
        Device and files of the job.
    students : collection of str
        The names of the runs that will read it.

    Returns
    -------
    str
        The last line of the log.
    """
    validate.validate_spec(spec)
    digest, name = spec.digest, spec.name
    build_folder = store.logit_cache(f".{name}")
    size = f"a logit cache of {spec.n_images} images"
    with lock_run_folder(build_folder), record_failures(build_folder, size, options.code):
        for student in students:
            (build_folder / STUDENTS_FOLDER).mkdir(exist_ok=True)
            (build_folder / STUDENTS_FOLDER / student).touch()
        with contextlib.suppress(OSError, ValueError, LookupError, TypeError):
            info = json.loads(read_regular_file(store.logit_cache(name) / CACHE_INFO_FILE))
            weights = upstream.list_parent_checksums(spec.members, store)[0]["sha256"]
            if info["digest"] == digest and info["weights"] == weights:
                for path in ownership.list_orphans(build_folder, "tables"):
                    path.unlink()
                return f"{name}: finished before"
        with leases.acquire_gpus(options.device, options.runs_per_gpu):
            from kdpipe.training.teachers import cached  # torch has to find the leased GPU

            folder = cached.build_logit_cache(spec, store, options)
        info = json.loads(read_regular_file(folder / CACHE_INFO_FILE))
    rounding = info.get(records.ROUNDING_KEY)
    return f"{name}: made" + (f"; {records.format_rounding(rounding)}" if rounding else "")


def release_caches(student: str, store: Store) -> None:
    """Remove the caches that a finished student has read and no other student waits for."""
    for marker in (store.root / "tables").glob(f".*/{STUDENTS_FOLDER}/{student}"):
        build_folder = marker.parents[1]
        with lock_run_folder(build_folder):
            markers = list(marker.parent.glob("*"))
            # A student that was killed between its record and this line no longer needs its caches.
            if all(other == marker or store.has_record("runs", other.name) for other in markers):
                ownership.remove_tree(store.logit_cache(build_folder.name[1:]))
                for other in markers:
                    if other != marker:
                        other.unlink(missing_ok=True)
            marker.unlink(missing_ok=True)  # last: if this process is killed, this is repeated
            with contextlib.suppress(OSError):  # other students need it
                marker.parent.rmdir()


def release_all_caches(store: Store) -> None:
    """Release the caches of all finished students that were killed before they did so."""
    for build_folder in ownership.find_orphan_caches(store):
        if is_running(build_folder):
            continue
        for marker in list(build_folder.glob(f"{STUDENTS_FOLDER}/*")):
            release_caches(marker.name, store)
