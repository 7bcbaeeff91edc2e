"""The archive: the records of a study in one file, which its report is rendered from.

`records.jsonl.gz` has a line for each run, ensemble, probe and gauge: its record; the curve of a
run; the wrong test images of a run or ensemble, as bits, and what a run takes them for, in place of
its outputs, at its last epoch and at its best one on validation where that is another; the reason
of a failure.
No weights, so nothing can be trained on. The same results give the same bytes: lines are sorted,
and gzip's header has neither a time nor a name. Each line is sealed with its SHA-256.
"""

import functools
import gzip
import hashlib
import io
import json
import os
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from kdpipe.errors import StoreError
from kdpipe.results import form
from kdpipe.results.files import write_bytes

FILE = "records.jsonl.gz"
SEAL = b',"sha256":"'
KINDS = ("runs", "ensembles", "probes", "gauges")  # as the folders of results are called


@dataclass(frozen=True)
class Entry:
    """One line. `wrong` is {"images": count, "wrong": bits in hexadecimal}.

    `missed` says of the wrong images, in their order, {"labels", "predicted"}, and before them the
    "sizes" of all classes of the test set; earlier archives have none.
    """

    kind: str
    name: str
    digest: str
    record: dict | None = None
    curve: list[dict] | None = None
    wrong: dict | None = None
    failure: str | None = None
    wrong_at_best: dict | None = None
    missed: dict | None = None
    missed_at_best: dict | None = None


Entries = dict[tuple[str, str], Entry]  # by kind and name


def read(path: Path) -> Entries:
    """The entries of an archive; none if there is no file. Raises StoreError if it is damaged."""
    try:
        stat = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    return _read(path, stat.st_ino, stat.st_mtime_ns, stat.st_size)


def write(path: Path, entries: Iterable[Entry]) -> None:
    """Write an archive; of no entries there is none. Raises StoreError if it cannot be written.

    One that holds the same already is left as it is, whichever zlib has packed it.
    """
    text = _text(entries)
    if not text:
        path.unlink(missing_ok=True)
        return
    try:
        if _unpacked(path) == text:
            return
    except (FileNotFoundError, StoreError):
        pass
    write_bytes(path, _packed(text))


def size(entries: Iterable[Entry]) -> int:
    """The bytes that an archive of them takes."""
    text = _text(entries)
    return len(_packed(text)) if text else 0


def _text(entries: Iterable[Entry]) -> bytes:
    return b"".join(sorted(map(_line, entries)))


def _packed(text: bytes) -> bytes:
    """Compressed, without a time or a name in the header."""
    buffer = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", compresslevel=9, fileobj=buffer, mtime=0) as file:
        file.write(text)
    return buffer.getvalue()


@functools.lru_cache(maxsize=2)
def _read(path: Path, *_version: int) -> Entries:
    """Read once for each version of the file, which is replaced and never written into."""
    entries: Entries = {}
    for number, line in enumerate(_unpacked(path).splitlines(), 1):
        entry = _entry(line)
        if entry is None or (entry.kind, entry.name) in entries:
            raise _damaged(path, f"line {number} is altered or there twice")
        entries[entry.kind, entry.name] = entry
    if not entries:
        raise _damaged(path, "it is empty")
    return entries


def _unpacked(path: Path) -> bytes:
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise
    except OSError as error:
        raise StoreError(f"{path} cannot be read: {error.strerror}") from None
    try:
        return gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as error:
        raise _damaged(path, str(error)) from None


def _damaged(path: Path, why: str) -> StoreError:
    return StoreError(
        f"{path} is damaged or no archive ({why}): restore it (git, a backup), or remove it; the "
        "runs that it alone knows are then to do again"
    )


def _line(entry: Entry) -> bytes:
    said = {key: value for key, value in vars(entry).items() if value is not None}
    body = json.dumps(said, separators=(",", ":")).removesuffix("}").encode()
    return body + SEAL + hashlib.sha256(body).hexdigest().encode() + b'"}\n'


def _entry(line: bytes) -> Entry | None:
    """The entry of a line, or None if that is not sealed as it should be."""
    body, _, seal = line.rpartition(SEAL)
    if seal != hashlib.sha256(body).hexdigest().encode() + b'"}':
        return None
    try:
        entry = Entry(**json.loads(body + b"}"))
    except (ValueError, TypeError, RecursionError):
        return None
    if entry.kind not in KINDS or (entry.record is not None and any(form.faults(entry.record))):
        return None
    return entry
