"""The results folder: where every file of a run lies, and how it is written and trusted.

Files are written beside their place, synced and renamed, so a reader sees the old file or the
new one and never half of one. Arrays are safetensors whose header carries the SHA-256 of their
content: a flipped bit is found before the array is used. Nothing is ever unpickled.
"""

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from kdpipe.errors import StoreError

RECORD = "record.json"
# The record under a name that Snakemake does not know: it deletes a declared output before it
# starts a job again, and a finished run must not be lost to a request for one more checkpoint.
KEPT_RECORD = ".record.json"
# The last key of a record is the SHA-256 of the text before it.
_SEAL = b',\n "sha256": "'


@dataclass(frozen=True)
class Store:
    """Paths below one results folder."""

    root: Path = Path("results")

    def run(self, name: str) -> Path:
        return self.root / "runs" / name

    def ensemble(self, name: str) -> Path:
        return self.root / "ensembles" / name

    def probe(self, name: str) -> Path:
        return self.root / "probes" / name

    def table(self, name: str) -> Path:
        return self.root / "tables" / name

    def data(self, name: str) -> Path:
        return self.root / "data" / name

    def find_run(self, digest: str) -> Path:
        """The folder of the run with this digest. Raises StoreError if there is none."""
        for folder in (self.root / "runs").glob(f"*-{digest[:12]}"):
            return folder
        raise StoreError(
            f"{self.root}/runs holds no run with digest {digest[:12]}: a parent is missing; "
            "run the study again, or restore the folder"
        )

    def records(self, kind: str) -> dict[str, dict]:
        """Every record of a kind ("runs", "ensembles", "probes") by name, in one scan."""
        folder = self.root / kind
        found = {}
        if folder.is_dir():
            for entry in os.scandir(folder):
                path = os.path.join(entry.path, RECORD)
                try:
                    with open(path, "rb") as file:
                        found[entry.name] = _parse_record(file.read(), path)
                except (FileNotFoundError, NotADirectoryError):
                    continue
                except OSError as error:
                    raise StoreError(f"{path} cannot be read: {error.strerror}") from None
        return found


def read_record(folder: Path, digest: str | None, filename: str = RECORD) -> dict | None:
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
    return read_record(folder, digest, KEPT_RECORD) or read_record(folder, digest)


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file so that it is there whole or not at all. Raises StoreError if it cannot be."""
    path = Path(path)
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(
            dir=path.parent, prefix=f".{path.name}.", suffix=".tmp", delete=False
        ) as file:
            temporary = file.name
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    except BaseException as error:
        if temporary:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
        if not isinstance(error, OSError):
            raise
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StoreError(
                f"no space left to write {path} ({len(data):,} bytes needed): free some space and "
                "start again; everything finished so far is whole"
            ) from None
        raise StoreError(f"{path} cannot be written: {error.strerror}") from None


def write_json(path: Path, value: object) -> None:
    write_bytes(path, (json.dumps(value, indent=1, allow_nan=False) + "\n").encode())


def write_npy(path: Path, array) -> None:
    """One numpy array as a .npy file, which can be memory-mapped."""
    import io

    import numpy as np

    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    write_bytes(path, buffer.getvalue())


def write_arrays(path: Path, arrays: dict, about: dict) -> None:
    """Write named numpy arrays as safetensors; `about` is JSON kept in the header.

    The same arrays give the same bytes: the header has one metadata key, since safetensors does
    not fix the order of several.
    """
    import numpy as np
    from safetensors.numpy import save

    # Of an array in another memory order safetensors would write the bytes as they lie.
    arrays = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    header = {"about": about, "sha256": _content_digest(arrays, about)}
    write_bytes(path, save(arrays, metadata={"kdpipe": json.dumps(header, sort_keys=True)}))


def read_arrays(path: Path) -> tuple[dict, dict]:
    """(arrays, about) of a file written by `write_arrays`, content verified.

    Raises StoreError if the file is missing, truncated, altered, or not one of kdpipe's.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            header = json.loads((file.metadata() or {})["kdpipe"])
            arrays = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        if _content_digest(arrays, header["about"]) != header["sha256"]:
            raise ValueError("its content does not match its checksum")
        return arrays, header["about"]
    except FileNotFoundError:
        raise StoreError(f"{path} is missing: {_cure(path)}") from None
    except (SafetensorError, ValueError, LookupError, TypeError, AttributeError, OSError) as error:
        raise StoreError(f"{path} is damaged or not kdpipe's ({error}): {_cure(path)}") from None


def file_facts(path: Path) -> dict:
    """What a record says of a file: its size and SHA-256."""
    with open(path, "rb") as file:
        return {
            "bytes": os.fstat(file.fileno()).st_size,
            "sha256": hashlib.file_digest(file, "sha256").hexdigest(),
        }


def publish(folder: Path, record: dict) -> None:
    """Write a run's record, last of all its files, under both of its names."""
    body = json.dumps(record, indent=1, allow_nan=False).removesuffix("\n}").encode()
    sealed = body + _SEAL + hashlib.sha256(body).hexdigest().encode() + b'"\n}\n'
    write_bytes(folder / KEPT_RECORD, sealed)
    write_bytes(folder / RECORD, sealed)


@contextlib.contextmanager
def only_one(folder: Path) -> Iterator[None]:
    """Hold the folder's lock; wait while another process holds it. It dies with its process."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / ".lock", "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"{folder}: another process works on it; waiting for it to end", flush=True)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


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


def _content_digest(arrays: dict, about: object) -> str:
    total = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
    for name in sorted(arrays):
        array = arrays[name]
        total.update(json.dumps([name, str(array.dtype), list(array.shape)]).encode())
        total.update(array.tobytes())
    return total.hexdigest()


def _cure(path: Path) -> str:
    return f"remove the folder {Path(path).parent}, what it held is then made again"


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
