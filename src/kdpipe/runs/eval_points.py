"""The two evaluation points of a finished run: its last epoch, and its best one on validation.

A run keeps weights and outputs of both. Where the best epoch is the last one they are equal and are
written once, under the names of the last; `find_weights_path` and `find_outputs_path` return them
either way. A run of a version that kept only the last has its best point as numbers in its record,
and a run without validation has none.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Literal, get_args

from kdpipe.runs import records, run_folder

EvalPoint = Literal["last", "best"]
EVAL_POINTS: tuple[EvalPoint, ...] = get_args(EvalPoint)


def other_eval_point(eval_point: EvalPoint) -> EvalPoint:
    """Return the evaluation point that is not this one."""
    return "best" if eval_point == "last" else "last"


def get_eval_epoch(record: dict, eval_point: EvalPoint) -> int | None:
    """Return the epoch of an evaluation point of a finished run; None if it has none."""
    return (record.get(eval_point) or {}).get("epoch")


def is_best_last(record: dict | None) -> bool:
    """Return whether the best epoch of a run is its last one, so both points are equal."""
    if record is None:
        return False
    best_epoch = get_eval_epoch(record, "best")
    return best_epoch is not None and best_epoch == get_eval_epoch(record, "last")


def find_weights_path(folder: Path, record: dict, eval_point: EvalPoint) -> Path | None:
    """Return the file of weights at an evaluation point, if the record lists it."""
    return _find_listed_path(
        folder, record, eval_point, run_folder.weights_path, run_folder.best_weights_path
    )


def find_outputs_path(folder: Path, record: dict, eval_point: EvalPoint) -> Path | None:
    """Return the file of logits and labels at an evaluation point, if the record lists it."""
    return _find_listed_path(
        folder, record, eval_point, run_folder.outputs_path, run_folder.best_outputs_path
    )


def _find_listed_path(
    folder: Path, record: dict, eval_point: EvalPoint, last_path: Callable, best_path: Callable
) -> Path | None:
    if get_eval_epoch(record, eval_point) is None:
        return None
    path = (last_path if eval_point == "last" or is_best_last(record) else best_path)(folder)
    return path if records.find_file_info(record, folder, path) else None
