"""One job: train a run, score an ensemble, probe a network - and write its record.

A job is told everything by its spec; it reads no config file and knows no study. Diverged and
skipped are outcomes and end in a record; anything else that goes wrong is a fault, ends in
`failure.json` beside the run, and is tried again by whoever started the job. Torch is imported
only by a run that really trains.
"""

import contextlib
import datetime
import json
import platform
import subprocess
import time
import traceback
from collections.abc import Iterator
from dataclasses import replace
from importlib import metadata
from pathlib import Path

from kdpipe import cards, data, devices, identity, networks, parents, specs, store
from kdpipe.errors import Diverged, Interrupted, KdpipeError, StoreError
from kdpipe.means import CPU, Means

FAILURE = "failure.json"


def prepare(name: str, place: store.Store, path: str | None = None, card_at=None) -> str:
    """Prepare a data set; returns the line for the log.

    `path` is where its files lie, `card_at` the card of one's own data if it is not beside them.
    """
    card = cards.of(name, path, card_at)
    data.prepare(card, place, Path(path) if path else None)
    done = "listed" if card.streamed else "prepared"
    return f"{name}: {card.train:,} training and {card.test:,} test images {done}"


def train(
    spec: dict,
    keep: list[int],
    place: store.Store,
    means: Means = CPU,
) -> str:
    """Train the run of a spec, keep its checkpoints, publish its record; returns a line.

    A finished run is not trained again: its record is put back, and where a checkpoint is
    missing the training is replayed up to it, on the device that it was trained on.
    """
    digest = identity.digest(spec)
    name = specs.name_of_run(spec, digest)
    specs.check_checkpoints(keep, spec)
    folder = place.run(name)
    size = f"batch_size {spec['recipe']['batch_size']}"
    with store.only_one(folder), _failures_noted(folder, size, means.code):
        old = store.finished(folder, digest)
        if old is not None and old["status"] == "skipped" and _failed_parent(spec, place) is None:
            old = None
        missing = _missing(folder, old, keep) if old else []
        if old is not None and not missing:
            store.publish(folder, old)
            return f"{name}: finished before ({old['status']})"
        record = _record("run", name, digest, spec)
        if (reason := _failed_parent(spec, place)) is not None:
            record |= {"status": "skipped", "reason": reason}
        else:
            if old and old["status"] == "done":
                means = replace(means, device=old["device"]["type"])
            with devices.held(means.device, means.runs_per_gpu):
                record = _trained(record, old, missing or keep, folder, place, means)
        store.publish(folder, record)
        _tidy(folder)
        return _said(record)


def tabulate(spec: dict, place: store.Store, means: Means = CPU) -> str:
    """Make a teacher table; returns a line. One that is there and whole is left as it is."""
    digest = identity.digest(spec)
    name = specs.name_of_table(spec, digest)
    work = place.table(f".{name}")
    size = f"a table of {spec['data']['train_size']} images"
    with store.only_one(work), _failures_noted(work, size, means.code):
        with contextlib.suppress(OSError, ValueError, LookupError, TypeError):
            if json.loads((place.table(name) / "about.json").read_bytes())["digest"] == digest:
                return f"{name}: made before"
        with devices.held(means.device, means.runs_per_gpu):
            from kdpipe import teacher_tables  # torch comes with it, and has to find the leased GPU

            teacher_tables.build(spec, place, means)
    return f"{name}: made"


def score(spec: dict, place: store.Store) -> str:
    """Score an ensemble from the stored outputs of its members; returns a line."""
    import numpy as np

    from kdpipe import metrics

    digest = identity.digest(spec)
    name = specs.name_of_ensemble(spec, digest)
    folder = place.ensemble(name)
    record = _record("ensemble", name, digest, spec)
    with store.only_one(folder), _failures_noted(folder, f"{len(spec['members'])} members"):
        if (reason := _failed_member(spec["members"], place)) is not None:
            record |= {"status": "skipped", "reason": reason}
        else:
            outputs = [parents.outputs(member, place) for member in spec["members"]]
            last = {}
            for split in ("val", "test"):
                if f"{split}_labels" in outputs[0]:
                    labels = [output[f"{split}_labels"] for output in outputs]
                    if not all(np.array_equal(labels[0], other) for other in labels):
                        raise StoreError(f"{name}: its members saw different images on {split}")
                    logits = np.stack([output[f"{split}_logits"] for output in outputs])
                    averaged = metrics.averaged_logits(logits)
                    last[split] = metrics.of(averaged, labels[0])
            record |= {"status": "done", "last": {"epoch": None, "train": None, "val": None} | last}
        store.publish(folder, record)
    return _said(record)


def probe(spec: dict, place: store.Store, means: Means = CPU) -> str:
    """Probe a finished network on another data set; returns a line.

    Features are taken and thrown away; the record keeps the chosen strength and what each came
    to, the outputs on val and test lie beside it.
    """
    digest = identity.digest(spec)
    name = specs.name_of_probe(spec, digest)
    folder = place.probe(name)
    size = f"train_size {spec['data']['train_size']}"
    with store.only_one(folder), _failures_noted(folder, size):
        reason = _failed_member([spec], place)
        old = store.finished(folder, digest)
        if old is not None and (old["status"] != "skipped" or reason is not None):
            store.publish(folder, old)
            return f"{name}: finished before ({old['status']})"
        record = _record("probe", name, digest, spec)
        if reason is not None:
            record |= {"status": "skipped", "reason": reason}
        else:
            with devices.held(means.device, means.runs_per_gpu):
                record = _probed(record, folder, place, means)
        store.publish(folder, record)
        _tidy(folder)
    return _said(record)


def _probed(record: dict, folder: Path, place: store.Store, means: Means) -> dict:
    """The record of a probe that could be made."""
    import torch

    from kdpipe import probes

    spec = record["spec"]
    began = time.monotonic()
    try:
        found = probes.probe(spec, record["digest"], folder, place, means)
    except Diverged as outcome:
        return record | {"status": "diverged", "reason": str(outcome)}
    libraries = {"torch": torch.__version__, "scikit-learn": metadata.version("scikit-learn")}
    record["versions"] |= libraries
    return record | {
        "status": "done",
        "device": _device(means.device, spec["threads"]),
        "seconds": {"total": round(time.monotonic() - began, 3)},
        **found,
        "files": _files(folder),
    }


def _trained(
    record: dict,
    old: dict | None,
    keep: list[int],
    folder: Path,
    place: store.Store,
    means: Means,
) -> dict:
    """The record of a run after training it, or of a finished one after replaying a part."""
    import torch

    from kdpipe import training

    spec = record["spec"]
    recipe = spec["recipe"]
    began = time.monotonic()
    # A finished run needs no more than the way to its last missing checkpoint.
    until = recipe["epochs"] if old is None else max(keep)
    try:
        result = training.train(spec, record["digest"], sorted(keep), until, place, means)
    except Diverged as outcome:
        if old is not None:
            raise StoreError(
                f"{folder} finished before and does not when trained again up to epoch {until} "
                f"({outcome}): another machine or torch; its record stays as it is"
            ) from None
        return record | {"status": "diverged", "reason": str(outcome), "files": _files(folder)}
    if until < recipe["epochs"]:
        assert old is not None
        _refuse_another_training(folder, result.curve, keep)
        checkpoints = old["checkpoints"] | result.checkpoints
        return old | {"checkpoints": checkpoints, "files": _files(folder)}
    cost = _cost(spec, place, means.code)
    record["versions"]["torch"] = torch.__version__
    seconds = {
        "total": result.earlier_seconds + time.monotonic() - began,
        "training": result.training_seconds,
        "evaluation": result.evaluation_seconds,
    }
    return record | {
        "status": "done",
        "device": _device(means.device, recipe["threads"]),
        "seconds": {key: round(value, 3) for key, value in seconds.items()},
        "images_per_second": round(
            recipe["epochs"] * spec["data"]["train_size"] / max(result.training_seconds, 1e-9), 1
        ),
        "parameters": cost.parameters,
        "multiply_adds": cost.multiply_adds,
        "last": result.last,
        "best": result.best,
        "checkpoints": result.checkpoints,
        "files": _files(folder),
    }


def _missing(folder: Path, record: dict, keep: list[int]) -> list[int]:
    """Checkpoints that a finished run should have and has not."""
    if record["status"] != "done":
        return []
    return [epoch for epoch in keep if str(epoch) not in record["checkpoints"]]


def _failed_parent(spec: dict, place: store.Store) -> str | None:
    return _failed_member(spec["teacher"]["members"], place) if spec["teacher"] else None


def _failed_member(members: list[dict], place: store.Store) -> str | None:
    """Why one of the members cannot be used, if its training ended in another way than done."""
    for member in members:
        folder = place.find_run(member["run"])
        record = store.finished(folder, member["run"])
        if record is None:
            raise StoreError(f"{folder} is not finished: its students have to wait for it")
        if record["status"] != "done":
            return f"{record['name']} {record['status']}: {record['reason']}"
    return None


def _refuse_another_training(folder: Path, curve: list[dict], keep: list[int]) -> None:
    """Raise StoreError unless a replay went as the finished run did; else its checkpoints go.

    On a GPU, another processor or another torch the same spec gives other numbers.
    """
    before = [json.loads(line) for line in (folder / "curve.jsonl").read_text().splitlines()]
    if json.loads(json.dumps(curve)) == before[: len(curve)]:
        return
    for epoch in keep:
        for path in folder.glob(f"checkpoints/epoch-{epoch:04d}*.safetensors"):
            path.unlink()
    raise StoreError(
        f"{folder}: epoch {max(keep)} was asked for after the run had finished, and training it "
        "again up to there goes another way (a GPU, another machine or torch): remove the folder, "
        "the run and all that descends from it are then made anew with it"
    )


def _record(kind: str, name: str, digest: str, spec: dict) -> dict:
    return {
        "format": 1,
        "kind": kind,
        "name": name,
        "digest": digest,
        "status": None,
        "reason": None,
        "spec": spec,
        "versions": {
            "kdpipe": metadata.version("kdpipe"),
            "git": _git_revision(),
            "python": platform.python_version(),
            "numpy": metadata.version("numpy"),
        },
        "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "last": None,
        "best": None,
        "checkpoints": {},
        "files": {},
    }


def _cost(spec: dict, place: store.Store, code: Path | None) -> networks.Cost:
    """What a network has and takes; one of one's own is built and counted, for it needs no card."""
    network = spec["network"]
    card = data.card_of(spec["data"], place).resized(spec["data"].get("resize"))
    if "build" in network:
        from kdpipe import own_networks, training

        return own_networks.cost(training.fresh(spec, code), card.shape, network["layout"])
    return networks.cost(network["name"], card.shape, network["classes"])


def _files(folder: Path) -> dict[str, dict]:
    """The manifest: size and SHA-256 of every file of the run."""
    return {
        str(path.relative_to(folder)): store.file_facts(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.startswith(".") and path.suffix != ".json"
    }


def _tidy(folder: Path) -> None:
    """Remove what only an unfinished run needs."""
    for path in [folder / FAILURE, *folder.glob(".state*"), *folder.rglob(".*.tmp")]:
        path.unlink(missing_ok=True)


@contextlib.contextmanager
def _failures_noted(folder: Path, size: str, code: Path | None = None) -> Iterator[None]:
    """Whatever goes wrong inside is said in `failure.json`, running out of memory in plain words.

    `size` is what of the job could be made smaller, `code` the folder of networks of one's own.
    """
    (folder / FAILURE).unlink(missing_ok=True)
    try:
        yield
    except Interrupted:
        raise
    except KdpipeError as error:
        _note_failure(folder, str(error), None)
        raise
    except Exception as error:
        detail = traceback.format_exc()
        if _is_out_of_memory(error):
            advice = KdpipeError(
                f"{folder.name}: out of memory with {size} ({str(error) or 'MemoryError'}): give "
                "the job more memory, run fewer jobs at once, or make it smaller; the recipe of a "
                "run is part of its name, so a smaller batch_size makes other runs"
            )
            _note_failure(folder, str(advice), detail)
            raise advice from None
        _note_failure(folder, f"{type(error).__name__}: {error}", detail)
        whose = "of kdpipe" if code is None else "of kdpipe or of a network of your own"
        error.add_note(f"This is a bug {whose}; the traceback is also in {folder / FAILURE}")
        raise


def _note_failure(folder: Path, reason: str, detail: str | None) -> None:
    with contextlib.suppress(Exception):  # a full disk must not hide the reason itself
        store.write_json(folder / FAILURE, {"reason": reason, "traceback": detail})


def _is_out_of_memory(error: Exception) -> bool:
    text = str(error).lower()
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError)
        and ("out of memory" in text or "allocate memory" in text or "not enough memory" in text)
    )


def _said(record: dict) -> str:
    if record["status"] != "done":
        return f"{record['name']}: {record['status']}: {record['reason']}"
    test = record["last"]["test"]
    time_taken = f", {record['seconds']['total']:.1f} s" if "seconds" in record else ""
    return f"{record['name']}: test error {100 * (1 - test['accuracy']):.2f} %{time_taken}"


def _device(device: str, threads: int) -> dict:
    import torch

    name = _processor() if device == "cpu" else torch.cuda.get_device_name()
    return {"type": device, "name": name, "threads": threads}


def _git_revision() -> str | None:
    """The commit of the source tree that this package runs from, `+` where it was changed."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty=+"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _processor() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
