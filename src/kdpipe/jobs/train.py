"""The job that trains one run, or replays a finished one up to a missing checkpoint.

A run that diverged, or was skipped because a parent did, has that as result in its record.
"""

import itertools
import json
import time
from dataclasses import replace
from pathlib import Path

from kdpipe.devices import leases
from kdpipe.errors import DivergedError, StoreError
from kdpipe.jobs import validate
from kdpipe.jobs.cache_logits import release_caches
from kdpipe.jobs.run_record import (
    add_code,
    build_manifest,
    clean_up,
    compute_model_cost,
    describe_device,
    describe_preprocessing,
    format_summary,
    new_record,
    record_failures,
)
from kdpipe.runs import records, run_folder
from kdpipe.runs.execution_options import CPU_OPTIONS, ExecutionOptions
from kdpipe.runs.files import read_bytes
from kdpipe.runs.spec import RunSpec
from kdpipe.runs.store import Store, lock_run_folder
from kdpipe.runs.upstream import find_failed_parent, list_parent_checksums


def train_run(
    spec: RunSpec, keep_epochs: list[int], store: Store, options: ExecutionOptions = CPU_OPTIONS
) -> str:
    """Train the run of a spec, keep its checkpoints and publish its record.

    A finished run is not trained again: its record is restored, and where a checkpoint is missing
    the training is replayed up to it, on the type of device that it was trained on.

    Parameters
    ----------
    spec : RunSpec
        The run.
    keep_epochs : list of int
        The epochs after which a checkpoint is kept.
    store : Store
        The results folder.
    options : ExecutionOptions
        Device and files of the job.

    Returns
    -------
    str
        The last line of the log.

    Raises
    ------
    KdpipeError
        If the spec cannot be run by this version.
    StoreError
        If the results folder is damaged, or a replay differs from the finished run.
    """
    validate.validate_spec(spec)
    digest, name = spec.digest, spec.name
    validate.validate_checkpoints(keep_epochs, spec)
    folder = store.run(name)
    size = f"batch_size {spec.recipe.batch_size}"
    with lock_run_folder(folder), record_failures(folder, size, options.code):
        old_record = records.read_finished_record(folder, digest)
        if old_record is not None and (problem := records.record_problem(old_record, folder)):
            raise StoreError(problem)
        if (
            old_record is not None
            and old_record["status"] == "skipped"
            and _find_failed_teacher(spec, store) is None
        ):
            old_record = None
        missing = _missing_checkpoints(folder, old_record, keep_epochs) if old_record else []
        if old_record is not None and missing and run_folder.CURVE_FILE not in old_record["files"]:
            raise StoreError(
                f"{folder}: its record does not list {run_folder.CURVE_FILE}, which retraining up "
                f"to epoch {max(missing)} is compared with: remove the folder, and the run is "
                "trained again"
            )
        if old_record is not None and not missing:
            records.publish_record(folder, old_record)
            clean_up(folder)
            release_caches(name, store)
            return f"{name}: finished before ({old_record['status']})"
        record = new_record(spec)
        if (reason := _find_failed_teacher(spec, store)) is not None:
            record |= {"status": "skipped", "reason": reason}
        else:
            if spec.teacher:
                record[records.PARENTS_KEY] = list_parent_checksums(spec.members, store)
            if old_record and old_record["status"] == "done":
                old_device = old_record["device"]
                kernels = old_device.get("kernels", options.kernels)
                options = replace(options, device=old_device["type"], kernels=kernels)
            n_gpus = spec.recipe.count_processes(options.processes)
            with leases.acquire_gpus(options.device, options.runs_per_gpu, n_gpus):
                record = _train_or_replay(
                    spec, record, old_record, missing or keep_epochs, folder, store, options
                )
        records.publish_record(folder, record)
        clean_up(folder)
        release_caches(name, store)
        return format_summary(record)


def _train_or_replay(
    spec: RunSpec,
    record: dict,
    old_record: dict | None,
    keep_epochs: list[int],
    folder: Path,
    store: Store,
    options: ExecutionOptions,
) -> dict:
    """Return the record of a run after its training, or after the replay of a part of it."""
    from kdpipe.training import loop

    recipe = spec.recipe
    start_time = time.monotonic()
    # A finished run is replayed up to its last missing checkpoint only.
    last_epoch = recipe.epochs if old_record is None else max(keep_epochs)
    try:
        result = loop.train(
            spec, record["digest"], folder, sorted(keep_epochs), last_epoch, store, options
        )
    except DivergedError as outcome:
        if old_record is not None:
            raise StoreError(
                f"{folder} has finished before, but fails when retrained up to epoch {last_epoch} "
                f"({outcome}): the machine or torch differs; its record is unchanged"
            ) from None
        record |= {"status": "diverged", "reason": str(outcome), "files": build_manifest(folder)}
        return add_code(record, options.code)
    if last_epoch < recipe.epochs:
        assert old_record is not None
        _check_replay(folder, old_record, result.curve, keep_epochs)
        checkpoints = old_record["checkpoints"] | result.checkpoints
        return old_record | {"checkpoints": checkpoints, "files": build_manifest(folder)}
    cost = compute_model_cost(spec, store, options.code)
    images_seen = recipe.epochs * spec.data.train_size + spec.unlabelled_images_seen
    record["versions"]["torch"] = _join_in_order(result.machines, "torch")
    device = describe_device(options.device, recipe.threads)
    device |= {
        key: _join_in_order(result.machines, key) for key in device.keys() & result.machines[-1]
    }
    seconds = {
        "total": result.earlier_seconds + time.monotonic() - start_time,
        "training": result.training_seconds,
        "evaluation": result.evaluation_seconds,
    }
    extra: dict = {} if result.start is None else {"start": result.start}
    if recipe.ema is not None and recipe.epochs:
        extra[records.UNAVERAGED_KEY] = result.unaveraged
    if result.teacher_rounding is not None:
        extra[records.ROUNDING_KEY] = result.teacher_rounding
    record |= {
        "status": "done",
        **extra,
        "device": device,
        "seconds": {key: round(value, 3) for key, value in seconds.items()},
        "images_per_second": round(images_seen / max(result.training_seconds, 1e-9), 1),
        "images": describe_preprocessing(spec, store, result.mean, result.std),
        "parameters": cost.parameters,
        "multiply_adds": cost.multiply_adds,
        "last": result.last,
        "best": result.best,
        "checkpoints": result.checkpoints,
        "files": build_manifest(folder),
    }
    return add_code(record, options.code, result.code)


def _join_in_order(machines: list[dict[str, str]], key: str) -> str:
    """Return the successive values of a run over its restarts, nearly always a single one."""
    values = [machine[key] for machine in machines if key in machine]
    return ", then ".join(name for name, _ in itertools.groupby(values))


def _missing_checkpoints(folder: Path, record: dict, keep_epochs: list[int]) -> list[int]:
    """Return the checkpoints that a finished run should have and does not."""
    if record["status"] != "done":
        return []
    return [epoch for epoch in keep_epochs if str(epoch) not in record["checkpoints"]]


def _find_failed_teacher(spec: RunSpec, store: Store) -> str | None:
    """Return why the teacher of a run cannot be used, or None."""
    return find_failed_parent(spec.members, store)


def _check_replay(folder: Path, record: dict, curve: list[dict], keep_epochs: list[int]) -> None:
    """Raise StoreError and remove the new checkpoints if a replay differs from the finished run.

    On a GPU, another processor or another version of torch the same spec gives different numbers.
    """
    path = run_folder.curve_path(folder)
    old_bytes = read_bytes(path, record["files"][path.name])
    old_curve = [json.loads(line) for line in old_bytes.splitlines()]
    if json.loads(json.dumps(curve)) == old_curve[: len(curve)]:
        return
    for epoch in keep_epochs:
        for path in run_folder.find_checkpoint_files(folder, epoch):
            path.unlink()
    raise StoreError(
        f"{folder}: epoch {max(keep_epochs)} was requested after the run had finished, and "
        "retraining up to there gives different results (a GPU, another machine or torch): remove "
        "the folder; the run and its descendants are then trained again"
    )
