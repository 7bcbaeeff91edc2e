"""What a job writes about itself: its record, and `failure.json` if it fails.

A job reads its spec, not a study file. A run that diverged or was skipped has a result, and gets a
record. Any other error is a failure: it is written into `failure.json` in the folder of the run and
raised again, and the next start tries the job again. Torch is imported only where a network is
trained.
"""

import contextlib
import datetime
import json
import platform
import traceback
from collections.abc import Iterator, Mapping, Sequence
from importlib import metadata
from pathlib import Path

from kdpipe import hashing
from kdpipe.data import cache
from kdpipe.devices import cuda_errors, determinism, host
from kdpipe.errors import InterruptedRun, KdpipeError
from kdpipe.models import registry
from kdpipe.models.family import Cost
from kdpipe.models.pretrained import input_transform
from kdpipe.runs import run_folder
from kdpipe.runs.files import FileInfo, compute_file_info, write_json
from kdpipe.runs.spec import RecordedSpec, RunSpec
from kdpipe.runs.store import Store
from kdpipe.user_code import forbid_exit, hash_loaded_code, join_sessions
from kdpipe.version import git_revision


@contextlib.contextmanager
def record_failures(folder: Path, size: str, code: Path | None = None) -> Iterator[None]:
    """Write any error inside the block into `failure.json` and raise it again.

    Running out of memory and errors of a GPU are explained in plain words.

    Parameters
    ----------
    folder : Path
        The folder of the run.
    size : str
        A setting that can be reduced to need less memory, such as `batch_size 128`.
    code : Path or None
        The folder of the code of custom networks, if the study has any.

    Raises
    ------
    KdpipeError
        Instead of an error with a known explanation, and of a SystemExit in custom code.
    """
    run_folder.failure_path(folder).unlink(missing_ok=True)
    try:
        with forbid_exit():
            yield
    except InterruptedRun:
        raise
    except KdpipeError as error:
        _write_failure(folder, str(error), None)
        raise
    except SystemExit as error:  # custom code must not end a job
        user_error = KdpipeError(
            f"{folder.name}: the code of the job ended the process (SystemExit: {error}): custom "
            "networks and terms must not call sys.exit or os._exit"
        )
        _write_failure(folder, str(user_error), traceback.format_exc())
        raise user_error from None
    except Exception as error:
        detail = traceback.format_exc()
        if hint := cuda_errors.explain_gpu_error(error):
            user_error = KdpipeError(f"{folder.name}: {hint}")
            _write_failure(folder, str(user_error), detail)
            raise user_error from None
        if cuda_errors.is_out_of_memory(error):
            user_error = KdpipeError(
                f"{folder.name}: out of memory with {size} ({str(error) or 'MemoryError'}): give "
                "the job more memory, run fewer jobs at once (on a GPU: reduce runs_per_gpu, or "
                "use a GPU without other processes), or reduce it; the recipe is part of a run's "
                "name, so a smaller batch_size gives new runs"
            )
            _write_failure(folder, str(user_error), detail)
            raise user_error from None
        _write_failure(folder, f"{type(error).__name__}: {error}", detail)
        origin = "of kdpipe" if code is None else "of kdpipe or of a custom network"
        error.add_note(
            f"This is a bug {origin}; the traceback is also in {run_folder.failure_path(folder)}"
        )
        raise


def _write_failure(folder: Path, reason: str, detail: str | None) -> None:
    with contextlib.suppress(Exception):  # a full disk must not hide the reason itself
        write_json(run_folder.failure_path(folder), {"reason": reason, "traceback": detail})


def new_record(spec: RecordedSpec) -> dict:
    """Return the record of a run, ensemble, probe or export evaluation without results yet."""
    return {
        "format": 1,
        "kind": spec.kind,
        "name": spec.name,
        "digest": spec.digest,
        "status": None,
        "reason": None,
        "spec": json.loads(hashing.canonical_json(spec)),
        "versions": {
            "kdpipe": metadata.version("kdpipe"),
            "git": git_revision(),
            "python": platform.python_version(),
            "numpy": metadata.version("numpy"),
        },
        "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "last": None,
        "best": None,
        "checkpoints": {},
        "files": {},
    }


def format_summary(record: dict) -> str:
    """Return the result of a job as the last line of its log.

    It has only the validation error, by top-1: a job does not know its study, and the test results
    of a preregistered one must not be seen yet.
    """
    if record["status"] != "done":
        return f"{record['name']}: {record['status']}: {record['reason']}"
    validation = record["last"]["val"]
    time_taken = f", {record['seconds']['total']:.1f} s" if "seconds" in record else ""
    if validation is None:
        return f"{record['name']}: done{time_taken}"
    error = 100 * (1 - validation["accuracy"])
    return f"{record['name']}: top-1 validation error {error:.2f} %{time_taken}"


def add_code(record: dict, code: Path | None, sessions: Sequence[Mapping[str, str]] = ()) -> dict:
    """Return a record with the digests of the custom code that this process has imported.

    Parameters
    ----------
    record : dict
        The record.
    code : Path or None
        The study's `code` folder.
    sessions : sequence of mapping
        What the sessions of the run have imported, in order, where it was resumed.
    """
    digests = join_sessions([*sessions, hash_loaded_code(code)])
    return record | {"code": digests} if digests else record


def build_manifest(folder: Path) -> dict[str, FileInfo]:
    """Return the size and SHA-256 of every file of a run by its relative path."""
    return {
        str(path.relative_to(folder)): compute_file_info(path)
        for path in run_folder.list_run_files(folder)
    }


def describe_device(device: str, threads: int) -> dict:
    """Return the CPU, or the GPU with everything its results may depend on, as in a record."""
    if device == "cpu":
        return {"type": device, "name": host.read_cpu_model(), "threads": threads}
    return {"type": device, **determinism.get_gpu_info(), "threads": threads}


def describe_preprocessing(
    spec: RunSpec, store: Store, mean: list[float], std: list[float]
) -> dict:
    """Return the class names and the preprocessing of the images, for the users of the weights.

    Empty `classes` and `scaled` mean that the card does not specify them.
    """
    card, side = cache.load_card_for_spec(spec.data, store), spec.data.resize
    scaled = f"scaled to {side} x {side} (bilinear, antialiased)" if side else ""
    return {
        "classes": list(card.class_names),
        "mean": [round(value, 6) for value in mean],
        "std": [round(value, 6) for value in std],
        "scaled": ", then ".join(filter(None, (card.scaled, scaled))),
    }


def compute_model_cost(spec: RunSpec, store: Store, code: Path | None) -> Cost:
    """Return the cost of the network of a run: its parameters and multiply-adds.

    A custom network is built and measured, which needs no card; `code` is the folder of its code.
    """
    network = spec.network
    card = cache.load_card_for_spec(spec.data, store).resize_to(spec.data.resize)
    if network.build:
        from kdpipe.models import factory
        from kdpipe.models.custom import builder

        return builder.measure_cost(factory.create_model(spec, code), card.shape, network.layout)
    inner = input_transform.inner_spec(network)
    input_shape = (
        (inner.channels, network.input.size[0], network.input.size[1])
        if network.input
        else card.shape
    )
    return registry.compute_cost(inner.name, input_shape, inner.classes)


def clean_up(folder: Path) -> None:
    """Remove the files that only an unfinished run needs."""
    for path in run_folder.list_job_leftovers(folder):
        path.unlink(missing_ok=True)
