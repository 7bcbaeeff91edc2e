"""A small study of unbalanced classes with made predictions: its best cell depends on the metric.

KD is right on the large class, KD at a high temperature on the small ones. Records and outputs are
those of a folder of results; nothing is trained.
"""

import json

import numpy as np

from helpers import tiny_study
from kdpipe.config import load
from kdpipe.plan import planner
from kdpipe.plan.nodes import Plan, Run
from kdpipe.runs import metrics, run_folder
from kdpipe.runs.files import compute_file_info, write_arrays, write_bytes
from kdpipe.runs.records import publish_record
from kdpipe.runs.store import Store

SIZES = (210, *[10] * 9)  # images of each class, in validation and in test
LABELS = np.repeat(np.arange(len(SIZES)), SIZES)
EPOCHS, BEST_EPOCH = 4, 3
# Shares of wrong images in the large class and in each small one, by evaluation point.
RATES = {
    "last": {
        "teacher": (0.10, 0.5),
        "scratch": (0.16, 0.6),
        "kd": (0.02, 0.6),
        "hot": (0.20, 0.3),
    },
    "best": {
        "teacher": (0.10, 0.5),
        "scratch": (0.16, 0.6),
        "kd": (0.30, 0.9),
        "hot": (0.25, 0.8),
    },
}
STUDY = tiny_study.study(
    study="unbalanced",
    seeds=[0, 1, 2, 3, 4],
    data={"train_size": 600, "validation": len(LABELS)},
    recipe={"epochs": EPOCHS, "drop_epochs": [2]},
    methods={"kd": {}, "hot": {"temperature": 20.0}},
    main={"methods": ["kd", "hot"]},
    ensembles={"three": {"networks": ["wrn10-0.5"], "copies": 3}},
    tables={"temperature": ["main"], "methods": ["main"]},
)


def plan(**changes) -> Plan:
    """The plan of the study; changes replace its keys."""
    return planner.build_plan(load.validate_study({**STUDY, **changes}, "unbalanced"))


def get_arm(run: Run) -> str:
    """Return the key of `RATES` of a run."""
    if run.spec.method is None:
        return "scratch" if run.spec.network.name == "wrn10-0.5" else "teacher"
    return "hot" if run.spec.method["temperature"] == 20 else "kd"


def draw_predictions(run: Run, point: str, split: str) -> np.ndarray:
    """Return which class a run takes each image for, of `LABELS`."""
    rates = RATES[point][get_arm(run)]
    arm = list(RATES["last"]).index(get_arm(run))
    rng = np.random.default_rng([run.seed, arm, len(point), len(split), point == "last"])
    predicted = LABELS.copy()
    for label, size in enumerate(SIZES):
        count = round(size * rates[label > 0]) + (rng.integers(-2, 3) if label == 0 else 0)
        wrong = rng.choice(np.flatnonzero(label == LABELS), max(0, count), replace=False)
        predicted[wrong] = (label + rng.integers(1, 10, len(wrong))) % 10
    return predicted


def write(made: Plan, store: Store) -> None:
    """Write the records and outputs of every run, and score the ensembles."""
    from kdpipe.jobs.eval_ensemble import eval_ensemble  # torch, for those who ask

    for run in made.runs.values():
        folder = store.run(run.name)
        record: dict = {
            "format": 1, "kind": "run", "name": run.name, "digest": run.digest, "status": "done",
            "reason": None, "spec": run.spec.to_dict(), "versions": {"kdpipe": "0"},
            "device": {"type": "cpu", "name": "made", "threads": 1}, "checkpoints": {},
            "seconds": {"total": 1.0}, "files": {}, "started": "2026-01-01T00:00:00+00:00",
        }  # fmt: skip
        for point, epoch in (("last", run.epochs), ("best", BEST_EPOCH)):
            arrays, values = {}, {}
            for split in ("val", "test"):
                predicted = draw_predictions(run, point, split)
                logits = np.zeros((len(LABELS), 10), np.float32)
                logits[np.arange(len(LABELS)), predicted] = 4.0
                arrays |= {f"{split}_logits": logits, f"{split}_labels": LABELS}
                values[split] = metrics.compute_metrics(logits, LABELS)
            build = run_folder.outputs_path if point == "last" else run_folder.best_outputs_path
            write_arrays(build(folder), arrays, {"run": run.digest, "epoch": epoch})
            record[point] = {"epoch": epoch, "train": values["val"], **values}
        lines = [
            {
                "epoch": epoch,
                "lr": 0.1,
                "train": {"loss": 1.0, "ce": 1.0, "accuracy": 0.5},
                "val": {"accuracy": record["last"]["val"]["accuracy"], "ce": 1.0},
            }
            for epoch in range(1, run.epochs + 1)
        ]
        write_bytes(
            run_folder.curve_path(folder), "".join(f"{json.dumps(e)}\n" for e in lines).encode()
        )
        for path in (run_folder.weights_path(folder), run_folder.best_weights_path(folder)):
            path.touch()
        files = sorted(path for path in folder.iterdir() if path.is_file())
        record["files"] = {path.name: compute_file_info(path) for path in files}
        publish_record(folder, record)
    for ensemble in made.ensembles.values():
        eval_ensemble(ensemble.spec, store)
