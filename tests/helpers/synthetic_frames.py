"""Small made frames: cells of a tidy frame whose numbers can be worked out by hand."""

import itertools
import math

import pandas as pd

SIZES = {"small": 10, "warm": 10, "mid": 100, "large": 1000, "": math.nan}
COLUMNS = ["kind", "block", "teacher", "stop", "stop_kind", "student", "method", "seed", "run"]


def cell(errors, kind="student", **labels):
    """Rows of one cell: errors are a list by seed; a text is the status of a run without one."""
    student, teacher = labels.get("student", "small"), labels.get("teacher", "")
    defaults = {
        "block": "main" if kind == "student" else "",
        "method": "kd" if kind == "student" else "",
        "method_kind": "kd" if kind == "student" else "",
        "stop": "full" if teacher else "",
        "via": "",
        "generation": 1 if kind == "student" else 0,
        "member": 0,
        "epochs": 40,
        "teacher_network": teacher if teacher in SIZES else "",
        "teacher_val_error": {"mid": 4.0, "large": 3.0}.get(teacher),
        "teacher_test_error": {"mid": 4.0, "large": 3.0}.get(teacher),
        "teacher_multiply_adds": SIZES.get(teacher),
        "teacher_parameters": 2 * SIZES.get(teacher, math.nan),
        "multiply_adds": SIZES[student],
        "parameters": 2 * SIZES[student],
    }
    if kind == "student":
        defaults |= {"temperature": 4, "ce_weight": 0.1, "kd_weight": 0.9, "label_smoothing": 0}
        defaults |= {"kd_epochs": 40, "ce_weight_after_stop": None}
    rows = []
    for seed, error in enumerate(errors):
        row = {"kind": kind, "student": student, "teacher": teacher, "seed": seed} | defaults
        row |= {key: value for key, value in labels.items() if not isinstance(value, list)}
        row |= {key: value[seed] for key, value in labels.items() if isinstance(value, list)}
        kind_of_stop, _, epochs = row["stop"].partition(" ")
        row["stop_kind"] = kind_of_stop
        row["stop_epochs"] = int(epochs.rpartition("/")[2] or 40) if row["stop"] else None
        name = [row[key] for key in ("kind", "teacher", "stop", "via", "student", "method")]
        name += [str(row["generation"]), labels.get("ensemble", ""), str(row["epochs"])]
        row.setdefault("run", f"{'-'.join(name)}-s{seed}-m{row['member']}")
        if teacher:
            row.setdefault("teacher_run", f"teacher-{teacher}-s{seed}")
        row |= {"status": "done", "test_error": error} if not isinstance(error, str) else {}
        if isinstance(error, str):
            row |= {"status": error, "reason": f"{error} for a reason"}
        rows.append(row)
    return rows


def frame(*cells):
    return pd.DataFrame(itertools.chain(*cells))


SCRATCH = cell([10.0, 11.0, 12.0], kind="scratch")
