"""The tidy frame: one row for each place that a run has in the study, from the records alone.

`frame` joins the plan with the records of the results folder. A run that a block shares with
another stands in both; a run without a record, diverged or skipped, keeps its row with the
reason, so a hole is visible in every table. Errors are top-1, in points; those at the best epoch on
validation have columns of their own (`best_<split>_<metric>`), which `reading` puts in place of the
last epoch's. `curves` is a second frame: one row for each epoch of the runs whose curve is there.
"""

import pandas as pd

from kdpipe.evidence.lookup import SPLITS, Lookup, error_of, numeric
from kdpipe.learning import method as methods
from kdpipe.plan.items import Cell, EnsembleRow, Gauge, GaugeRow, Plan, ProbeRow, Run, Teacher
from kdpipe.results.store import Store


def frame(plan: Plan, store: Store) -> pd.DataFrame:
    """results.csv, its columns in docs/reference/results.md. Needs records alone, no outputs."""
    look = Lookup(plan, store)
    rows = [_scratch(look, network, seed, run) for (network, seed, _), run in plan.scratch.items()]
    rows += _teachers(look)
    rows += [_cell(look, cell) for cell in plan.cells]
    rows += [_long(look, block, run, cell) for block, run, cell in plan.scratch_long]
    rows += [_ensemble(look, row) for row in plan.ensemble_rows]
    rows += [_probe(look, row) for row in plan.probe_rows]
    rows += [_gauge(look, row) for row in plan.gauge_rows]
    found = numeric(pd.DataFrame(rows))
    found = found.drop_duplicates(found.columns.drop("reason").tolist(), ignore_index=True)
    found.insert(2, "data", plan.card.name)
    if "probed_data" in found:  # a probe's numbers are those of the other set
        found["data"] = found.pop("probed_data").fillna(found.data)
    return found.drop(columns="split") if plan.study.splits == [0] else found


def curves(plan: Plan, store: Store) -> pd.DataFrame:
    """One row for each run and epoch: lr, and `<split>_<part>` as the curve has it.

    The train parts are running means with augmentation; `val_error` is in points. A run without
    a curve (a folder of records alone) has no rows.
    """
    rows = []
    for name in plan.runs:
        for line in store.curve(name) or ():
            row = {"run": name, "epoch": line["epoch"], "lr": line["lr"]}
            for split in ("train", "val"):
                parts = line.get(split) or {}
                row |= {f"{split}_{part}": value for part, value in parts.items()}
                row[f"{split}_error"] = error_of(parts)
            rows.append(row)
    columns = ["run", "epoch", "lr", "val_error"]
    return numeric(pd.DataFrame(rows)) if rows else pd.DataFrame(columns=pd.Index(columns))


def _scratch(look: Lookup, network: str, seed: int, run: Run) -> dict:
    return {"kind": "scratch", "block": "", "student": network} | _run(look, run, seed)


def _long(look: Lookup, block: str, run: Run, cell: Cell) -> dict:
    row = {"kind": "scratch_long", "block": block, "student": cell.student}
    return row | _teacher(look, cell.teacher) | _run(look, run, cell.seed)


def _teachers(look: Lookup) -> list[dict]:
    """Each single network that teaches, at the epoch where it teaches."""
    rows = {}
    for cell in look.plan.cells:
        if cell.teacher.ensemble is None:
            run, epoch = cell.teacher.members[0]
            row = {"kind": "teacher", "block": cell.block} | _teacher(look, cell.teacher)
            row |= _run(look, run, run.seed, epoch)
            rows[cell.block, cell.teacher.label, cell.teacher.stop.label, run.name, epoch] = row
    return list(rows.values())


def _cell(look: Lookup, cell: Cell) -> dict:
    kind = "tried" if look.plan.study.is_tried(cell.block, cell.seed) else "student"
    row = {"kind": kind, "block": cell.block} | _labels(cell)
    return row | _teacher(look, cell.teacher) | _run(look, cell.run, cell.seed)


def _labels(cell: Cell) -> dict:
    """What a student is: its path, and how it was taught."""
    method = cell.run.spec["method"]
    return {
        "via": " > ".join(cell.via),
        "student": cell.student,
        "method": cell.method,
        "method_kind": methods.kind(method, cell.run.epochs),
        **methods.columns(method),
        "kd_epochs": method["kd_epochs"],
        "ce_weight_after_stop": method["ce_weight_after_stop"],
        "label_smoothing": cell.run.spec["recipe"]["label_smoothing"],
        "generation": cell.generation,
        "step": cell.step,
        "last": cell.last,
    }


def _ensemble(look: Lookup, ensemble_row: EnsembleRow) -> dict:
    ensemble = ensemble_row.ensemble
    record, status, reason = look.outcome(ensemble)
    networks = list(dict.fromkeys(run.network for run, _ in ensemble.members))
    row = {
        "kind": "ensemble",
        "block": "",
        "ensemble": ensemble_row.label,
        "of": ensemble_row.of,
        "method": ensemble_row.method,
        "size": len(ensemble.members),
        "whole": all(epoch == look.epochs(run) for run, epoch in ensemble.members),
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
        row |= _teacher(look, ensemble_row.teacher)
    return row | _readings((record or {}).get("last") or {}, record)


def _probe(look: Lookup, probe_row: ProbeRow) -> dict:
    """A probe with the labels of what it asks; `own_error` is that one's on the study's data."""
    cell, probe = probe_row.cell, probe_row.probe
    record, status, reason = look.outcome(probe)
    row = {
        "kind": "probe",
        "block": cell.block,
        "probed_data": probe.card.name,
        "transfer": probe_row.transfer,
        "of": probe_row.of,
        **_asked(look, probe_row.of, cell),
    }
    at_home = look.measured(probe.run, probe.spec["epoch"])
    return row | {
        "seed": probe.seed,
        "split": probe.split,
        "member": probe.run.spec["member"],
        "run": probe.name,
        "status": status,
        "reason": reason,
        "epochs": probe.run.epochs,
        "parameters": probe.run.cost.parameters,
        "multiply_adds": probe.run.cost.multiply_adds,
        "device": _device(record),
        "torch": _version(record, "torch"),
        "kdpipe": _version(record, "kdpipe"),
        "seconds": ((record or {}).get("seconds") or {}).get("total"),
        "own_error": error_of(at_home.get("test")),
        "strength": (record or {}).get("strength"),
        "converged": (record or {}).get("converged"),
        **_metrics((record or {}).get("last") or {}),
    }


def _gauge(look: Lookup, gauge_row: GaugeRow) -> dict:
    """A network as a file: its errors in 8 bits, `own_error` in float32 as it was read there."""
    cell, gauge = gauge_row.cell, gauge_row.gauge
    record, status, reason = look.outcome(gauge)
    found = record or {}
    row = {
        "kind": "gauge",
        "block": cell.block,
        "of": gauge_row.of,
        **_asked(look, gauge_row.of, cell),
        "seed": gauge.seed,
        "split": gauge.split,
        "member": gauge.run.spec["member"],
        "run": gauge.name,
        "status": status,
        "reason": reason,
        "parameters": gauge.run.cost.parameters,
        "multiply_adds": gauge.run.cost.multiply_adds,
        "device": _device(record),
        "kdpipe": _version(record, "kdpipe"),
        "own_error": error_of(_in_float(look, gauge).get("test")),
        "own_val_error": error_of(_in_float(look, gauge).get("val")),
        "int8_test_agreement": found.get("agreement"),
        **_metrics(found.get("last") or {}),
    }
    for file in ("float32", "int8"):
        facts = found["graphs"][file] if "graphs" in found else None
        row[f"{file}_bytes"] = facts and facts["bytes"]
        row[f"{file}_ms"] = facts and facts["latency"]["1"]["median"]
    return row


def _in_float(look: Lookup, gauge: Gauge) -> dict:
    """The metrics by split of what a gauge is of."""
    if gauge.spec["reading"] == "best":
        record, _, _ = look.outcome(gauge.run)
        return (record or {}).get("best") or {}
    return look.measured(gauge.run, gauge.spec["epoch"])


def _asked(look: Lookup, of: str, cell: Cell) -> dict:
    """Which network of a cell it is: its scratch run, its student, its teacher."""
    if of == "scratch":
        return {"student": cell.student}
    return (_labels(cell) if of == "student" else {}) | _teacher(look, cell.teacher)


def _teacher(look: Lookup, teacher: Teacher) -> dict:
    if teacher.ensemble is not None:
        record, _, _ = look.outcome(teacher.ensemble)
        found = (record or {}).get("last") or {}
        name, network = teacher.ensemble.name, ""
        lr = None
    else:
        run, epoch = teacher.members[0]
        found = look.measured(run, epoch)
        name, network = run.name, run.network
        lr = found.get("lr")
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
        "teacher_val_error": error_of(found.get("val")),
        "teacher_test_error": error_of(found.get("test")),
    }


def _run(look: Lookup, run: Run, seed: int, epoch: int | None = None) -> dict:
    record, status, reason = look.outcome(run)
    found = look.measured(run, run.epochs if epoch is None else epoch)
    seconds = (record or {}).get("seconds") or {}
    return {
        "seed": seed,
        "split": run.split,
        "member": run.spec["member"],
        "run": run.name,
        "status": status,
        "reason": reason,
        "epochs": run.epochs,
        "parameters": run.cost.parameters,
        "multiply_adds": run.cost.multiply_adds,
        "train_macs": run.train_multiply_adds,
        "teacher_macs": run.teacher_multiply_adds,
        "ancestor_macs": look.ancestors(run),
        "device": _device(record),
        "torch": _version(record, "torch"),
        "kdpipe": _version(record, "kdpipe"),
        "seconds": seconds.get("total"),
        **_begun(run),
        **_readings(found, record),
    }


def _begun(run: Run) -> dict[str, str]:
    """Of what begins from weights the network that it is."""
    start = run.spec["network"].get("start")
    return {"network": start["network"]} if start else {}


def _readings(found: dict, record: dict | None) -> dict[str, float | None]:
    """The metrics of a row, and beside them those of the best epoch on validation."""
    best = (record or {}).get("best") or {}
    at_best = {f"best_{key}": value for key, value in _metrics(best).items()}
    return {**_metrics(found), "best_epoch": best.get("epoch"), **at_best}


def _version(record: dict | None, name: str) -> str | None:
    return ((record or {}).get("versions") or {}).get(name)


def _device(record: dict | None) -> str | None:
    device = (record or {}).get("device")
    if not device:
        return None
    named = f"{device['type']}: {device['name']}"
    if "driver" not in device:
        return named
    facts = [f"driver {device['driver']}", f"cuDNN {device.get('cudnn')}"]
    facts += ["TF32"] if device.get("tf32") else []
    facts += ["any kernels"] if device.get("kernels") == "any" else []
    return f"{named} ({device.get('capability')}, {', '.join(facts)})"


def _metrics(found: dict) -> dict[str, float | None]:
    """`<split>_<metric>` for every split; the KD error is 100 (1 - agreement)."""
    row: dict[str, float | None] = {}
    for split in SPLITS:
        values = found.get(split) or {}
        row[f"{split}_n"] = values.get("n")
        row[f"{split}_error"] = error_of(values)
        agreement = values.get("agreement")
        row[f"{split}_kd_error"] = None if agreement is None else 100 * (1 - agreement)
        for name in ("nll", "ece", "entropy", "confidence", "kl", "cross_entropy"):
            row[f"{split}_{name}"] = values.get(name)
    return row
