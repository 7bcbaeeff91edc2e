"""The two readings of a finished run: at its last epoch, and at its best one on validation.

A run keeps weights and outputs of both. Where the best epoch is the last one they are the same and
are written once, under the names of the last; `weights` and `outputs` find them either way. A run
that was made before both were kept has its best reading as numbers in its record alone, and one
without validation has none.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Literal, get_args

from kdpipe.results import records, run_folder

Reading = Literal["last", "best"]
READINGS: tuple[Reading, ...] = get_args(Reading)


def other(reading: Reading) -> Reading:
    """The one that stands beside it."""
    return "best" if reading == "last" else "last"


def epoch(record: dict, reading: Reading) -> int | None:
    """After which epoch a reading of a finished run is; None if it has none."""
    return (record.get(reading) or {}).get("epoch")


def is_last(record: dict | None) -> bool:
    """Whether the best epoch of a run is its last one, and so both readings are the same."""
    if record is None:
        return False
    after = epoch(record, "best")
    return after is not None and after == epoch(record, "last")


def weights(folder: Path, record: dict, reading: Reading) -> Path | None:
    """The weights of a reading, if the record of the run in that folder lists them."""
    return _listed(folder, record, reading, run_folder.weights, run_folder.best_weights)


def outputs(folder: Path, record: dict, reading: Reading) -> Path | None:
    """Its logits and labels on validation and test, if the record lists them."""
    return _listed(folder, record, reading, run_folder.outputs, run_folder.best_outputs)


def _listed(
    folder: Path, record: dict, reading: Reading, last: Callable, best: Callable
) -> Path | None:
    if epoch(record, reading) is None:
        return None
    path = (last if reading == "last" or is_last(record) else best)(folder)
    return path if records.facts(record, folder, path) else None
