"""The record of a run, and the archive of many records.

A record is the JSON object in which a run, an ensemble, a probe or the evaluation of an export
(kind `gauge`) keeps its results. It is written last of all files, under two names
(`run_folder.RECORD_FILE` and its copy), and its last key is the SHA-256 of all text before it: a
record that exists is whole and unaltered. It lists every other file of the run with its size and
SHA-256. The checksum says only that a record is as it was written; somebody may have written one by
hand with a valid checksum, so `find_schema_errors` checks its form before any number is used.

The archive `records.jsonl.gz` holds the records of a study in one file, from which its report is
rendered. It has one line for each run, ensemble, probe and evaluation of an export: the record; the
training curve of a run; the misclassified test images of a run or ensemble as bits, with the
classes predicted for them in place of the logits, at the last epoch and at the best one on
validation where that is another; what validation and the teacher say of single images (see
`per_image`), and which validation images were wrong after each epoch; the reason of a failure. The
labels of a split that these refer to have a line of their own, once for all runs. It holds no
weights, so nothing can be trained from it. Equal results give equal bytes: the lines are sorted,
and the gzip header has neither a time nor a name. Each line ends in its SHA-256.

The two evaluation points of a finished run: its last epoch, and its best one on validation.

A run keeps weights and outputs of both. Where the best epoch is the last one they are equal and are
written once, under the names of the last; `find_weights_path` and `find_outputs_path` return them
either way. A run of a version that kept only the last has its best point as numbers in its record,
and a run without validation has none.
"""

import contextlib
import functools
import gzip
import hashlib
import io
import json
import os
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any, Literal, get_args

from kdpipe import hashing
from kdpipe.errors import StoreError
from kdpipe.json_types import is_list, is_object
from kdpipe.runs import run_folder
from kdpipe.runs.files import FileInfo, read_existing, read_regular_file, write_bytes
from kdpipe.runs.run_folder import RECORD_COPY_FILE, RECORD_FILE

# The last key of a record is the SHA-256 of the text before it.
RECORD_SEAL = b',\n "sha256": "'
STATUSES = ("done", "diverged", "skipped")
RECORD_KINDS = ("runs", "ensembles", "probes", "gauges")  # names of the folders of results
REQUIRED_KEYS = ("digest", "status")
# The keys of a record of format 1 in every version of kdpipe (`jobs.run_record.new_record`), and by
# kind those that it has besides if it is done.
COMMON_KEYS = (
    "format",
    "kind",
    "name",
    "digest",
    "status",
    "reason",
    "spec",
    "versions",
    "started",
    "last",
    "best",
    "checkpoints",
    "files",
)
KEYS_WHEN_DONE = {"run": ("device", "seconds"), "gauge": ("device", "graphs", "agreement")}
# Keys that may differ between two trainings of the same run.
MACHINE_KEYS = {"versions", "started", "device", "seconds", "images_per_second", "code"}
# Keys that may hold more or less: a checkpoint is kept only if a study needs it.
GROWING_KEYS = ("checkpoints", "files")
UNAVERAGED_KEY = "unaveraged"  # of a run whose weights are averaged, from version 0.3 on
# Of a student whose teacher answers in bfloat16: how far that is from float32.
ROUNDING_KEY = "teacher_rounding"
PARENTS_KEY = "parents"  # what a run was computed from; missing before version 0.3

ARCHIVE_FILE = "records.jsonl.gz"
ARCHIVE_SEAL = b',"sha256":"'
LABELS_KIND = "labels"  # of the line with the labels of a split, whose name is their SHA-256
# Of the line that says how many others there are; archives of earlier versions have none.
COUNT_KIND = "count"
_DIGEST_SUFFIX = re.compile("-[0-9a-f]{12}$")  # of a folder that is named after a digest


@dataclass(frozen=True)
class ArchiveEntry:
    """One line of an archive.

    Attributes
    ----------
    kind, name, digest : str
        The kind (one of `RECORD_KINDS`), the name and the digest of the result. Of the kind
        `COUNT_KIND` the digest is the number of the other lines.
    record : dict or None
        Its record; None if it has failed so far.
    curve : list of dict or None
        What a run noted after each epoch.
    wrong : dict or None
        {"images": count, "wrong": bits in hexadecimal}: its misclassified test images.
    failure : str or None
        Why its last attempt failed.
    wrong_at_best : dict or None
        As `wrong`, at the best epoch on validation where that is not the last one.
    missed, missed_at_best : dict or None
        Of the misclassified images, in their order, what they are taken for, {"predicted"}, with
        the "sizes" of all classes of the test set first. Earlier archives have none, or have the
        "labels" of these images here.
    per_image : dict or None
        Of a run, by evaluation point (`best` where that is not the last epoch) the values of single
        images: on validation which are wrong and what they are taken for (`val`), their
        cross-entropy (`nll`) and the entropy of the outputs (`entropy`; of a taught run the `kl` to
        its teacher in its place); on test where it disagrees with its teacher (`disagrees`). Also
        the validation errors of each epoch (`epochs`), and the SHA-256 of the `labels` of both
        splits. Of a study whose metric is not top-1, what checkpoints and ensembles predict
        (`predictions`, by epoch or evaluation point, and by split). `runs.per_image` has the
        encoding; earlier archives have none.
    labels : dict or None
        Of the kind `LABELS_KIND`: the labels of one split.
    """

    kind: str
    name: str
    digest: str
    record: dict[str, Any] | None = None
    curve: list[dict[str, Any]] | None = None
    wrong: dict[str, Any] | None = None
    failure: str | None = None
    wrong_at_best: dict[str, Any] | None = None
    missed: dict[str, Any] | None = None
    missed_at_best: dict[str, Any] | None = None
    per_image: dict[str, Any] | None = None
    labels: dict[str, Any] | None = None


ArchiveEntries = dict[tuple[str, str], ArchiveEntry]  # by (kind, name)


# Reading and writing the record of a folder


def publish_record(folder: Path, record: dict[str, Any]) -> None:
    """Write the record of a run under both of its names, after all its other files."""
    body = json.dumps(record, indent=1, allow_nan=False).removesuffix("\n}").encode()
    sealed = body + RECORD_SEAL + hashlib.sha256(body).hexdigest().encode() + b'"\n}\n'
    write_bytes(folder / RECORD_COPY_FILE, sealed)
    write_bytes(folder / RECORD_FILE, sealed)


def read_record(
    folder: Path, digest: str | None, filename: str = RECORD_FILE
) -> dict[str, Any] | None:
    """Return the record in a folder, or None if there is none.

    Parameters
    ----------
    folder : Path
        The folder of the run.
    digest : str or None
        The expected digest; None accepts that of any run.
    filename : str
        Which of the two copies is read.

    Raises
    ------
    StoreError
        If the record is damaged or has another digest.
    """
    path = folder / filename
    try:
        data = read_regular_file(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise StoreError(f"{path} cannot be read: {error.strerror}") from None
    record = parse_record(data, path)
    if digest is not None and record["digest"] != digest:
        raise StoreError(
            f"{path} is the record of another run (digest {record['digest'][:12]}, expected "
            f"{digest[:12]}): remove the folder {folder}, the run is then made again"
        )
    return record


def read_finished_record(folder: Path, digest: str | None) -> dict[str, Any] | None:
    """Return the record of a finished run from whichever copy is whole; None if it is unfinished.

    If both are, the hidden copy is the newer one.

    Raises
    ------
    StoreError
        If no copy is whole and one is damaged or has another digest.
    """
    damaged = None
    for filename in (RECORD_COPY_FILE, RECORD_FILE):
        try:
            if (record := read_record(folder, digest, filename)) is not None:
                return record
        except StoreError as error:
            damaged = error
    if damaged is not None:
        raise damaged
    return None


def find_whole_record(folder: Path, digest: str | None = None) -> dict[str, Any] | None:
    """Return the record of a finished run; None if it is unfinished or damaged."""
    with contextlib.suppress(StoreError):
        return read_finished_record(folder, digest)
    return None


def read_or_repair_record(folder: Path) -> dict[str, Any] | None:
    """Return the record of a folder, of which there are two copies; None if it is unfinished.

    A copy that is damaged or missing is restored from the other, on disk too if that is possible:
    before a job that adds to a finished run, Snakemake removes the copy that it knows, and the job
    may be killed then.

    Raises
    ------
    StoreError
        If no copy is whole and one is damaged.
    """
    damaged = None
    for filename in (RECORD_FILE, RECORD_COPY_FILE):
        try:
            record = read_record(folder, None, filename)
        except StoreError as error:
            damaged = damaged or error
            continue
        if record is not None:
            if filename == RECORD_COPY_FILE:
                restore_record(folder, RECORD_FILE)
            return record
    if damaged is not None:
        raise damaged
    return None


def ensure_record_backup(folder: Path) -> None:
    """Give a whole record its hidden copy, before Snakemake removes it for a job."""
    with contextlib.suppress(StoreError):
        if read_record(folder, None, RECORD_COPY_FILE) is not None:
            return
    restore_record(folder, RECORD_COPY_FILE)


def restore_record(folder: Path, filename: str) -> bool:
    """Restore the copy of a record with this file name from the other, if that is whole.

    Returns
    -------
    bool
        Whether it was restored; not if the folder was moved, or belongs to another user.
    """
    other_filename = RECORD_COPY_FILE if filename == RECORD_FILE else RECORD_FILE
    with contextlib.suppress(StoreError, OSError):
        record = read_record(folder, None, other_filename)
        if record is not None and has_matching_name(record, folder.name):
            write_bytes(folder / filename, read_regular_file(folder / other_filename))
            return True
    return False


def parse_record(data: bytes, path: Path | str) -> dict[str, Any]:
    """Return the record in the bytes of a file.

    Parameters
    ----------
    data : bytes
        The content of the file.
    path : Path or str
        Its path, for messages.

    Raises
    ------
    StoreError
        If it is not a record.
    """
    record: dict[str, Any] = {}
    try:
        body, _, seal = data.rpartition(RECORD_SEAL)
        if hashlib.sha256(body).hexdigest() != seal[:64].decode():
            raise ValueError("altered")
        record = json.loads(body + b"\n}")
        problem = next(find_schema_errors(record), None)
    except (ValueError, RecursionError):
        problem = "empty, cut off or altered"
    if problem is None:
        return record
    raise StoreError(
        f"{path} is not a record ({problem}): remove its folder {Path(path).parent}, the run is "
        "then made again"
    )


# Whether a record can be used where it lies


def find_file_info(record: dict[str, Any], folder: Path, path: Path) -> FileInfo | None:
    """Return the size and SHA-256 of a file of a run as its record lists it, or None."""
    return record.get("files", {}).get(path.relative_to(folder).as_posix())


def record_problem(
    record: dict[str, Any],
    folder: Path,
    entry: ArchiveEntry | None = None,
    has_file: Callable[[str], bool] | None = None,
) -> str:
    """Return why a whole record cannot be used where it lies; empty if it can.

    Parameters
    ----------
    record : dict
        The record.
    folder : Path
        The folder in which it lies.
    entry : ArchiveEntry or None
        The entry of the run in an archive, which may hold the content of a missing file.
    has_file : callable or None
        Whether a file that the record lists is there, by its name; None: looks into the folder.
    """
    has_file = has_file or (lambda name: os.path.exists(f"{folder}/{name}"))
    if reason := wrong_owner_reason(record, folder.name):
        return f"{reason}: remove or rename the folder {folder}, the run is then made again"
    if record["status"] == "skipped":  # it has no files
        return ""
    listed_files = record.get("files", {})
    weights = run_folder.weights_path(folder)
    if (
        record.get("kind") == "run"
        and record["status"] == "done"
        and weights.name not in listed_files
    ):
        return (
            f"the record of {folder.name} is done and lists no {weights.name}: remove the folder "
            f"{folder}, the run is then made again"
        )
    for name in listed_files:
        # Files of checkpoints are checked by the jobs that read them.
        if "/" not in name and not (has_file(name) or _has_in_archive(entry, name)):
            return (
                f"{folder / name} is missing, which its record lists: put it back, or remove the "
                f"folder {folder}, the run is then made again"
            )
    return ""


def _has_in_archive(entry: ArchiveEntry | None, name: str) -> bool:
    """Return whether an archive holds what a report needs from a file of a run."""
    if entry is None:
        return False
    contents = {
        run_folder.CURVE_FILE: entry.curve,
        run_folder.outputs_path(Path()).name: entry.wrong,
    }
    contents[run_folder.best_outputs_path(Path()).name] = entry.wrong_at_best
    epochs = (entry.per_image or {}).get("epochs")
    contents[run_folder.validation_errors_path(Path()).name] = epochs
    return contents.get(name) is not None


def wrong_owner_reason(record: dict[str, Any], name: str) -> str:
    """Return why a record does not belong to the run of this name; empty if it does.

    The whole digest is compared with that of the spec; a name has only its first twelve digits.
    """
    if not has_matching_name(record, name):
        return f"in the place of {name} is the record of {record['name']}"
    digest, has_digest = record["digest"], _DIGEST_SUFFIX.search(name) is not None
    if has_digest and not (name.endswith(digest[:12]) and digest == _compute_spec_digest(record)):
        return f"the record of {name} belongs to another spec (digest {digest})"
    return ""


def has_matching_name(record: dict[str, Any], name: str) -> bool:
    """Return whether a record lies in the folder of its name, so was not moved there."""
    return record.get("name", name) == name


def _compute_spec_digest(record: dict[str, Any]) -> str:
    """Return the digest of the spec in a record; records of kdpipe 0.1 may have no spec."""
    try:
        return hashing.hash_spec(record["spec"]) if "spec" in record else record["digest"]
    except ValueError:  # NaN or infinity, written by hand
        return ""


# Two records of one run


def diff_records(a: dict[str, Any], b: dict[str, Any]) -> str | None:
    """Return the first difference between two records of one run; None if they agree.

    Time, machine and versions may differ, and so may which checkpoints were kept and whether an
    ensemble was scored at the best epochs of its members. What both have must be equal, down to the
    checksums of the files.
    """
    for key in dict.fromkeys([*a, *b]):
        if key in GROWING_KEYS:
            a_items, b_items = a.get(key, {}), b.get(key, {})
            for name in sorted(a_items.keys() & b_items.keys()):
                if a_items[name] != b_items[name]:
                    return f"{key.removesuffix('s')} {name}"
        elif any(_is_optional_absent(key, record) for record in (a, b)):
            continue
        elif key not in MACHINE_KEYS and a.get(key) != b.get(key):
            return key
    return None


def merge_records(a: dict[str, Any], b: dict[str, Any]) -> dict[str, Any]:
    """Return the first of two records of one run with the checkpoints that only the second has.

    That of an ensemble gets the best evaluation point of the second if it has none itself; that of
    a run with averaged weights what the second has of the network without averaging.
    """
    if _is_optional_absent("best", a):
        a = a | {"best": b.get("best")}
    if UNAVERAGED_KEY in b:
        a = {UNAVERAGED_KEY: b[UNAVERAGED_KEY]} | a
    union = {key: b.get(key, {}) | a.get(key, {}) for key in GROWING_KEYS}
    larger = {key: items for key, items in union.items() if items.keys() != a.get(key, {}).keys()}
    return a | larger


def format_rounding(rounding: Mapping[str, Any]) -> str:
    """Return in words how far the outputs of a teacher in bfloat16 are from those in float32."""
    return (
        f"logits differ from float32 by at most {rounding['largest_error']:.2g} of the largest, "
        f"and {100 * rounding['other_class']:.2g} % of {rounding['images']:,} "
        f"{rounding['split']} images have another top class"
    )


def _is_optional_absent(key: str, record: dict[str, Any]) -> bool:
    """Return whether a record lacks a value that not every record has.

    These are the parents, the images and the metrics without weight averaging, which earlier
    versions did not record, and the best evaluation point of an ensemble.
    """
    if key == "best":
        return record.get("kind") == "ensemble" and record[key] is None
    return key in (PARENTS_KEY, "images", UNAVERAGED_KEY) and key not in record


# The schema of a record, as far as others rely on it


def find_schema_errors(record: Any) -> Iterator[str]:
    """Yield what is wrong with the form of a record, key by key, as clauses of a message."""
    if not is_object(record):
        yield "it is no mapping"
        return
    status, is_run = record.get("status"), record.get("kind") == "run"
    required_keys = COMMON_KEYS if "format" in record else REQUIRED_KEYS
    done_keys = KEYS_WHEN_DONE.get(str(record.get("kind")), ()) if status == "done" else ()
    for key in (*required_keys, *done_keys):
        if key not in record:
            yield f"it has no {key}"
    for key, is_valid in _KEY_CHECKS.items():
        if key in record and not is_valid(record[key]):
            yield f"its {key} is none"
    for key in ("last", "spec") if status == "done" else ():
        if key in record and not record[key]:
            yield f"it is done, and its {key} is empty"
    if is_run and "spec" in record and not _is_run_spec(record["spec"]):
        yield "its spec is none of a run"


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) < 10**18 and isfinite(value)


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 10**18


def _is_digest(value: Any) -> bool:
    return _is_text(value) and bool(re.fullmatch("[0-9a-f]{64}", value))


def _is_none_or(is_valid: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: value is None or is_valid(value)


def _is_mapping_of(
    is_key: Callable[[Any], bool], is_value: Callable[[Any], bool]
) -> Callable[[Any], bool]:
    """Return a check for a mapping with valid keys and valid values."""
    return lambda value: (
        is_object(value) and all(is_key(key) and is_value(item) for key, item in value.items())
    )


def _has_keys(**keys: Callable[[Any], bool]) -> Callable[[Any], bool]:
    """Return a check for a mapping with valid values of these keys, and maybe other keys."""
    return lambda value: (
        is_object(value)
        and all(key in value and is_valid(value[key]) for key, is_valid in keys.items())
    )


def _is_split_metrics(value: Any) -> bool:
    """Return whether a value is the metrics of one split, or None for an empty split."""
    return value is None or (
        _is_mapping_of(_is_text, _is_none_or(_is_number))(value)
        and _is_number(value.get("accuracy"))
    )


def _is_metrics(value: Any) -> bool:
    """Return whether a value is the metrics of all splits after an epoch."""
    if not is_object(value) or not _is_none_or(_is_count)(value.get("epoch")):
        return False
    splits = [value.get(split) for split in ("train", "val", "test")]
    return all(map(_is_split_metrics, splits)) and _is_none_or(_is_number)(value.get("lr"))


def _is_seconds(value: Any) -> bool:
    """Return whether a value is the durations of a run; others divide by the total."""
    return _is_mapping_of(_is_text, _is_number)(value) and value.get("total", 0) > 0


def _is_run_spec(spec: Any) -> bool:
    """Return whether a spec states the number of epochs, which the last weights come after."""
    return _has_keys(recipe=_has_keys(epochs=_is_count))(spec)


def _is_parents(value: Any) -> bool:
    is_parent = _has_keys(run=_is_digest, epoch=_is_count, sha256=_is_digest)
    return is_list(value) and all(map(is_parent, value))


def _is_graph(value: Any) -> bool:
    """Return whether a value is of an exported graph: bytes, and milliseconds by batch size."""
    is_latency = _has_keys(**{key: _is_number for key in ("median", "low", "high")})
    return _has_keys(bytes=_is_count, latency=_has_keys(**{"1": is_latency, "64": is_latency}))(
        value
    )


_KEY_CHECKS: dict[str, Callable[[Any], bool]] = {
    "format": lambda value: value == 1 and type(value) is int,
    "kind": lambda value: value in ("run", "ensemble", "probe", "gauge"),
    "name": _is_text,
    "digest": _is_digest,
    "status": lambda value: value in STATUSES,
    "reason": _is_none_or(_is_text),
    "spec": lambda value: isinstance(value, dict),
    "versions": _is_mapping_of(_is_text, _is_none_or(_is_text)),
    "started": _is_text,
    "parents": _is_parents,
    "device": _has_keys(type=_is_text, name=_is_text),
    "seconds": _is_seconds,
    "images_per_second": _is_number,
    "parameters": _is_count,
    "multiply_adds": _is_count,
    "strength": _is_number,
    "converged": lambda value: type(value) is bool,
    "graphs": _has_keys(float32=_is_graph, int8=_is_graph),
    "agreement": _is_number,
    "last": _is_none_or(_is_metrics),
    "best": _is_none_or(_is_metrics),
    "unaveraged": _is_none_or(_is_metrics),
    "checkpoints": _is_mapping_of(lambda key: _is_text(key) and key.isdecimal(), _is_metrics),
    "files": _is_mapping_of(_is_text, _has_keys(bytes=_is_count, sha256=_is_digest)),
    "code": _is_mapping_of(_is_text, _is_text),  # of custom networks and terms, by file
}


# The archive


def read_archive(path: Path) -> ArchiveEntries:
    """Return the entries of an archive; none if there is no file.

    Parameters
    ----------
    path : Path
        The archive.

    Returns
    -------
    dict
        ArchiveEntry by (kind, name).

    Raises
    ------
    StoreError
        If the archive is damaged.
    """
    try:
        stat = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    return _read_archive_version(path, stat.st_ino, stat.st_mtime_ns, stat.st_size)


def states_count(path: Path) -> bool:
    """Return whether an archive says how many entries it holds, as those of 0.1 do not.

    Of one that does not, a missing line is not noticed.
    """
    first_line, _, _ = _decompress(path).partition(b"\n")
    entry = _decode_entry(first_line)
    return entry is not None and entry.kind == COUNT_KIND


def write_archive(path: Path, entries: Iterable[ArchiveEntry]) -> None:
    """Write an archive, or remove it if there are no entries.

    An archive with the same content is left as it is, whichever version of zlib compressed it.

    Raises
    ------
    StoreError
        If it cannot be written.
    """
    text = _encode_entries(entries)
    if not text:
        path.unlink(missing_ok=True)
        return
    try:
        if _decompress(path) == text:
            return
    except (FileNotFoundError, StoreError):
        pass
    write_bytes(path, _compress(text))


def drop_unused_labels(entries: Iterable[ArchiveEntry]) -> list[ArchiveEntry]:
    """Return the entries of an archive without labels that none of its runs refers to."""
    entries = list(entries)
    used = {
        digest
        for entry in entries
        if entry.per_image is not None
        for digest in entry.per_image.get("labels", {}).values()
    }
    return [entry for entry in entries if entry.kind != LABELS_KIND or entry.digest in used]


def archive_size(entries: Iterable[ArchiveEntry]) -> int:
    """Return the size in bytes of an archive of these entries."""
    text = _encode_entries(entries)
    return len(_compress(text)) if text else 0


@functools.lru_cache(maxsize=2)
def _read_archive_version(path: Path, *_version: int) -> ArchiveEntries:
    """Read one version of an archive; the file is replaced, never modified."""
    entries: ArchiveEntries = {}
    for number, line in enumerate(_decompress(path).splitlines(), 1):
        entry = _decode_entry(line)
        if entry is None or (entry.kind, entry.name) in entries:
            raise _damaged_archive_error(path, f"line {number} is altered or there twice")
        entries[entry.kind, entry.name] = entry
    count = entries.pop((COUNT_KIND, COUNT_KIND), None)
    if count is not None and count.digest != str(len(entries)):
        reason = f"it held {count.digest} records and such when it was written, now {len(entries)}"
        raise _damaged_archive_error(path, reason)
    if not entries:
        raise _damaged_archive_error(path, "it is empty")
    return entries


def _decompress(path: Path) -> bytes:
    data = read_existing(path)
    try:
        return gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as error:
        raise _damaged_archive_error(path, str(error)) from None


def _damaged_archive_error(path: Path, reason: str) -> StoreError:
    return StoreError(
        f"{path} is damaged or not an archive ({reason}): restore it (git, a backup), or remove "
        "it; the runs that it alone knows are then to do again"
    )


def _decode_entry(line: bytes) -> ArchiveEntry | None:
    """Return the entry of a line, or None if its checksum or its form is wrong."""
    body, _, seal = line.rpartition(ARCHIVE_SEAL)
    if seal != hashlib.sha256(body).hexdigest().encode() + b'"}':
        return None
    try:
        entry = ArchiveEntry(**json.loads(body + b"}"))
    except (ValueError, TypeError, RecursionError):
        return None
    if entry.kind == LABELS_KIND:
        return entry if is_object(entry.labels) else None
    if entry.kind == COUNT_KIND:
        return entry if entry.name == COUNT_KIND else None
    if entry.kind not in RECORD_KINDS or (
        entry.record is not None and any(find_schema_errors(entry.record))
    ):
        return None
    if entry.per_image is not None and not is_object(entry.per_image.get("labels")):
        return None
    return entry


def _encode_entries(entries: Iterable[ArchiveEntry]) -> bytes:
    """Return the lines of an archive, with one that counts the others; empty without entries."""
    lines = list(map(_encode_entry, entries))
    if lines:
        lines.append(_encode_entry(ArchiveEntry(COUNT_KIND, COUNT_KIND, str(len(lines)))))
    return b"".join(sorted(lines))


def _encode_entry(entry: ArchiveEntry) -> bytes:
    fields = {key: value for key, value in vars(entry).items() if value is not None}
    body = json.dumps(fields, separators=(",", ":")).removesuffix("}").encode()
    return body + ARCHIVE_SEAL + hashlib.sha256(body).hexdigest().encode() + b'"}\n'


def _compress(text: bytes) -> bytes:
    """Return the text compressed by gzip, without a time or a name in the header."""
    buffer = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", compresslevel=9, fileobj=buffer, mtime=0) as file:
        file.write(text)
    return buffer.getvalue()


EvalPoint = Literal["last", "best"]
EVAL_POINTS: tuple[EvalPoint, ...] = get_args(EvalPoint)


def other_eval_point(eval_point: EvalPoint) -> EvalPoint:
    """Return the evaluation point that is not this one."""
    return "best" if eval_point == "last" else "last"


def get_eval_epoch(record: dict[str, Any], eval_point: EvalPoint) -> int | None:
    """Return the epoch of an evaluation point of a finished run; None if it has none."""
    metrics: dict[str, Any] = record.get(eval_point) or {}
    return metrics.get("epoch")


def is_best_last(record: dict[str, Any] | None) -> bool:
    """Return whether the best epoch of a run is its last one, so both points are equal."""
    if record is None:
        return False
    best_epoch = get_eval_epoch(record, "best")
    return best_epoch is not None and best_epoch == get_eval_epoch(record, "last")


def find_weights_path(folder: Path, record: dict[str, Any], eval_point: EvalPoint) -> Path | None:
    """Return the file of weights at an evaluation point, if the record lists it."""
    return _find_listed_path(
        folder, record, eval_point, run_folder.weights_path, run_folder.best_weights_path
    )


def find_outputs_path(folder: Path, record: dict[str, Any], eval_point: EvalPoint) -> Path | None:
    """Return the file of logits and labels at an evaluation point, if the record lists it."""
    return _find_listed_path(
        folder, record, eval_point, run_folder.outputs_path, run_folder.best_outputs_path
    )


def _find_listed_path(
    folder: Path,
    record: dict[str, Any],
    eval_point: EvalPoint,
    last_path: Callable[[Path], Path],
    best_path: Callable[[Path], Path],
) -> Path | None:
    if get_eval_epoch(record, eval_point) is None:
        return None
    path = (last_path if eval_point == "last" or is_best_last(record) else best_path)(folder)
    return path if find_file_info(record, folder, path) else None
