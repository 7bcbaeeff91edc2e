"""TODO results.records, from store."""

"""TODO results.records, from progress."""
"""TODO results.records, from jobs."""
"""TODO results.records, from watch."""

import hashlib
import json
import os
from pathlib import Path

from kdpipe.errors import StoreError
from kdpipe.results.files import write_bytes

RECORD = "record.json"
# The record under a name that Snakemake does not know: it deletes a declared output before it
# starts a job again, and a finished run must not be lost to a request for one more checkpoint.
KEPT_RECORD = ".record.json"
# The last key of a record is the SHA-256 of the text before it.
_SEAL = b',\n "sha256": "'


def read(folder: Path, digest: str | None, filename: str = RECORD) -> dict | None:
    """The record in a folder, or None. Raises StoreError if it is damaged or another run's.

    With `digest` None any run's will do.
    """
    path = folder / filename
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StoreError(f"{path} cannot be read: {error.strerror}") from None
    record = _parse_record(data, path)
    if digest is not None and record["digest"] != digest:
        raise StoreError(
            f"{path} is the record of another run (digest {record['digest'][:12]}, expected "
            f"{digest[:12]}): remove the folder {folder}, the run is then made again"
        )
    return record


def finished(folder: Path, digest: str) -> dict | None:
    """The record of a finished run, under whichever of its names is there; None if unfinished."""
    return read(folder, digest, KEPT_RECORD) or read(folder, digest)


def publish(folder: Path, record: dict) -> None:
    """Write a run's record, last of all its files, under both of its names."""
    body = json.dumps(record, indent=1, allow_nan=False).removesuffix("\n}").encode()
    sealed = body + _SEAL + hashlib.sha256(body).hexdigest().encode() + b'"\n}\n'
    write_bytes(folder / KEPT_RECORD, sealed)
    write_bytes(folder / RECORD, sealed)


def _parse_record(data: bytes, path) -> dict:
    try:
        body, _, seal = data.rpartition(_SEAL)
        if hashlib.sha256(body).hexdigest() != seal[:64].decode():
            raise ValueError("altered")
        record = json.loads(body + b"\n}")
        if {"digest", "status"} <= record.keys():
            return record
        raise ValueError("not a record")
    except (ValueError, AttributeError):
        raise StoreError(
            f"{path} is not a record (empty, cut off or altered): remove its folder "
            f"{os.path.dirname(path)}, the run is then made again"
        ) from None


STATE = ".state.safetensors"


FAILURE = "failure.json"


STATE = ".state.safetensors"


def failure_of(folder: Path) -> str | None:
    try:
        return json.loads((folder / FAILURE).read_bytes())["reason"]
    except (OSError, ValueError, KeyError):
        return None
