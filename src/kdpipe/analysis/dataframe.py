"""The results frame: one row for each position of a run in the study, from the records only.

`build_results_frame` joins the plan with the records of the results folder; its columns are listed
in docs/reference/results.md. A run that two blocks share has a row in both. A run without a record,
diverged or skipped, keeps its row with the reason, so that a hole is visible in every table. Errors
are top-1 in points. Those at the best epoch on validation have columns of their own
(`best_<split>_<metric>`), which `eval_point.select_eval_point` puts in place of the last epoch's.
`build_curves_frame` makes a second frame: one row for each epoch of the runs whose curve is stored.
"""

import math
from typing import Any

import pandas as pd

from kdpipe.losses import method as methods
from kdpipe.plan import footprint, status
from kdpipe.plan.nodes import (
    Cell,
    Ensemble,
    EnsembleRow,
    ExportEval,
    ExportEvalRow,
    Plan,
    Probe,
    ProbeRow,
    RecordedNode,
    Run,
    Teacher,
)
from kdpipe.runs import registrations
from kdpipe.runs.records import UNAVERAGED_KEY
from kdpipe.runs.store import Store

SPLITS = ("train", "val", "test")


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
        _build_scratch_row(lookup, network, seed, run)
        for (network, seed, _), run in plan.scratch.items()
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
    if "probed_data" in table:  # a probe's numbers are those of the other set
        table["data"] = table.pop("probed_data").fillna(table.data)
    return table.drop(columns="split") if plan.study.splits == [0] else table


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
        it. Train parts are running means with augmentation; `val_error` is in points. A run without
        a stored curve (a folder of records only) has no rows.
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
    seals have no test numbers here.

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
        self.runs, damaged_runs = store.scan_records("runs")
        self.ensembles, damaged_ensembles = store.scan_records("ensembles")
        self.probes, damaged_probes = store.scan_records("probes")
        self.gauges, damaged_gauges = store.scan_records("gauges")
        self.damaged = damaged_runs | damaged_ensembles | damaged_probes | damaged_gauges
        for name in registrations.find_sealed_names(store):
            for records_by_name in (self.runs, self.ensembles, self.probes, self.gauges):
                if name in records_by_name:
                    records_by_name[name] = blind_record(records_by_name[name])
        self.lineages: dict[tuple[str, int], footprint.Lineage] = {}

    def get_outcome(self, item: RecordedNode) -> tuple[dict | None, str, str | None]:
        """Return record, status and reason of a node.

        The record is None for what is damaged, failed or not run.
        """
        kinds = {
            Run: self.runs,
            Ensemble: self.ensembles,
            Probe: self.probes,
            ExportEval: self.gauges,
        }
        record = kinds[type(item)].get(item.name)
        if record is None or record["digest"] != item.digest:
            return None, *status.find_missing_reason(item, self.plan, self.store, self.damaged)
        return record, record["status"], record["reason"]

    def get_full_epochs(self, run: Run) -> int:
        """Return the epochs of the full training of a run's network."""
        return self.plan.study.get_recipe(run.network).epochs

    def compute_ancestor_macs(self, run: Run) -> float:
        """Return the multiply-adds of training all ancestors of a run, each once."""
        return footprint.count_ancestor_macs(run, self.lineages)

    def get_metrics(self, run: Run, epoch: int) -> dict[str, Any]:
        """Return the metrics of a run at an epoch, by split; empty where there are none."""
        record, _, _ = self.get_outcome(run)
        if record is None or record["status"] != "done":
            return {}
        if epoch == run.epochs:
            return record["last"]
        return record["checkpoints"].get(str(epoch), {})


def blind_record(record: dict) -> dict:
    """Return a record without its test numbers."""
    checkpoints = {
        epoch: metrics | {"test": None} for epoch, metrics in record["checkpoints"].items()
    }
    eval_keys = [key for key in ("last", "best", UNAVERAGED_KEY) if key in record]
    blinded = {key: record[key] and record[key] | {"test": None} for key in eval_keys}
    return record | blinded | {"checkpoints": checkpoints}


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


def _build_scratch_row(lookup: RecordLookup, network: str, seed: int, run: Run) -> dict:
    """Return the row of a run on labels alone."""
    return {"kind": "scratch", "block": "", "student": network} | _get_run_columns(
        lookup, run, seed
    )


def _build_scratch_long_row(lookup: RecordLookup, block: str, run: Run, cell: Cell) -> dict:
    """Return the row of a scratch run that is as expensive as a student."""
    row = {"kind": "scratch_long", "block": block, "student": cell.student}
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
    row = {"kind": kind, "block": cell.block} | _get_student_labels(cell)
    return (
        row
        | _get_teacher_columns(lookup, cell.teacher)
        | _get_run_columns(lookup, cell.run, cell.seed)
    )


def _get_student_labels(cell: Cell) -> dict:
    """Return what a student is: its path, and how it was distilled."""
    method = cell.run.spec.method
    assert method is not None  # of the run of a cell
    return {
        "via": " > ".join(cell.via),
        "student": cell.student,
        "method": cell.method,
        "method_kind": methods.method_kind(method, cell.run.epochs),
        **methods.report_columns(method),
        "kd_epochs": method["kd_epochs"],
        "ce_weight_after_stop": method["ce_weight_after_stop"],
        "label_smoothing": cell.run.spec.recipe.label_smoothing,
        "generation": cell.generation,
        "step": cell.step,
        "last": cell.last,
    }


def _build_ensemble_row(lookup: RecordLookup, ensemble_row: EnsembleRow) -> dict:
    """Return the row of an ensemble."""
    ensemble = ensemble_row.ensemble
    record, status, reason = lookup.get_outcome(ensemble)
    networks = list(dict.fromkeys(run.network for run, _ in ensemble.members))
    row = {
        "kind": "ensemble",
        "block": "",
        "ensemble": ensemble_row.label,
        "of": ensemble_row.source,
        "method": ensemble_row.method,
        "size": len(ensemble.members),
        "whole": all(epoch == lookup.get_full_epochs(run) for run, epoch in ensemble.members),
        "student": networks[0] if len(networks) == 1 else "",
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
    return (_get_student_labels(cell) if target == "student" else {}) | _get_teacher_columns(
        lookup, cell.teacher
    )


# --- Columns


def _get_teacher_columns(lookup: RecordLookup, teacher: Teacher) -> dict:
    """Return the columns of a teacher, which may be an ensemble."""
    if teacher.ensemble is not None:
        record, _, _ = lookup.get_outcome(teacher.ensemble)
        metrics_by_split = (record or {}).get("last") or {}
        name, network = teacher.ensemble.name, ""
        lr = None
    else:
        run, epoch = teacher.members[0]
        metrics_by_split = lookup.get_metrics(run, epoch)
        name, network = run.name, run.network
        lr = metrics_by_split.get("lr")
    return {
        "teacher": teacher.label,
        "stop": teacher.stop.label,
        "stop_kind": teacher.stop.kind,
        "stop_epochs": teacher.stop.epochs,
        "teacher_network": network,
        "teacher_lr": lr,
        "teacher_parameters": teacher.parameters,
        "teacher_multiply_adds": teacher.multiply_adds,
        "teacher_run": name,
        "teacher_val_error": compute_top1_error(metrics_by_split.get("val")),
        "teacher_test_error": compute_top1_error(metrics_by_split.get("test")),
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
        "ancestor_macs": lookup.compute_ancestor_macs(run),
        "device": _describe_device(record),
        "torch": _get_library_version(record, "torch"),
        "kdpipe": _get_library_version(record, "kdpipe"),
        "seconds": seconds.get("total"),
        **_get_init_columns(run),
        **_get_eval_point_columns(metrics_by_split, record),
    }


def _get_init_columns(run: Run) -> dict[str, str]:
    """Return the network of a run that begins from weights."""
    start = run.spec.network.start
    return {"network": start.network} if start else {}


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
        row[f"{split}_error"] = compute_top1_error(values)
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
