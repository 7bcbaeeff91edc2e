"""A small study with made results: records and curves of a plan, written without any training.

The errors follow a simple law (larger networks are better; a teacher helps; a much larger one
helps less, unless it was stopped early) with noise by seed, so a report has something to say.
"""

import json
import zlib

import numpy as np

from kdpipe.config import load
from kdpipe.plan import planner
from kdpipe.plan.nodes import Plan
from kdpipe.runs import run_folder
from kdpipe.runs.files import compute_file_info, write_bytes
from kdpipe.runs.records import ArchiveEntry, publish_record, write_archive
from kdpipe.runs.store import Store

STUDY = {
    "study": "made",
    "seeds": [0, 1, 2, 3, 4],
    "smallest_effect": 0.5,
    "data": {"name": "digits", "train_size": 600, "validation": 400, "label_noise": 0.2, "pad": 1},
    "recipe": {"epochs": 20, "batch_size": 64, "lr": 0.1, "drop_epochs": [6, 12, 18]},
    "methods": {
        "kd": {},
        "eskd": {"stop_epoch": 0.3},
        "hot": {"temperature": 20.0},
        "at": {"ce_weight": 1.0, "kd_weight": 0.0, "attention_weight": 60.0},
    },
    "ensembles": {
        "three": {"networks": ["wrn10-0.5"], "copies": 3},
        "sequence": {"block": "again"},
        "team": {"networks": ["wrn10-1", "wrn16-1"]},
    },
    "experiments": [
        {
            "name": "size",
            "teachers": ["wrn10-1", "wrn16-1", "wrn16-2"],
            "stops": ["full", "checkpoint 7", "schedule 2/7"],
            "students": ["wrn10-0.5", "wrn10-1"],
            "methods": ["kd", "eskd"],
        },
        {
            "name": "warm",
            "teachers": ["wrn10-1", "wrn16-2"],
            "students": ["wrn10-0.5"],
            "methods": ["kd", "hot"],
        },
        {
            "name": "attention",
            "teachers": ["wrn16-1"],
            "stops": ["full", "schedule 2/7"],
            "students": ["wrn10-0.5"],
            "methods": ["kd", "at"],
        },
        {
            "name": "again",
            "teachers": ["self"],
            "students": ["wrn10-0.5"],
            "methods": ["kd"],
            "generations": 3,
        },
        {
            "name": "step",
            "teachers": ["wrn16-2"],
            "via": ["wrn10-1"],
            "students": ["wrn10-0.5"],
            "methods": ["kd", ["hot", "kd"]],
        },
        {
            "name": "better",
            "teachers": ["self"],
            "students": ["wrn16-1"],
            "methods": ["kd"],
            "generations": 2,
        },
        {
            "name": "improved",
            "teachers": ["wrn16-1", "better", "team"],
            "students": ["wrn10-0.5"],
            "methods": ["kd"],
        },
        {
            "name": "price",
            "teachers": ["wrn16-1"],
            "students": ["wrn10-0.5"],
            "methods": ["kd"],
            "scratch_long": True,
        },
    ],
    "transfers": {
        "clothes": {
            "data": {"name": "fashion-mnist", "resize": 8, "train_size": 2000, "validation": 500},
            "blocks": ["size"],
        },
    },
    "tables": {
        "teacher_size": ["size", "improved"],
        "mimicry": ["size"],
        "eskd": ["size"],
        "temperature": ["warm"],
        "checkpoints": ["size"],
        "early_stopped": ["size"],
        "methods": ["size", "attention"],
        "attention": ["attention"],
        "generations": ["again", "three", "sequence"],
        "chains": ["step"],
        "improved_teacher": ["improved"],
        "staged": ["step"],
        "ensembles": ["three", "sequence", "team", "price"],
        "losses": ["size", "again"],
        "transfer": ["size"],
        "unlabelled": ["size"],
        "starts": ["size"],
        "lengths": ["size"],
        "train_sizes": ["size"],
    },
}
STARTED = "2026-01-01T00:00:00+00:00"
COUNTS = {"train": 600, "val": 400, "test": 700}


def made_plan(**changes) -> Plan:
    """The plan of the study; changes replace its keys."""
    return planner.build_plan(load.validate_study({**STUDY, **changes}, "made"))


def write(
    plan: Plan,
    store: Store,
    holes: dict[str, str] | None = None,
    validated: bool = True,
    **facts: str | dict,
) -> None:
    """Records of every run, ensemble, probe and gauge. holes: status by (the start of) a name.

    validated: whether there are validation images, and so a best epoch on them; facts: keys of
    every record, as started or versions. The wrong images are in an archive, as outputs are in no
    file; weights are empty files.
    """
    errors: dict[str, float] = {}
    outcomes = []
    for run in plan.runs.values():
        status = _status(run.name, holes or {})
        errors[run.digest] = _error(run, errors)
        record = {
            "format": 1, "kind": "run", "name": run.name, "digest": run.digest, "status": status,
            "reason": None if status == "done" else f"{status} for the sake of a test",
            "spec": run.spec.to_dict(), "versions": {"kdpipe": "0", "torch": "2.14.1"},
            "device": {"type": "cpu", "name": "made", "threads": 1}, "last": None, "best": None,
            "seconds": {"total": 10.0}, "checkpoints": {}, "files": {}, "started": STARTED,
        }  # fmt: skip
        if status == "done":
            record["last"] = _metrics(run.name, errors[run.digest], run.spec.teacher, run.epochs)
            if validated:
                record["best"] = record["last"] | {"epoch": run.epochs - 1}
            for epoch in plan.checkpoints_to_keep.get(run.name, ()):
                worse = errors[run.digest] + 3 * (1 - epoch / run.epochs)
                metrics = _metrics(f"{run.name}{epoch}", worse, run.spec.teacher)
                record["checkpoints"][str(epoch)] = metrics | {"lr": 0.1, "train": None}
            lines = _curve(run, errors[run.digest])
            if not validated:
                lines = [line | {"val": None} for line in lines]
                for part in (record["last"], *record["checkpoints"].values()):
                    del part["val"]
            path = store.run(run.name) / "curve.jsonl"
            write_bytes(path, "".join(json.dumps(line) + "\n" for line in lines).encode())
            weights = run_folder.weights_path(path.parent)
            weights.touch()
            record["files"] = {file.name: compute_file_info(file) for file in (path, weights)}
            outcomes.append(_outcomes("runs", run, record["last"]))
        publish_record(store.run(run.name), record | facts)
    for ensemble in plan.ensembles.values():
        mean = np.mean([errors[run.digest] for run, _ in ensemble.members])
        record = {
            "format": 1, "kind": "ensemble", "name": ensemble.name, "digest": ensemble.digest,
            "status": "done", "reason": None, "spec": ensemble.spec.to_dict(), "best": None,
            "checkpoints": {}, "versions": {"kdpipe": "0"}, "files": {}, "started": STARTED,
            "last": _metrics(ensemble.name, 0.8 * mean, None),
        }  # fmt: skip
        if not validated:
            del record["last"]["val"]
        publish_record(store.ensemble(ensemble.name), record | facts)
        outcomes.append(_outcomes("ensembles", ensemble, record["last"]))
    write_archive(store.archive_path, outcomes)
    for probe in plan.probes.values():
        error = 15 + errors[probe.run.digest] + _noise(probe.name, 0.3)
        record = {
            "format": 1, "kind": "probe", "name": probe.name, "digest": probe.digest,
            "status": "done", "reason": None, "spec": probe.spec.to_dict(), "best": None,
            "checkpoints": {},
            "versions": {"kdpipe": "0"}, "strength": 0.01, "converged": True,
            "files": {}, "started": STARTED,
            "last": _metrics(probe.name, error, None),
        }  # fmt: skip
        publish_record(store.probe(probe.name), record | facts)
    for gauge in plan.gauges.values():
        error = errors[gauge.run.digest] + _noise(gauge.name, 0.1)
        # Milliseconds of a batch: a millionth of the operations of an image in float32.
        times = {
            kind: {size: speed * gauge.run.cost.multiply_adds / 1e6 for size in ("1", "64")}
            for kind, speed in (("float32", 1.0), ("int8", 0.5))
        }
        record = {
            "format": 1, "kind": "gauge", "name": gauge.name, "digest": gauge.digest,
            "status": "done", "reason": None, "spec": gauge.spec.to_dict(), "best": None,
            "checkpoints": {},
            "versions": {"kdpipe": "0"}, "device": {"type": "cpu", "name": "made", "threads": 1},
            "agreement": 0.99, "files": {}, "started": STARTED,
            "last": _metrics(gauge.name, error, None),
            "graphs": {
                kind: {
                    "bytes": 1000,
                    "latency": {
                        size: {"median": ms, "low": ms, "high": ms, "rounds": 5}
                        for size, ms in by_size.items()
                    },
                }
                for kind, by_size in times.items()
            },
        }  # fmt: skip
        publish_record(store.export_eval(gauge.name), record | facts)


def made_store(folder, **changes) -> tuple[Plan, Store]:
    """A study with all its results, below a folder."""
    plan, store = made_plan(**changes), Store(folder / "results")
    write(plan, store)
    return plan, store


def _outcomes(kind: str, item, last: dict) -> ArchiveEntry:
    """The wrong images of a run or ensemble: as many as its record says."""
    errors = np.zeros(COUNTS["test"], bool)
    count = round(len(errors) * (1 - last["test"]["accuracy"]))
    order = np.random.default_rng(zlib.crc32(item.name.encode())).permutation(len(errors))
    errors[order[:count]] = True
    bits = np.packbits(errors).tobytes().hex()
    return ArchiveEntry(kind, item.name, item.digest, wrong={"images": len(errors), "wrong": bits})


def _status(name: str, holes: dict[str, str]) -> str:
    return next((status for start, status in holes.items() if name.startswith(start)), "done")


def _noise(name: str, scale: float) -> float:
    return float(np.random.default_rng(zlib.crc32(name.encode())).normal(0, scale))


def _error(run, errors: dict[str, float]) -> float:
    size = np.log10(run.cost.multiply_adds)
    error = 12 - 2.5 * (size - 5) + _noise(f"seed {run.seed}", 0.4) + _noise(run.name, 0.25)
    error += 4 * (1 - run.epochs / 20) if run.epochs < 20 else 0
    if run.spec.teacher:
        members = run.spec.teacher.members
        gap = max(np.log10(parent.cost.multiply_adds) for parent in run.parents) - size
        error -= 1.6 - max(0, gap - 0.4) * (1.0 if members[0].epoch == 20 else 0.3)
        error -= 0.4 if run.spec.method["kd_epochs"] < run.epochs else 0
    return max(1.0, error)


def _metrics(name: str, error: float, teacher, epochs: int | None = None) -> dict:
    metrics: dict = {"epoch": epochs}
    for split, count in COUNTS.items():
        errors = round(count * max(0.0, error + _noise(name + split, 0.2)) / 100)
        metrics[split] = {
            "n": count, "accuracy": 1 - errors / count, "nll": error / 30 + 0.02,
            "ece": 0.02, "entropy": 0.1 + error / 40, "confidence": 0.97 - error / 200,
        }  # fmt: skip
        if teacher:
            metrics[split] |= {"agreement": 1 - error / 90, "kl": error / 50, "cross_entropy": 20.0}
    return metrics


def _curve(run, error: float) -> list[dict]:
    drops = run.spec.recipe.drop_epochs
    lines = []
    for epoch in range(1, run.epochs + 1):
        passed = sum(epoch > drop for drop in drops)
        now = error + 30 * 0.3**passed * np.exp(-epoch / 8) + _noise(f"{run.name}{epoch}", 0.5)
        part = {"loss": now / 30, "ce": now / 30, "accuracy": 1 - now / 100}
        val = {"accuracy": 1 - max(0, now) / 100, "ce": now / 28}
        if run.spec.teacher:
            part["kd"], val["kd"] = now / 40, now / 38
        lines.append({"epoch": epoch, "lr": 0.1 * 0.2**passed, "train": part, "val": val})
    return lines
