"""What was measured of the files of a run, kept in the user's cache, so that it is not done twice.

A second question about a budget then takes no conversion and no torch. What is kept belongs to the
weights, the data and the evaluation point of the run, and to the processor and the versions of
kdpipe, torch and ONNX Runtime.
"""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from kdpipe import __version__, hashing
from kdpipe.devices import host
from kdpipe.export.select import ExportBudget, ExportCandidate, ExportFile, select_within_budget
from kdpipe.plan.estimate import get_cache_path, get_library_version
from kdpipe.plan.nodes import Plan
from kdpipe.runs import records
from kdpipe.runs.files import READ_ERRORS, read_regular_file, write_json
from kdpipe.runs.store import Store

CACHE_FILE = "exports.json"
THREADS = 1


@dataclass(frozen=True)
class LatencySummary:
    """The latency of a batch in milliseconds: median and quartiles of `rounds` rounds."""

    median: float
    low: float
    high: float
    rounds: int


Latencies = Mapping[str, Mapping[int, LatencySummary]]  # by graph and batch size


@dataclass(frozen=True)
class MeasuredFiles:
    """What was measured of the files of one run.

    Attributes
    ----------
    files : list of ExportFile
        Those that may ship.
    times : mapping
        The latency of each graph by batch size, also of one that does not ship.
    """

    files: list[ExportFile]
    times: Latencies


# What converts a network, decides the size of its files, and runs them.
MEASURED_LIBRARIES = ("torch", "onnx", "onnxscript", "onnxruntime")


def make_key(candidate: ExportCandidate, plan: Plan, store: Store, keep_float: int = 0) -> str:
    """Return the key of the files of a run: a digest of all that their measurements depend on.

    `keep_float` is how many layers of the int8 graph stay in float32.
    """
    reading = plan.study.reading if candidate.run.epochs else "last"
    folder, record = store.run(candidate.run.name), candidate.record
    path = records.find_weights_path(folder, record, reading)
    content = {
        "run": candidate.run.digest,
        "reading": reading,
        "weights": path and records.find_file_info(record, folder, path),
        "eval": {key: record.get(key) for key in (reading, records.UNAVERAGED_KEY)},
        "threads": THREADS,
        "processor": host.read_cpu_model(),
        "kdpipe": __version__,
        **{name: get_library_version(name) for name in MEASURED_LIBRARIES},
        **({"keep_float": keep_float} if keep_float else {}),
    }
    return hashing.hash_spec(content)


def load_measured(keys: list[str]) -> list[MeasuredFiles | None]:
    """Return what is known of the files of each candidate, by their keys in order."""
    entries = _load_entries()
    return [_from_json(entries[key], i) if key in entries else None for i, key in enumerate(keys)]


def save_measured(measured: Mapping[str, MeasuredFiles]) -> None:
    """Add measurements to the cache, by their keys.

    Raises
    ------
    StoreError
        If the cache cannot be written.
    """
    entries = {key: _to_json(item) for key, item in measured.items()}
    write_json(get_cache_path(CACHE_FILE), _load_entries() | entries)


def require_fit(
    candidates: list[ExportCandidate],
    plan: Plan,
    store: Store,
    budget: ExportBudget,
    keep_float: int = 0,
) -> None:
    """Raise KdpipeError if it is known of all candidates that none fits a budget."""
    measured = load_measured([make_key(item, plan, store, keep_float) for item in candidates])
    files = [file for item in measured if item is not None for file in item.files]
    if budget and all(item is not None for item in measured):
        select_within_budget(files, budget)


def _load_entries() -> dict[str, Any]:
    """Return the entries of the cache that can be read."""
    try:
        entries = json.loads(read_regular_file(get_cache_path(CACHE_FILE)))
        return {key: entry for key, entry in entries.items() if _from_json(entry, 0)}
    except READ_ERRORS:
        return {}


def _to_json(measured: MeasuredFiles) -> dict[str, Any]:
    """Return measurements in plain values."""
    return {
        "files": [
            {
                "file": file.file,
                "network": file.network,
                "error": file.error if file.error == file.error else None,
                "size": file.size,
                "right": None
                if file.is_right is None
                else [len(file.is_right), np.packbits(file.is_right).tobytes().hex()],
            }
            for file in measured.files
        ],
        "times": {
            name: {str(size): dataclasses.asdict(time) for size, time in times.items()}
            for name, times in measured.times.items()
        },
    }


def _from_json(entry: dict[str, Any], index: int) -> MeasuredFiles:
    """Return the measurements of an entry of the cache, as those of a candidate."""
    times = {
        name: {int(size): LatencySummary(**time) for size, time in by_size.items()}
        for name, by_size in entry["times"].items()
    }
    files = []
    for fields in entry["files"]:
        is_right = None
        if fields["right"] is not None:
            count, text = fields["right"]
            bits = np.frombuffer(bytes.fromhex(text), np.uint8)
            is_right = np.unpackbits(bits, count=count).astype(bool)
        name, error = fields["file"], fields["error"]
        error = float("nan") if error is None else float(error)
        milliseconds = times[name][1].median
        files.append(
            ExportFile(
                index, name, error, int(fields["size"]), milliseconds, is_right, fields["network"]
            )
        )
    return MeasuredFiles(files, times)
