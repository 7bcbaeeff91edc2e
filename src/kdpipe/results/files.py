"""How a file is written and trusted.

Files are written beside their place, synced and renamed, so a reader sees the old file or the
new one and never half of one. Arrays are safetensors whose header carries the SHA-256 of their
content: a flipped bit is found before the array is used. Nothing is ever unpickled.
"""

import contextlib
import errno
import fcntl
import glob
import hashlib
import io
import json
import os
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

from kdpipe.errors import StoreError

# What comes of reading a file that is damaged, or made to do damage.
DAMAGED = (OSError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError)
DAMAGED += (RecursionError, MemoryError)
UNLIKE = "it is not what the record of its run says"


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file so that it is there whole or not at all. Raises StoreError if it cannot be."""
    _write({Path(path): data})


def exchange(files: dict[Path, bytes], last: Path, gone: Iterable[Path] = ()) -> None:
    """Write files of which `last` vouches for all: it is away while they are exchanged.

    gone: files of before that go with it. Where the disk is full, or the process is killed while it
    writes, all stay as they were. Raises StoreError if one cannot be written.
    """

    def begin() -> None:
        for path in (last, *gone):
            path.unlink(missing_ok=True)

    vouching = files[last]
    _write({path: data for path, data in files.items() if path != last} | {last: vouching}, begin)


def _write(files: dict[Path, bytes], begin: Callable[[], None] = lambda: None) -> None:
    """All are on the disk before `begin` is called and one of them gets its name."""
    path, beside = Path(), {}
    with contextlib.ExitStack() as held:
        try:
            for path, data in files.items():
                path.parent.mkdir(parents=True, exist_ok=True)
                file = held.enter_context(_beside(path))
                beside[path] = file.name
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
                os.chmod(file.name, 0o666 & ~_umask())
            begin()
            for path, temporary in beside.items():
                os.replace(temporary, path)
        except BaseException as error:
            for temporary in beside.values():
                with contextlib.suppress(OSError):
                    os.unlink(temporary)
            if not isinstance(error, OSError):
                raise
            raise _refused(path, len(files[path]), error) from None
    for path in files:
        for left in temporary_files(path.parent, path.name):
            left.unlink(missing_ok=True)


def _refused(path: Path, size: int, error: OSError) -> StoreError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StoreError(
            f"no space left to write {path} ({size:,} bytes needed): free some space and start "
            "again; everything finished so far is whole"
        )
    return StoreError(f"{path} cannot be written: {error.strerror}")


def _beside(path: Path):
    """A new temporary file for what is to be in a path, open and held."""
    while True:
        file = tempfile.NamedTemporaryFile(  # noqa: SIM115
            dir=path.parent, prefix=f".{path.name}.", suffix=".tmp", delete=False
        )
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(file, fcntl.LOCK_EX)
        if os.fstat(file.fileno()).st_nlink:
            return file
        file.close()  # taken for one that was left, before it was held


def temporary_files(folder: Path, name: str = "", below: bool = False) -> list[Path]:
    """Files that a process was killed over before it could give them their names.

    name: those that were to have that name; below: those in folders of the folder too. One that a
    process still writes is held by it, and is none of them.
    """
    pattern = f".{glob.escape(name)}.*.tmp" if name else ".*.tmp"
    found = folder.rglob(pattern) if below else folder.glob(pattern)
    return [path for path in sorted(found) if path.is_file() and not _is_held(path)]


def _is_held(path: Path) -> bool:
    try:
        with open(path, "r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    return False


def write_json(path: Path, value: object) -> None:
    write_bytes(path, (json.dumps(value, indent=1, allow_nan=False) + "\n").encode())


def write_npy(path: Path, array) -> None:
    """One numpy array as a .npy file, which can be memory-mapped."""
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


def read_arrays(path: Path, facts: dict | None = None) -> tuple[dict, dict]:
    """(arrays, about) of a file written by `write_arrays`, content verified.

    facts: what a record says of it (`file_facts`). Raises StoreError if the file is missing,
    truncated, altered, or not one of kdpipe's.
    """
    from safetensors import SafetensorError, safe_open

    try:
        if facts is not None and file_facts(path) != facts:
            raise ValueError(UNLIKE)
        with safe_open(path, framework="numpy") as file:
            header = json.loads((file.metadata() or {})["kdpipe"])
            arrays = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        if facts is None and _content_digest(arrays, header["about"]) != header["sha256"]:
            raise ValueError("its content does not match its checksum")
        return arrays, header["about"]
    except FileNotFoundError:
        raise StoreError(f"{path} is missing: {_cure(path)}") from None
    except (*DAMAGED, SafetensorError) as error:
        raise StoreError(f"{path} is damaged or not kdpipe's ({error}): {_cure(path)}") from None


def about_in(path: Path) -> dict:
    """What `write_arrays` was given to say, from the header alone: the arrays may be large.

    Nothing is verified: of a file that is damaged, or another's, it raises one of DAMAGED.
    """
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(min(length, os.fstat(file.fileno()).st_size)))
    return json.loads(header["__metadata__"]["kdpipe"])["about"]


def read_bytes(path: Path, facts: dict) -> bytes:
    """The bytes of a file of which a record says something. Raises StoreError if they are others.

    A file that is not there is FileNotFoundError.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise
    except OSError as error:
        raise StoreError(f"{path} cannot be read: {error.strerror}") from None
    if {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()} != facts:
        raise StoreError(f"{path} is damaged ({UNLIKE}): {_cure(path)}")
    return data


def file_facts(path: Path) -> dict:
    """What a record says of a file: its size and SHA-256."""
    with open(path, "rb") as file:
        return {
            "bytes": os.fstat(file.fileno()).st_size,
            "sha256": hashlib.file_digest(file, "sha256").hexdigest(),
        }


def _content_digest(arrays: dict, about: object) -> str:
    total = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
    for name in sorted(arrays):
        array = arrays[name]
        total.update(json.dumps([name, str(array.dtype), list(array.shape)]).encode())
        total.update(array.tobytes())
    return total.hexdigest()


def _cure(path: Path) -> str:
    return (
        f"restore it from a backup, or remove the folder {Path(path).parent}: what it held is then "
        "made again"
    )


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
