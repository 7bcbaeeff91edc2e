"""The job that trains one run: to its end, or of a finished one the way to a missing checkpoint.

Diverged, and skipped because a parent did not end well, are outcomes: they stand in the record.
"""

import itertools
import json
import time
from dataclasses import replace
from pathlib import Path

from kdpipe import identity
from kdpipe.devices import leases
from kdpipe.errors import Diverged, StoreError
from kdpipe.jobs.failures import failures_noted
from kdpipe.jobs.record import (
    blank,
    cost_of,
    facts_of_device,
    facts_of_files,
    facts_of_images,
    summary,
    tidy,
)
from kdpipe.jobs.tabulate import release
from kdpipe.results import records, run_folder
from kdpipe.results.files import read_bytes
from kdpipe.results.parents import failed_member, made_of
from kdpipe.results.store import Store, only_one
from kdpipe.specs import admission
from kdpipe.specs.equipment import CPU, Means
from kdpipe.specs.made import unlabelled_shown


def train(spec: dict, keep: list[int], place: Store, means: Means = CPU) -> str:
    """Train the run of a spec, keep its checkpoints, publish its record; returns a line.

    A finished run is not trained again: its record is put back, and where a checkpoint is
    missing the training is replayed up to it, on the device that it was trained on.
    """
    digest = identity.digest(spec)
    name = admission.name_of("run", spec, digest)
    admission.check_checkpoints(keep, spec)
    folder = place.run(name)
    size = f"batch_size {spec['recipe']['batch_size']}"
    with only_one(folder), failures_noted(folder, size, means.code):
        old = records.finished(folder, digest)
        if old is not None and (wrong := records.unusable(old, folder)):
            raise StoreError(wrong)
        if old is not None and old["status"] == "skipped" and _failed_parent(spec, place) is None:
            old = None
        missing = _missing(folder, old, keep) if old else []
        if old is not None and missing and run_folder.CURVE not in old["files"]:
            raise StoreError(
                f"{folder}: its record lists no {run_folder.CURVE}, which a training up to epoch "
                f"{max(missing)} is compared with: remove the folder, the run is then made again"
            )
        if old is not None and not missing:
            records.publish(folder, old)
            tidy(folder)
            release(name, place)
            return f"{name}: finished before ({old['status']})"
        record = blank("run", name, digest, spec)
        if (reason := _failed_parent(spec, place)) is not None:
            record |= {"status": "skipped", "reason": reason}
        else:
            if spec["teacher"]:
                record[records.PARENTS] = made_of(spec["teacher"]["members"], place)
            if old and old["status"] == "done":
                then = old["device"]
                kernels = then.get("kernels", means.kernels)
                means = replace(means, device=then["type"], kernels=kernels)
            with leases.held(means.device, means.runs_per_gpu):
                record = _train(record, old, missing or keep, folder, place, means)
        records.publish(folder, record)
        tidy(folder)
        release(name, place)
        return summary(record)


def _train(
    record: dict,
    old: dict | None,
    keep: list[int],
    folder: Path,
    place: Store,
    means: Means,
) -> dict:
    """The record of a run after training it, or of a finished one after replaying a part."""

    from kdpipe.training import loop

    spec = record["spec"]
    recipe = spec["recipe"]
    began = time.monotonic()
    # A finished run needs no more than the way to its last missing checkpoint.
    until = recipe["epochs"] if old is None else max(keep)
    try:
        result = loop.train(spec, record["digest"], folder, sorted(keep), until, place, means)
    except Diverged as outcome:
        if old is not None:
            raise StoreError(
                f"{folder} finished before and does not when trained again up to epoch {until} "
                f"({outcome}): another machine or torch; its record stays as it is"
            ) from None
        return record | {
            "status": "diverged",
            "reason": str(outcome),
            "files": facts_of_files(folder),
        }
    if until < recipe["epochs"]:
        assert old is not None
        _refuse_another_training(folder, old, result.curve, keep)
        checkpoints = old["checkpoints"] | result.checkpoints
        return old | {"checkpoints": checkpoints, "files": facts_of_files(folder)}
    cost = cost_of(spec, place, means.code)
    shown = recipe["epochs"] * spec["data"]["train_size"] + unlabelled_shown(spec)
    record["versions"]["torch"] = _in_turn(result.machines, "torch")
    device = facts_of_device(means.device, recipe["threads"])
    device |= {key: _in_turn(result.machines, key) for key in device.keys() & result.machines[-1]}
    seconds = {
        "total": result.earlier_seconds + time.monotonic() - began,
        "training": result.training_seconds,
        "evaluation": result.evaluation_seconds,
    }
    begun: dict = {} if result.start is None else {"start": result.start}
    if recipe.get("ema") is not None and recipe["epochs"]:
        begun[records.UNAVERAGED] = result.unaveraged
    return record | {
        "status": "done",
        **begun,
        "device": device,
        "seconds": {key: round(value, 3) for key, value in seconds.items()},
        "images_per_second": round(shown / max(result.training_seconds, 1e-9), 1),
        "images": facts_of_images(spec, place, result.mean, result.std),
        "parameters": cost.parameters,
        "multiply_adds": cost.multiply_adds,
        "last": result.last,
        "best": result.best,
        "checkpoints": result.checkpoints,
        "files": facts_of_files(folder),
    }


def _in_turn(machines: list[dict[str, str]], key: str) -> str:
    """What a run had one after another, as a record says it: nearly always one."""
    known = [machine[key] for machine in machines if key in machine]
    return ", then ".join(name for name, _ in itertools.groupby(known))


def _missing(folder: Path, record: dict, keep: list[int]) -> list[int]:
    """Checkpoints that a finished run should have and has not."""
    if record["status"] != "done":
        return []
    return [epoch for epoch in keep if str(epoch) not in record["checkpoints"]]


def _failed_parent(spec: dict, place: Store) -> str | None:
    return failed_member(spec["teacher"]["members"], place) if spec["teacher"] else None


def _refuse_another_training(
    folder: Path, record: dict, curve: list[dict], keep: list[int]
) -> None:
    """Raise StoreError unless a replay went as the finished run did; else its checkpoints go.

    On a GPU, another processor or another torch the same spec gives other numbers.
    """
    path = run_folder.curve(folder)
    kept = read_bytes(path, record["files"][path.name])
    before = [json.loads(line) for line in kept.splitlines()]
    if json.loads(json.dumps(curve)) == before[: len(curve)]:
        return
    for epoch in keep:
        for path in run_folder.checkpoint_files(folder, epoch):
            path.unlink()
    raise StoreError(
        f"{folder}: epoch {max(keep)} was asked for after the run had finished, and training it "
        "again up to there goes another way (a GPU, another machine or torch): remove the folder, "
        "the run and all that descends from it are then made anew with it"
    )
