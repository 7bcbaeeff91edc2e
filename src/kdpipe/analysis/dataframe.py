"""The results frame: one row for each position of a run in the study, from the records only.

`build_results_frame` joins the plan with the records of the results folder; its columns are listed
in docs/reference/results.md. A run that two blocks share has a row in both. A run without a record,
diverged or skipped, keeps its row with the reason, so that a hole is visible in every table. Errors
are in points, of the study's metric. Where that is not top-1 they are computed from stored
predictions, and top-1 stands beside them (`<split>_top1_error`); training images have no stored
predictions, and probes and exported files are compared by top-1. Those at the best epoch on
validation have columns of their own (`best_<split>_<metric>`), which `eval_point.select_eval_point`
puts in place of the last epoch's. `build_curves_frame` makes a second frame: one row for each epoch
of the runs whose curve is stored.

Queries of the results frame: which rows belong together, and their values by seed.

A frame has one row for each position of a run in the study (see `dataframe`). `normalize_frame`
puts it into a fixed order; `filter_rows`, `select_direct_students` and `group_rows` pick cells;
`get_series_by_seed` and `pivot_by_seed` return the values of cells, each run counted once, and
`describe_gaps` what is missing. Tables, claims and figures all select by these.
"""

import math
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from kdpipe.analysis.eval_point import TRAINED_KINDS
from kdpipe.analysis.per_image import PerImageMetrics
from kdpipe.config.schema import Study
from kdpipe.losses import method as methods
from kdpipe.losses.method import load_terms
from kdpipe.plan import resources, status
from kdpipe.plan.nodes import (
    Cell,
    EnsembleRow,
    ExportEval,
    ExportEvalRow,
    Plan,
    ProbeRow,
    RecordedNode,
    Run,
    Teacher,
)
from kdpipe.runs import registrations
from kdpipe.runs.class_metrics import compute_decision_metric
from kdpipe.runs.decision_metric import DecisionMetric
from kdpipe.runs.records import EVAL_POINTS, RECORD_KINDS, UNAVERAGED_KEY
from kdpipe.runs.spec import InitSpec
from kdpipe.runs.store import Store
from kdpipe.stats import replicates
from kdpipe.stats.error_provenance import ErrorWithProvenance, ImageQuantity, Part
from kdpipe.text import join_names
from kdpipe.user_code import explain_renamed

SPLITS = ("train", "val", "test")
# In the metrics of a split: its error by the study's metric, where that is not top-1.
DECISION_KEY = "decision_error"


def build_results_frame(plan: Plan, store: Store) -> pd.DataFrame:
    """Build the results frame of a plan, the content of results.csv.

    Parameters
    ----------
    plan : Plan
        The planned study.
    store : Store
        The results folder; only its records are read.

    Returns
    -------
    DataFrame
        One row for each position of a run in the study.
    """
    lookup = RecordLookup(plan, store)
    rows = [
        {"kind": "scratch", "block": "", "student": network}
        | _get_axis_columns(run)
        | {"drop_epochs": _format_drops(run)}
        | _get_run_columns(lookup, run, seed)
        for network, seed, run in plan.list_scratch_runs()
    ]
    rows += _build_teacher_rows(lookup)
    rows += [_build_student_row(lookup, cell) for cell in plan.cells]
    rows += [
        _build_scratch_long_row(lookup, block, run, cell) for block, run, cell in plan.scratch_long
    ]
    rows += [_build_ensemble_row(lookup, row) for row in plan.ensemble_rows]
    rows += [_build_probe_row(lookup, row) for row in plan.probe_rows]
    rows += [_build_export_eval_row(lookup, row) for row in plan.export_eval_rows]
    table = fill_missing_metrics(pd.DataFrame(rows))
    table = table.drop_duplicates(table.columns.drop("reason").tolist(), ignore_index=True)
    table.insert(2, "data", plan.card.name)
    if plan.study.metric != "top1":
        table.insert(3, "metric", plan.study.metric)
    if "probed_data" in table:  # a probe's numbers are those of the other set
        table["data"] = table.pop("probed_data").fillna(table.data)
    if "seed" in table:
        halves = replicates.assign_halves([*plan.study.seeds, *table.seed.dropna()])
        table.insert(list(table).index("seed") + 1, "half", table.seed.map(halves))
    unused = [] if plan.study.splits != [0] else ["split"]
    unused += [] if plan.study.lists_lengths else LENGTH_COLUMNS
    unused += [] if plan.study.lists_sizes else SIZE_COLUMNS
    # Without a network or term of one's own, or without merged students of unequal copies.
    empty = set(table.columns[table.isna().all()])
    unused += [name for name in ("code", "other_copy") if name in empty]
    return table.drop(columns=unused, errors="ignore")


def build_curves_frame(plan: Plan, store: Store) -> pd.DataFrame:
    """Build the frame of the learning curves of a plan.

    Parameters
    ----------
    plan : Plan
        The planned study.
    store : Store
        The results folder.

    Returns
    -------
    DataFrame
        One row for each run and epoch: `run`, `epoch`, `lr`, and `<split>_<part>` as the curve has
        it. Train parts are running means with augmentation; `val_error` is top-1, in points. A run
        without a stored curve (a folder of records only) has no rows.
    """
    rows = []
    for name in plan.runs:
        for line in store.load_curve(name) or ():
            row = {"run": name, "epoch": line["epoch"], "lr": line["lr"]}
            for split in ("train", "val"):
                metrics = line.get(split) or {}
                row |= {f"{split}_{metric}": value for metric, value in metrics.items()}
                row[f"{split}_error"] = compute_top1_error(metrics)
            rows.append(row)
    columns = ["run", "epoch", "lr", "val_error"]
    return (
        fill_missing_metrics(pd.DataFrame(rows))
        if rows
        else pd.DataFrame(columns=pd.Index(columns))
    )


class RecordLookup:
    """The records of one plan in one results folder, each kind read once.

    A record counts only if its digest is that of the node in the plan. Records that a registration
    seals have no test numbers here. Where the study's metric is not top-1, the metrics of runs and
    ensembles have their error by it, None where no predictions are stored.

    Parameters
    ----------
    plan : Plan
        The planned study.
    store : Store
        The results folder.
    """

    def __init__(self, plan: Plan, store: Store):
        self.plan = plan
        self.store = store
        self.records: dict[tuple[str, str], dict] = {}  # by kind and name
        self.damaged: dict[str, str] = {}
        sealed_names = registrations.find_sealed_names(store)
        for kind in RECORD_KINDS:
            records, damaged = store.scan_records(kind)
            self.damaged |= damaged
            for name, record in records.items():
                self.records[kind, name] = blind_record(record) if name in sealed_names else record
        self.of_copies = status.find_students_of_copies(plan, store)
        if plan.study.metric != "top1":
            rater = _DecisionRater(plan, store)
            for kind, name in self.records:
                self.records[kind, name] = rater.rate(kind, name, self.records[kind, name])
        self.lineages: dict[tuple[str, int], resources.Lineage] = {}

    def get_outcome(self, item: RecordedNode) -> tuple[dict | None, str, str | None]:
        """Return record, status and reason of a node.

        The record is None for what is damaged, failed or not run.
        """
        record = self.records.get((item.kind, item.name))
        if record is None or record["digest"] != item.digest:
            return None, *status.find_missing_reason(item, self.plan, self.store, self.damaged)
        return record, record["status"], record["reason"]

    def get_metrics(self, run: Run, epoch: int) -> dict[str, Any]:
        """Return the metrics of a run at an epoch, by split; empty where there are none."""
        record, _, _ = self.get_outcome(run)
        if record is None or record["status"] != "done":
            return {}
        if epoch == run.epochs:
            return record["last"]
        return record["checkpoints"].get(str(epoch), {})


class _DecisionRater:
    """Adds errors by the study's metric to records, from stored predictions."""

    def __init__(self, plan: Plan, store: Store):
        self.plan = plan
        self.predictions = {point: PerImageMetrics(plan, store, point) for point in EVAL_POINTS}

    def rate(self, kind: str, name: str, record: dict) -> dict:
        """Return the record of a run or ensemble with `DECISION_KEY` in its metrics."""
        node = {"runs": self.plan.runs, "ensembles": self.plan.ensembles}.get(kind, {}).get(name)
        if node is None or record["digest"] != node.digest or record["status"] != "done":
            return record
        rated = {
            point: record[point] and self._rate_splits(record[point], name, predictions)
            for point, predictions in self.predictions.items()
        }
        checkpoints = {
            epoch: self._rate_splits(metrics, name, self.predictions["last"], int(epoch))
            for epoch, metrics in record["checkpoints"].items()
        }
        return record | rated | {"checkpoints": checkpoints}

    def _rate_splits(
        self, metrics: dict, name: str, predictions: PerImageMetrics, epoch: int | None = None
    ) -> dict:
        """Return the metrics by split of one set of weights, those of validation and test rated."""
        rated = {}
        for split in ("val", "test"):
            if metrics.get(split):
                known = predictions.load_predictions(name, split, epoch)
                error = None
                if known is not None:
                    error = 100 * (1 - compute_decision_metric(*known, self.plan.study.metric))
                rated[split] = metrics[split] | {DECISION_KEY: error}
        return metrics | rated


def blind_record(record: dict) -> dict:
    """Return a record without its test numbers."""
    checkpoints = {
        epoch: metrics | {"test": None} for epoch, metrics in record["checkpoints"].items()
    }
    eval_keys = [key for key in ("last", "best", UNAVERAGED_KEY) if key in record]
    blinded = {key: record[key] and record[key] | {"test": None} for key in eval_keys}
    return record | blinded | {"checkpoints": checkpoints}


def compute_error(values: dict | None) -> float | None:
    """Return the error of one split by the study's metric, in points; None where unknown."""
    return values[DECISION_KEY] if values and DECISION_KEY in values else compute_top1_error(values)


def compute_top1_error(values: dict | None) -> float | None:
    """Return the top-1 error, in points, of the metrics of one split."""
    return 100 * (1 - values["accuracy"]) if values else None


def fill_missing_metrics(table: pd.DataFrame) -> pd.DataFrame:
    """Return a frame with NaN for metrics that no row has.

    pandas fills them like this where some rows have them. A study without validation images would
    otherwise have columns of None, with which one cannot compute.
    """
    metric_columns = [name for name in table if any(f"{split}_" in str(name) for split in SPLITS)]
    empty_columns = table[metric_columns].columns[table[metric_columns].isna().all()]
    return table.assign(**dict.fromkeys(empty_columns, math.nan))


# --- Rows


def _build_scratch_long_row(lookup: RecordLookup, block: str, run: Run, cell: Cell) -> dict:
    """Return the row of a scratch run at the cost of a student."""
    row = {"kind": "scratch_long", "block": block, "student": cell.student}
    row |= _get_axis_columns(cell.run) | {"drop_epochs": _format_drops(run)}
    return (
        row | _get_teacher_columns(lookup, cell.teacher) | _get_run_columns(lookup, run, cell.seed)
    )


def _build_teacher_rows(lookup: RecordLookup) -> list[dict]:
    """Return a row for each single network that teaches, at the epoch where it teaches."""
    rows = {}
    for cell in lookup.plan.cells:
        if cell.teacher.ensemble is None:
            run, epoch = cell.teacher.members[0]
            row = {"kind": "teacher", "block": cell.block} | _get_teacher_columns(
                lookup, cell.teacher
            )
            row |= _get_run_columns(lookup, run, run.seed, epoch)
            rows[cell.block, cell.teacher.label, cell.teacher.stop.label, run.name, epoch] = row
    return list(rows.values())


def _build_student_row(lookup: RecordLookup, cell: Cell) -> dict:
    """Return the row of a distilled student."""
    kind = "tried" if lookup.plan.study.is_search_cell(cell.block, cell.seed) else "student"
    row = {"kind": kind, "block": cell.block} | _get_student_labels(cell, lookup.plan.study)
    row |= _get_axis_columns(cell.run)
    return (
        row
        | _get_teacher_columns(lookup, cell.teacher)
        | _get_run_columns(lookup, cell.run, cell.seed)
    )


def _get_student_labels(cell: Cell, study: Study) -> dict:
    """Return the columns that describe a student: its path, and how it was distilled."""
    method = cell.run.spec.method
    assert method is not None  # of the run of a cell
    return {
        "via": " > ".join(cell.via),
        "student": cell.student,
        "method": cell.method,
        "method_kind": methods.method_kind(
            method, cell.run.epochs, _describe_precisions(cell.run, study)
        ),
        **methods.report_columns(method),
        "kd_epochs": method["kd_epochs"],
        "ce_weight_after_stop": method["ce_weight_after_stop"],
        "label_smoothing": cell.run.spec.recipe.label_smoothing,
        "generation": cell.generation,
        "step": cell.step,
        "last": cell.last,
    }


def _describe_precisions(run: Run, study: Study) -> list[str]:
    """Return where a student is trained or taught in another precision than the study says."""
    taught = run.spec.teacher.teacher_precision if run.spec.teacher else study.teacher_precision
    trained = run.spec.recipe.autocast
    marks = [f"taught in {taught}"] if taught != study.teacher_precision else []
    if trained != study.get_recipe(run.network).autocast:
        marks.append(f"trained in {trained}")
    return marks


def _build_ensemble_row(lookup: RecordLookup, ensemble_row: EnsembleRow) -> dict:
    """Return the row of an ensemble."""
    ensemble = ensemble_row.ensemble
    record, status, reason = lookup.get_outcome(ensemble)
    networks = list(dict.fromkeys(run.network for run, _ in ensemble.members))
    runs = [run for run, _ in ensemble.members]
    row = {
        "kind": "ensemble",
        "block": "",
        "ensemble": ensemble_row.label,
        "of": ensemble_row.source,
        "method": ensemble_row.method,
        "size": len(ensemble.members),
        "whole": all(
            epoch == lookup.plan.study.get_recipe(run.network).epochs
            for run, epoch in ensemble.members
        ),
        "student": networks[0] if len(networks) == 1 else "",
        **(_get_axis_columns(max(runs, key=lambda run: run.epochs)) if len(networks) == 1 else {}),
        "seed": ensemble.seed,
        "split": ensemble.split,
        "run": ensemble.name,
        "status": status,
        "reason": reason,
        "parameters": ensemble.cost.parameters,
        "multiply_adds": ensemble.cost.multiply_adds,
    }
    if ensemble_row.teacher is not None:
        row |= _get_teacher_columns(lookup, ensemble_row.teacher)
    return row | _get_eval_point_columns((record or {}).get("last") or {}, record)


def _build_probe_row(lookup: RecordLookup, probe_row: ProbeRow) -> dict:
    """Return the row of a probe; `own_error` is the network's error on the study's data."""
    cell, probe = probe_row.cell, probe_row.probe
    record, status, reason = lookup.get_outcome(probe)
    row = {
        "kind": "probe",
        "block": cell.block,
        "probed_data": probe.card.name,
        "transfer": probe_row.transfer,
        "of": probe_row.role,
        **_get_network_labels(lookup, probe_row.role, cell),
        **({} if probe_row.role == "teacher" else _get_axis_columns(cell.run)),
    }
    study_metrics = lookup.get_metrics(probe.run, probe.spec.epoch)
    return row | {
        "seed": probe.seed,
        "split": probe.split,
        "member": probe.run.spec.member,
        "run": probe.name,
        "status": status,
        "reason": reason,
        "epochs": probe.run.epochs,
        "parameters": probe.run.cost.parameters,
        "multiply_adds": probe.run.cost.multiply_adds,
        "device": _describe_device(record),
        "torch": _get_library_version(record, "torch"),
        "code": _describe_code(record),
        "kdpipe": _get_library_version(record, "kdpipe"),
        "seconds": ((record or {}).get("seconds") or {}).get("total"),
        "own_error": compute_top1_error(study_metrics.get("test")),
        "strength": (record or {}).get("strength"),
        "converged": (record or {}).get("converged"),
        **_get_metric_columns((record or {}).get("last") or {}),
    }


def _build_export_eval_row(lookup: RecordLookup, export_eval_row: ExportEvalRow) -> dict:
    """Return the row of an exported network: errors in int8, `own_error` in float32."""
    cell, export_eval = export_eval_row.cell, export_eval_row.export_eval
    record, status, reason = lookup.get_outcome(export_eval)
    measurements = record or {}
    row = {
        "kind": "gauge",
        "block": cell.block,
        "of": export_eval_row.role,
        **_get_network_labels(lookup, export_eval_row.role, cell),
        **({} if export_eval_row.role == "teacher" else _get_axis_columns(cell.run)),
        "seed": export_eval.seed,
        "split": export_eval.split,
        "member": export_eval.run.spec.member,
        "run": export_eval.name,
        "status": status,
        "reason": reason,
        "parameters": export_eval.run.cost.parameters,
        "multiply_adds": export_eval.run.cost.multiply_adds,
        "device": _describe_device(record),
        "kdpipe": _get_library_version(record, "kdpipe"),
        "own_error": compute_top1_error(_get_float32_metrics(lookup, export_eval).get("test")),
        "own_val_error": compute_top1_error(_get_float32_metrics(lookup, export_eval).get("val")),
        "int8_test_agreement": measurements.get("agreement"),
        **_get_metric_columns(measurements.get("last") or {}),
    }
    for file in ("float32", "int8"):
        graph = measurements["graphs"][file] if "graphs" in measurements else None
        row[f"{file}_bytes"] = graph and graph["bytes"]
        row[f"{file}_ms"] = graph and graph["latency"]["1"]["median"]
    return row


def _get_float32_metrics(lookup: RecordLookup, export_eval: ExportEval) -> dict:
    """Return the metrics of an exported network as it was trained, by split."""
    if export_eval.spec.reading == "best":
        record, _, _ = lookup.get_outcome(export_eval.run)
        return (record or {}).get("best") or {}
    return lookup.get_metrics(export_eval.run, export_eval.spec.epoch)


def _get_network_labels(lookup: RecordLookup, target: str, cell: Cell) -> dict:
    """Return which network of a cell was measured: scratch run, student or teacher."""
    if target == "scratch":
        return {"student": cell.student}
    labels = _get_student_labels(cell, lookup.plan.study) if target == "student" else {}
    return labels | _get_teacher_columns(lookup, cell.teacher)


# --- Columns

# What only studies have that list lengths of training, or sizes of the training set.
LENGTH_COLUMNS = ["length", "teacher_length", "drop_epochs"]
SIZE_COLUMNS = ["train_size", "teacher_train_size", "steps"]


def _get_axis_columns(run: Run) -> dict[str, int]:
    """Return how long the student of a row is trained, and on how many images."""
    train_size = run.spec.data.train_size
    steps = run.epochs * -(-train_size // run.spec.recipe.batch_size)
    return {"length": run.epochs, "train_size": train_size, "steps": steps}


def _get_other_length(lookup: RecordLookup, run: Run, teacher: Teacher) -> int | None:
    """Return the epochs of a teacher's full training where they are not those of its recipe."""
    if teacher.stop.has_own_run or not run.epochs:
        return None
    recipe_epochs = lookup.plan.study.get_recipe(run.network).epochs
    return None if run.epochs == recipe_epochs else run.epochs


def _format_drops(run: Run) -> str:
    """Return the drops of a learning rate, which tell runs of one length apart."""
    return " ".join(str(epoch) for epoch in run.spec.recipe.drop_epochs)


def _get_teacher_columns(lookup: RecordLookup, teacher: Teacher) -> dict:
    """Return the columns of a teacher, which may be an ensemble."""
    if teacher.ensemble is not None:
        record, _, _ = lookup.get_outcome(teacher.ensemble)
        metrics_by_split = (record or {}).get("last") or {}
        name, network = teacher.ensemble.name, ""
        lr, length = None, None
    else:
        run, epoch = teacher.members[0]
        metrics_by_split = lookup.get_metrics(run, epoch)
        name, network = run.name, run.network
        lr = metrics_by_split.get("lr")
        length = _get_other_length(lookup, run, teacher)
    trained = [run for run, _ in teacher.members if run.epochs]  # not pretrained weights
    return {
        "teacher": teacher.label,
        "stop": teacher.stop.label,
        "stop_kind": teacher.stop.kind,
        "stop_epochs": teacher.stop.epochs,
        "teacher_length": length,
        "teacher_train_size": trained[0].spec.data.train_size if trained else None,
        "teacher_network": network,
        "teacher_lr": lr,
        "teacher_parameters": teacher.parameters,
        "teacher_multiply_adds": teacher.multiply_adds,
        "teacher_run": name,
        "teacher_val_error": compute_error(metrics_by_split.get("val")),
        "teacher_test_error": compute_error(metrics_by_split.get("test")),
    }


def _get_run_columns(lookup: RecordLookup, run: Run, seed: int, epoch: int | None = None) -> dict:
    """Return the columns of a run at an epoch, by default its last one."""
    record, status, reason = lookup.get_outcome(run)
    metrics_by_split = lookup.get_metrics(run, run.epochs if epoch is None else epoch)
    seconds = (record or {}).get("seconds") or {}
    return {
        "seed": seed,
        "split": run.split,
        "member": run.spec.member,
        "run": run.name,
        "status": status,
        "reason": reason,
        "epochs": run.epochs,
        "parameters": run.cost.parameters,
        "multiply_adds": run.cost.multiply_adds,
        "train_macs": run.train_multiply_adds,
        "teacher_macs": run.teacher_multiply_adds,
        "ancestor_macs": resources.count_ancestor_macs(run, lookup.lineages),
        "device": _describe_device(record),
        "torch": _get_library_version(record, "torch"),
        "code": _describe_code(record),
        "other_copy": lookup.of_copies.get(run.name),
        "kdpipe": _get_library_version(record, "kdpipe"),
        "seconds": seconds.get("total"),
        **_get_init_columns(run),
        **_get_eval_point_columns(metrics_by_split, record),
    }


def _get_init_columns(run: Run) -> dict[str, str]:
    """Return the network of a run that has a start, and what it takes of the weights."""
    start = run.spec.network.start
    return {"network": start.network, "start": _describe_start(start)} if start else {}


def _describe_start(start: InitSpec) -> str:
    """Return how a network with a start begins."""
    if "*" in start.new:
        return START_AT_RANDOM
    return PROBED if "*" in start.freeze else FINE_TUNED


def _get_eval_point_columns(last_metrics: dict, record: dict | None) -> dict[str, float | None]:
    """Return the metrics of a row at the last epoch, and at the best one on validation."""
    best_metrics = (record or {}).get("best") or {}
    best_columns = {
        f"best_{key}": value for key, value in _get_metric_columns(best_metrics).items()
    }
    return {
        **_get_metric_columns(last_metrics),
        "best_epoch": best_metrics.get("epoch"),
        **best_columns,
    }


def _get_metric_columns(metrics_by_split: dict) -> dict[str, float | None]:
    """Return `<split>_<metric>` for every split; the KD error is 100 (1 - agreement)."""
    row: dict[str, float | None] = {}
    for split in SPLITS:
        values = metrics_by_split.get(split) or {}
        row[f"{split}_n"] = values.get("n")
        row[f"{split}_error"] = compute_error(values)
        if DECISION_KEY in values:
            row[f"{split}_top1_error"] = compute_top1_error(values)
        agreement = values.get("agreement")
        row[f"{split}_kd_error"] = None if agreement is None else 100 * (1 - agreement)
        for name in ("nll", "ece", "entropy", "confidence", "kl", "cross_entropy"):
            row[f"{split}_{name}"] = values.get(name)
    return row


def _get_library_version(record: dict | None, name: str) -> str | None:
    """Return the version of a library that a record names."""
    return ((record or {}).get("versions") or {}).get(name)


def _describe_device(record: dict | None) -> str | None:
    """Return the device of a record in one text."""
    device = (record or {}).get("device")
    if not device:
        return None
    label = f"{device['type']}: {device['name']}"
    if "driver" not in device:
        return label
    details = [f"driver {device['driver']}", f"cuDNN {device.get('cudnn')}"]
    details += ["TF32"] if device.get("tf32") else []
    details += ["any kernels"] if device.get("kernels") == "any" else []
    return f"{label} ({device.get('capability')}, {', '.join(details)})"


# Columns that are read from a frame; a missing one counts as empty.
LABEL_COLUMNS = (
    *("kind", "block", "data", "teacher", "teacher_network", "stop", "stop_kind", "via"),
    *("student", "method", "method_kind", "ensemble", "of", "run", "teacher_run", "status"),
    *("reason", "device", "torch", "code", "other_copy", "reading"),
)
LOSS_COLUMNS = tuple(
    f"{split}_{loss}"
    for loss in ("nll", "kl", "cross_entropy")
    for split in ("train", "val", "test")
)
TERM_KEYS = [
    key
    for term in load_terms().values()
    if term.is_in_every_report
    for key in term.keys.model_fields
]
WEIGHT_COLUMNS = (
    "ce_weight",
    *(key for key in TERM_KEYS if key.endswith("_weight")),
    "label_smoothing",
)
NUMBER_COLUMNS = (
    *("seed", "member", "generation", "epochs", "stop_epochs", "size", "teacher_lr", "train_n"),
    *("length", "train_size", "steps", "teacher_length", "teacher_train_size"),
    *("temperature", *WEIGHT_COLUMNS, "kd_epochs", "ce_weight_after_stop"),
    *("parameters", "multiply_adds", "train_macs", "teacher_macs"),
    *("ancestor_macs", "seconds", "teacher_parameters", "teacher_multiply_adds"),
    *("teacher_val_error", "teacher_test_error", "val_error", "test_error", "test_ece"),
    *("train_kd_error", "test_kd_error", *LOSS_COLUMNS),
    *(f"{s}_{what}" for what in ("entropy", "confidence") for s in ("train", "val", "test")),
    *("best_epoch", "best_val_error", "best_test_error", "last_test_error"),
)
POST_HOC_KINDS = ("probe", "gauge")  # no network as it is on the study's data
SEARCH_TRIAL_KIND = "tried"  # what a search chooses by: no evidence for what it has chosen
SHARED_TEACHER_NOTE = "one teacher for all seeds"
# How a network begins: from weights, trained in its classifier alone or in more, or without any.
PROBED, FINE_TUNED, START_AT_RANDOM = "probed", "fine-tuned", "at random"
UNTRAINED_STOP = "checkpoint 0"  # the stop of a teacher that knows nothing: a control
PATH_SEPARATOR = " > "  # between the networks of a chain, and between the methods of its steps

if not TYPE_CHECKING:
    # Former names, which custom tables and figures may import.
    __getattr__ = explain_renamed(
        __name__,
        tidy="normalize_frame",
        direct="select_direct_students",
        groups="group_rows",
        where="filter_rows",
        by_seed="get_series_by_seed",
        wide="pivot_by_seed",
    )


def normalize_frame(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a frame in a fixed order, with every column that is read.

    Networks are ordered by multiply-adds, stops as full, longer, schedule, checkpoint. Left out are
    further members of a seed, which stand in ensembles only, probes, whose errors are on other
    data, and exported networks, which are the same networks in 8 bits. A study of several splits is
    paired by seed and split: `seed` is then the id of both (see `stats.replicates`). In a study
    that lists lengths or sizes of training they are part of the labels, so that whatever pairs,
    ranks or draws by student and teacher keeps them apart: `student` reads `wrn10-0.5 (60 epochs)`,
    and `student_network` is the network alone; of teachers these are `teacher` and `teacher_label`.
    Where blocks disagree about a cell (one has a fixed teacher, one a teacher for each seed) their
    teachers read `label [block]`. Missing labels become empty texts.
    """
    if "kind" in frame:
        frame = frame.loc[~frame.kind.isin((*POST_HOC_KINDS, SEARCH_TRIAL_KIND))]
    extra = [column for column in frame if column not in (*LABEL_COLUMNS, *NUMBER_COLUMNS)]
    frame = frame.reindex(columns=[*LABEL_COLUMNS, *NUMBER_COLUMNS, *extra])
    labels = frame[list(LABEL_COLUMNS)].astype(object)
    frame[list(LABEL_COLUMNS)] = labels.where(labels.notna(), "").astype(str)
    if "split" in frame:
        frame["seed"] = replicates.make_replicate_id(frame.seed, frame.split)
    for column in NUMBER_COLUMNS:
        if not _has_provenance(frame[column]):
            frame[column] = pd.Series(pd.to_numeric(frame[column]), dtype=float)
    frame["generation"] = frame.generation.fillna(1).where(frame.kind == "student", 0)
    frame = frame.loc[(frame.kind == "ensemble") | (frame.member.fillna(0) == 0)].copy()
    if "student_network" not in frame:  # else it was normalized before
        frame = _add_axes_to_labels(frame)
    cell_of = ["student", "teacher", "stop", "via", "generation", "method", "seed"]
    students = frame[frame.kind == "student"]
    has_several_runs = students.groupby(cell_of).run.transform("nunique") > 1
    has_other_teacher = (frame.kind == "student") & frame.block.isin(
        students.block[has_several_runs]
    )
    frame["teacher"] = frame.teacher.mask(
        has_other_teacher, frame.teacher + " [" + frame.block + "]"
    )
    frame["student_rank"] = frame.groupby("student").multiply_adds.transform("min")
    frame["teacher_rank"] = frame.groupby("teacher").teacher_multiply_adds.transform("min")
    stop_ranks = {"full": 0, "longer": 1, "schedule": 2, "checkpoint": 3}
    frame["stop_rank"] = frame.stop_kind.map(stop_ranks)
    students = ("student_rank", "student_network", "length", "train_size")
    teachers = ("teacher_rank", "teacher_label", "teacher_length", "teacher_train_size", "teacher")
    order = (*students, *teachers, "stop_rank", "stop_epochs")
    tie_breakers = ("via", "generation", "method", "ensemble", "kind", "block", "seed")
    return frame.sort_values([*order, *tie_breakers], kind="stable", ignore_index=True)


def _add_axes_to_labels(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a frame whose labels of students and teachers have their length and size."""
    labels = {
        "student": _join_axes(frame.student, frame.length, frame.train_size),
        "teacher": _join_axes(frame.teacher, frame.teacher_length, frame.teacher_train_size),
    }
    networks = {"student_network": frame.student, "teacher_label": frame.teacher}
    return frame.assign(**networks, **labels)


def _join_axes(names: pd.Series, lengths: pd.Series, sizes: pd.Series) -> pd.Series:
    """Return names with the length and the size that they have, `wrn10-0.5 (60 epochs)`."""
    if lengths.isna().all() and sizes.isna().all():
        return names
    labels = []
    for name, length, size in zip(names, lengths, sizes, strict=True):
        axes = [f"{length:.0f} epochs"] if length == length else []  # not nan
        axes += [f"{size:.0f} images"] if size == size else []
        labels.append(f"{name} ({', '.join(axes)})" if name and axes else name)
    return pd.Series(labels, index=names.index, dtype=object)


def list_weight_columns(frame: pd.DataFrame) -> tuple[str, ...]:
    """Return the columns in which methods of one temperature can differ, but for their stop."""
    return (*WEIGHT_COLUMNS, "terms") if "terms" in frame else WEIGHT_COLUMNS


def add_error_provenance(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a frame whose test errors know their runs (a column of objects).

    Those of teachers as they taught, and of probes on other data, know none.
    """
    numbers = pd.Series(pd.to_numeric(frame.test_error), dtype=float)
    errors = [
        ErrorWithProvenance(error, {get_test_part(frame, run): 1.0})
        if kind in TRAINED_KINDS and not math.isnan(error)
        else error
        for kind, run, error in zip(frame.kind, frame.run, numbers, strict=True)
    ]
    return frame.assign(test_error=pd.Series(errors, index=frame.index, dtype=object))


def get_metric(frame: pd.DataFrame) -> DecisionMetric:
    """Return the metric of the errors of a frame; without a column `metric` it is top-1."""
    return frame.metric.iloc[0] if "metric" in frame and len(frame) else "top1"


def get_test_part(frame: pd.DataFrame, run: str) -> Part:
    """Return what the test error of a run is called in sums of errors.

    Its name where the frame has top-1 errors: which images it gets wrong. By another metric an
    image has a value, which is asked for as such.
    """
    return run if get_metric(frame) == "top1" else ImageQuantity(run, "test_error")


def add_image_provenance(rows: pd.DataFrame, metric: str, eval_point: str = "") -> pd.DataFrame:
    """Return rows in which a metric of single images knows its runs (a column of objects).

    Parameters
    ----------
    rows : DataFrame
        Rows of runs.
    metric : str
        The column, see `error_provenance.ImageQuantity`.
    eval_point : str
        `last` for rows that are read at the last epoch whatever the study reads.
    """
    values = [
        value
        if math.isnan(value)
        else ErrorWithProvenance(value, {ImageQuantity(run, metric, (), eval_point): 1.0})
        for run, value in zip(_list_column(rows, "run"), _list_column(rows, metric), strict=True)
    ]
    return rows.assign(**{metric: pd.Series(values, index=rows.index, dtype=object)})


def select_export_rows(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the exported networks, normalized, each as what it is (scratch, student, ...).

    Their errors are those in 8 bits; `own_error` and `own_val_error` are those in float32.
    """
    rows = frame.loc[frame.kind == "gauge"]
    return normalize_frame(rows.assign(kind=rows["of"])) if len(rows) else rows


def _has_provenance(errors) -> bool:
    """Return whether a column holds errors that know their runs."""
    return errors.dtype == object and any(
        isinstance(error, ErrorWithProvenance) for error in errors
    )


def restrict_to_blocks(frame: pd.DataFrame, reads: list[str]) -> pd.DataFrame:
    """Select what a table or claim reads: its blocks and ensembles, and every scratch run."""
    is_read = frame.block.isin(reads) | (frame.kind == "scratch")
    if "ensemble" in frame:
        is_read |= frame.ensemble.isin(reads)
    return frame.loc[is_read].reset_index(drop=True)


def filter_rows(frame: pd.DataFrame, **values: Any) -> pd.DataFrame:
    """Select the rows with these values.

    Parameters
    ----------
    frame : DataFrame
        The rows.
    **values
        By column a value, or a list of which any counts; NaN equals NaN.
    """
    mask = pd.Series(True, index=frame.index)
    for column, value in values.items():
        if isinstance(value, list):
            mask &= frame[column].isin(value)
        else:
            mask &= frame[column].isna() if pd.isna(value) else frame[column] == value
    return frame.loc[mask]


def select_direct_students(frame: pd.DataFrame) -> pd.DataFrame:
    """Select the students with no network between them and their teacher, first generation."""
    return frame.loc[(frame.kind == "student") & (frame.via == "") & (frame.generation <= 1)]


def drop_longer_teachers(frame: pd.DataFrame) -> pd.DataFrame:
    """Leave out the rows whose teacher was trained longer than its recipe says."""
    return frame.loc[frame.stop_kind != "longer"]


def select_label_trained_teachers(frame: pd.DataFrame) -> pd.DataFrame:
    """Select the rows whose teacher is one network trained on labels."""
    is_label_trained = (frame.teacher_network != "") & (
        frame.teacher_label == frame.teacher_network
    )
    return frame.loc[is_label_trained]


def select_scratch_ensembles(frame: pd.DataFrame, student: str) -> pd.DataFrame:
    """Select the ensembles of scratch runs of one network, without snapshots of one run."""
    ensembles = filter_rows(frame, kind="ensemble", student=student)
    ensembles = ensembles.loc[ensembles["of"] == ensembles.student_network]
    if "whole" not in ensembles:
        return ensembles
    return ensembles.loc[[str(is_whole) != "False" for is_whole in ensembles.whole]]


def group_rows(rows: pd.DataFrame, *keys: str) -> Iterator[tuple[dict[str, Any], pd.DataFrame]]:
    """Yield the cells, rows that agree in the keys, in the order of the rows.

    Yields
    ------
    key : dict
        The value of each key.
    cell : DataFrame
        The rows.
    """
    values: Any  # a tuple, also of one key
    for values, cell in rows.groupby(list(keys), sort=False, dropna=False):
        yield dict(zip(keys, values, strict=True)), cell


def find_finished_rows(cell: pd.DataFrame) -> list[int]:
    """Return the positions of the finished runs of one cell, each run once.

    A run may stand in several blocks.

    Raises
    ------
    ValueError
        If there are two runs of one seed, which cannot be of one cell.
    """
    position_of_run: dict[str, int] = {}
    for position, (run, run_status) in enumerate(
        zip(_list_column(cell, "run"), _list_column(cell, "status"), strict=True)
    ):
        if run_status == "done":
            position_of_run.setdefault(run, position)
    positions = list(position_of_run.values())
    seeds = _list_column(cell, "seed")
    seeds = [seeds[position] for position in positions]
    if len(set(seeds)) < len(seeds):
        duplicates = [
            run for run, seed in zip(position_of_run, seeds, strict=True) if seeds.count(seed) > 1
        ]
        raise ValueError(f"one cell, one seed, but several runs: {', '.join(duplicates)}")
    return positions


def get_series_by_seed(cell: pd.DataFrame, column: str = "test_error") -> pd.Series:
    """Return the values of one cell by seed; runs that are not done have none."""
    # An error that knows its runs (see `stats.error_provenance`) stays what it is: an object.
    dtype = object if cell[column].dtype == object else float
    return pd.Series(get_values_by_seed(cell, column), dtype=dtype).rename_axis("seed")


def get_validation_size(rows: pd.DataFrame) -> float:
    """Return the number of validation images of some runs, the median; NaN where none is known."""
    sizes = rows.val_n.dropna() if "val_n" in rows else pd.Series(dtype=float)
    return float(sizes.median()) if len(sizes) else math.nan


def get_halves(rows: pd.DataFrame) -> dict[float, int] | None:
    """Return in which half of the study's seeds each is; None for a frame that says nothing."""
    if "half" not in rows:
        return None
    known = rows.loc[rows.half.notna(), ["seed", "half"]].drop_duplicates()
    seeds = replicates.get_seeds(known.seed)
    return {seed: int(half) for seed, half in zip(seeds, known.half, strict=True)}


def get_values_by_seed(
    cell: pd.DataFrame, column: str, positions: list[int] | None = None
) -> dict[float, float]:
    """Return the values of one cell by seed as a dict, faster than `get_series_by_seed`.

    Parameters
    ----------
    cell : DataFrame
        The rows of the cell.
    column : str
        The column of the values.
    positions : list of int or None
        The finished rows, where they are known (see `find_finished_rows`).
    """
    seeds, cell_values = _list_column(cell, "seed"), _list_column(cell, column)
    value_of_seed = {
        seeds[position]: cell_values[position]
        for position in (find_finished_rows(cell) if positions is None else positions)
    }
    return {
        seed: value_of_seed[seed]
        for seed in sorted(value_of_seed)
        if not math.isnan(value_of_seed[seed])
    }


def pivot_by_seed(rows: pd.DataFrame, *keys: str, column: str = "test_error") -> pd.DataFrame:
    """Return the values of many cells as a frame of shape (n_seeds, n_cells).

    Missing values are NaN. A cell without any finished run keeps its column, and a seed without any
    its row.

    Parameters
    ----------
    rows : DataFrame
        The rows of all cells.
    *keys : str
        The columns that make a cell; their values are its label.
    column : str
        The column of the values.

    Raises
    ------
    ValueError
        If there are two runs of one seed in one cell.
    """
    seeds, cell_values = _list_column(rows, "seed"), _list_column(rows, column)
    runs, status = _list_column(rows, "run"), _list_column(rows, "status")
    labels = [[_normalize_key(value) for value in _list_column(rows, key)] for key in keys]
    row_of_seed = {
        seed: position for position, seed in enumerate(sorted({s for s in seeds if s == s}))
    }
    column_of_cell = {
        key: position for position, key in enumerate(dict.fromkeys(zip(*labels, strict=True)))
    }
    dtype = object if rows[column].dtype == object else float
    table = np.full((len(row_of_seed), len(column_of_cell)), math.nan, dtype=dtype)
    run_of_cell: dict[tuple, str] = {}
    for key, seed, run, value, state in zip(
        zip(*labels, strict=True), seeds, runs, cell_values, status, strict=True
    ):
        if state != "done":
            continue
        first_run = run_of_cell.setdefault((key, seed), run)
        if first_run != run:
            raise ValueError(f"one cell, one seed, but several runs: {first_run}, {run}")
        position = (row_of_seed[seed], column_of_cell[key])
        if value == value and table[position] != table[position]:  # the first that is not nan
            table[position] = value
    index = pd.Index(list(row_of_seed), dtype=float)
    if len(keys) == 1:
        return pd.DataFrame(table, index, pd.Index([key for (key,) in column_of_cell]))
    return pd.DataFrame(
        table, index, pd.MultiIndex.from_tuples(list(column_of_cell)) if column_of_cell else None
    )


def _normalize_key(value: Any) -> Any:
    """Return a value as a part of a key, in which NaN equals NaN."""
    return math.nan if value != value else value


def get_teacher_errors(cell: pd.DataFrame) -> dict[float, float]:
    """Return the test errors of the teachers by seed; a shared teacher counts once."""
    errors_by_seed: dict[float, float] = {}
    runs = set()
    columns = ("teacher_run", "seed", "teacher_test_error")
    for run, seed, error in zip(*(_list_column(cell, column) for column in columns), strict=True):
        if run not in runs and not math.isnan(error):
            runs.add(run)
            errors_by_seed.setdefault(seed, error)
    return errors_by_seed


def describe_gaps(cell: pd.DataFrame) -> str:
    """Return what a cell lacks and why, whether its seeds share a teacher, and what it mixes."""
    if cell.empty:
        return "not in this study"
    columns = ("run", "status", "test_error", "reason", "teacher_run", "device", "torch")
    columns += ("code", "other_copy")  # only where there is some
    cell = cell.reindex(columns=columns, fill_value="")
    facts_by_run: dict[str, tuple] = {}
    for run, *facts in zip(*(cell[column].to_numpy().tolist() for column in columns), strict=True):
        facts_by_run.setdefault(run, tuple(facts))
    missing: Counter[str] = Counter()
    reasons = {}
    n_done = 0
    for run_status, error, reason, *_ in facts_by_run.values():
        if run_status == "done" and error == error:  # not nan
            n_done += 1
            continue
        missing[{"done": "without a test error", "": "missing"}.get(run_status, run_status)] += 1
        reasons[reason] = True
    messages = [f"{count} {state}" for state, count in missing.most_common()]
    reasons.pop("", None)
    if reasons and not n_done:
        messages.append(next(iter(reasons)))
    if n_done > 1 and len({facts[3] for facts in facts_by_run.values()} - {""}) == 1:
        messages.append(SHARED_TEACHER_NOTE)
    for name, index in (("devices", 4), ("versions of torch", 5)):
        distinct = sorted({facts[index] for facts in facts_by_run.values()} - {""})
        if len(distinct) > 1:
            messages.append(f"mixes {name}: {' and '.join(distinct)}")
    if n_copies := sum(bool(facts[7]) for facts in facts_by_run.values()):
        messages.append(
            f"mixes machines: {n_copies} of {len(facts_by_run)} computed from another copy of a "
            "parent than the one here"
        )
    if objects := _find_mixed_objects(facts[6] for facts in facts_by_run.values()):
        messages.append(f"mixes versions of code: {join_names(objects)}")
    return "; ".join(messages)


def _describe_code(record: dict | None) -> str | None:
    """Return the custom networks and terms of a record with their digests, in one text."""
    digests = (record or {}).get("code") or {}
    texts = [
        f"{path} {', then '.join(digest[:12] for digest in several.split(', then '))}"
        for path, several in digests.items()
    ]
    return "; ".join(texts) or None


def _find_mixed_objects(codes: Iterable[str]) -> list[str]:
    """Return the networks and terms of which runs were made with several versions."""
    versions: dict[str, set[str]] = {}
    for text in filter(None, codes):
        for item in text.split("; "):
            path, _, digests = item.partition(" ")
            versions.setdefault(path, set()).update(digests.split(", then "))
    return sorted(path for path, digests in versions.items() if len(digests) > 1)


def add_path_label(key: dict) -> dict:
    """Return the labels of a cell, and before them its networks from teacher to student."""
    path_names = [key["teacher"], *key["via"].split(PATH_SEPARATOR), key["student"]]
    return {"path": PATH_SEPARATOR.join(name for name in path_names if name), **key}


def _list_column(cell: pd.DataFrame, column: str) -> list:
    """Return a column as a list."""
    return cell[column].to_numpy().tolist()
