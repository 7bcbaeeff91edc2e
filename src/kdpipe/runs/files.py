"""How files are written, and verified when they are read.

A file is written under a temporary name next to its own, synced and renamed, so a reader sees the
old file or the new one and never a part of one. Arrays are safetensors whose header has the SHA-256
of their content: a flipped bit is detected before an array is used. Nothing is ever unpickled.
"""

import contextlib
import errno
import fcntl
import glob
import hashlib
import io
import json
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal, Protocol, TypedDict, cast

from kdpipe.errors import NotRegularFileError, StoreError

if TYPE_CHECKING:
    import numpy as np

Arrays = dict[str, "np.ndarray"]


class FileInfo(TypedDict):
    """Size and checksum of a file, as a record lists them."""

    bytes: int
    sha256: str


class _ArrayFile(Protocol):
    """An open file of safetensors, for which that package has no types."""

    def metadata(self) -> dict[str, str] | None: ...
    def keys(self) -> list[str]: ...
    def get_tensor(self, name: str) -> "np.ndarray": ...


# What reading a damaged or malicious file may raise.
READ_ERRORS = (
    OSError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    ArithmeticError,
    RecursionError,
    MemoryError,
)
MISMATCH_TEXT = "it is not what the record of its run says"


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file atomically; raise StoreError if it cannot be written."""
    _write_all({Path(path): data})


def atomic_replace_all(
    files: dict[Path, bytes], manifest: Path, stale: Iterable[Path] = ()
) -> None:
    """Replace several files, of which one is the manifest that vouches for the others.

    The manifest is absent while the files are exchanged. If the disk is full or the process is
    killed while it writes, or a folder is in the place of a file, all files stay as they were.

    Parameters
    ----------
    files : dict
        The content by path.
    manifest : Path
        The key in `files` of the manifest.
    stale : iterable of Path
        Earlier files that are removed with the old manifest.

    Raises
    ------
    StoreError
        If a file cannot be written.
    """

    def remove_old() -> None:
        for path in (manifest, *stale):
            path.unlink(missing_ok=True)

    manifest_data = files[manifest]
    _write_all(
        {path: data for path, data in files.items() if path != manifest}
        | {manifest: manifest_data},
        remove_old,
    )


def _write_all(files: dict[Path, bytes], before_rename: Callable[[], None] = lambda: None) -> None:
    """Write all files under temporary names, call `before_rename`, then rename them."""
    path = Path()
    temporaries: dict[Path, str] = {}
    with contextlib.ExitStack() as stack:
        try:
            for path, data in files.items():
                path.parent.mkdir(parents=True, exist_ok=True)
                if path.is_dir():  # else it would be found after the old files are removed
                    raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
                file = stack.enter_context(_open_temporary(path))
                temporaries[path] = file.name
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
                os.chmod(file.name, 0o666 & ~_get_umask())
            before_rename()
            for path, temporary in temporaries.items():
                os.replace(temporary, path)
        except BaseException as error:
            for temporary in temporaries.values():
                with contextlib.suppress(OSError):
                    os.unlink(temporary)
            if not isinstance(error, OSError):
                raise
            raise _write_error(path, len(files[path]), error) from None
    for path in files:
        for leftover in find_temporary_files(path.parent, path.name):
            leftover.unlink(missing_ok=True)


def _write_error(path: Path, size: int, error: OSError) -> StoreError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StoreError(
            f"no space left to write {path} ({size:,} bytes needed): free some space and start "
            "again; everything finished so far is whole"
        )
    return StoreError(f"{path} cannot be written: {error.strerror}")


def _open_temporary(path: Path) -> IO[bytes]:
    """Return a new temporary file for a path, open and locked."""
    while True:
        file = tempfile.NamedTemporaryFile(  # noqa: SIM115
            dir=path.parent, prefix=f".{path.name}.", suffix=".tmp", delete=False
        )
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(file, fcntl.LOCK_EX)
        if os.fstat(file.fileno()).st_nlink:
            return file
        file.close()  # removed as a leftover before it was locked


def find_temporary_files(folder: Path, name: str = "", below: bool = False) -> list[Path]:
    """Return the temporary files that killed processes left in a folder.

    A file that a process still writes is locked by it, and is not returned.

    Parameters
    ----------
    folder : Path
        The folder.
    name : str
        If given, only the temporary files for a file of this name.
    below : bool
        Whether subfolders are searched too.
    """
    pattern = f".{glob.escape(name)}.*.tmp" if name else ".*.tmp"
    matches = folder.rglob(pattern) if below else folder.glob(pattern)
    return [path for path in sorted(matches) if path.is_file() and not _is_locked(path)]


def _is_locked(path: Path) -> bool:
    try:
        with open(path, "r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    return False


def place_file(source: Path, target: Path) -> None:
    """Put a file into another place too: as a hard link or, where that is impossible, as a copy.

    The target is replaced atomically. No file of results is ever changed in place, so a link does
    as well as a copy.

    Raises
    ------
    StoreError
        If it cannot be written.
    """
    if target.exists() and source.samefile(target):
        return
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary.unlink(missing_ok=True)
        try:
            os.link(source, temporary)
        except OSError:  # another file system, or one without links
            with open_regular_file(source) as original, open(temporary, "wb") as copy:
                shutil.copyfileobj(original, copy, 1 << 20)
                copy.flush()
                os.fsync(copy.fileno())
        os.replace(temporary, target)
    except BaseException as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        if not isinstance(error, OSError):
            raise
        raise _write_error(target, source.stat().st_size, error) from None


def write_json(path: Path, value: object) -> None:
    """Write a value as an indented JSON file, atomically."""
    write_bytes(path, (json.dumps(value, indent=1, allow_nan=False) + "\n").encode())


def write_npy(path: Path, array: "np.ndarray") -> None:
    """Write a numpy array as a .npy file, which can be memory-mapped."""
    import numpy as np

    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    write_bytes(path, buffer.getvalue())


def write_arrays(path: Path, arrays: Arrays, metadata: dict[str, Any]) -> None:
    """Write named numpy arrays as safetensors, with `metadata` as JSON in the header.

    The header also has the SHA-256 of the content. Equal arrays give equal bytes: the header has
    one metadata key, since safetensors does not fix the order of several.
    """
    import numpy as np
    from safetensors.numpy import save

    # Safetensors would write an array in another memory order as it lies in memory.
    arrays = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    header = {"about": metadata, "sha256": _compute_content_digest(arrays, metadata)}
    write_bytes(path, save(arrays, metadata={"kdpipe": json.dumps(header, sort_keys=True)}))


def read_arrays(path: Path, file_info: FileInfo | None = None) -> tuple[Arrays, dict[str, Any]]:
    """Return the verified arrays and the metadata of a file written by `write_arrays`.

    Parameters
    ----------
    path : Path
        The file.
    file_info : dict or None
        Its size and SHA-256 from a record (`compute_file_info`); None: the checksum in its header
        is verified.

    Returns
    -------
    arrays : dict
        Numpy arrays by name.
    metadata : dict
        As it was passed to `write_arrays`.

    Raises
    ------
    StoreError
        If the file is missing, truncated, altered, or not one of kdpipe's.
    """
    from safetensors import SafetensorError, safe_open

    try:
        if file_info is not None and compute_file_info(path) != file_info:
            raise ValueError(MISMATCH_TEXT)
        open_regular_file(path).close()
        opened = cast("AbstractContextManager[_ArrayFile]", safe_open(path, framework="numpy"))
        with opened as file:
            header = json.loads((file.metadata() or {})["kdpipe"])
            arrays = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        if (
            file_info is None
            and _compute_content_digest(arrays, header["about"]) != header["sha256"]
        ):
            raise ValueError("its content does not match its checksum")
        return arrays, header["about"]
    except FileNotFoundError:
        raise StoreError(f"{path} is missing: {_repair_hint(path)}") from None
    except (*READ_ERRORS, SafetensorError) as error:
        raise StoreError(
            f"{path} is damaged or not kdpipe's ({error}): {_repair_hint(path)}"
        ) from None


def read_header(path: Path) -> dict[str, Any]:
    """Return the metadata of a file written by `write_arrays` without reading its arrays.

    Nothing is verified: a file that is damaged or not kdpipe's raises one of `READ_ERRORS`.
    """
    with open_regular_file(path) as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(min(length, os.fstat(file.fileno()).st_size)))
    return json.loads(header["__metadata__"]["kdpipe"])["about"]


def read_existing(path: Path) -> bytes:
    """Return the content of a file.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    StoreError
        If it cannot be read.
    """
    try:
        return read_regular_file(path)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise StoreError(f"{path} cannot be read: {error.strerror}") from None


def open_regular_file(path: str | os.PathLike[str]) -> io.BufferedReader:
    """Open a regular file for reading.

    A FIFO is not waited for and a device not read, also if the file is replaced by one meanwhile.

    Raises
    ------
    OSError
        If it cannot be opened, or is not a regular file.
    """
    return os.fdopen(_open_regular(path, os.O_RDONLY), "rb")


def open_lock_file(path: Path) -> io.FileIO:
    """Open the file of a lock, which is created if there is none.

    Raises
    ------
    OSError
        If it cannot be opened, or is not a regular file.
    """
    return io.FileIO(_open_regular(path, os.O_WRONLY | os.O_CREAT), "w")


def _open_regular(path: str | os.PathLike[str], flags: int) -> int:
    error = NotRegularFileError(errno.EINVAL, "it is not a regular file", os.fspath(path))
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise error
    descriptor = os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC, 0o666)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise error
    return descriptor


def hash_regular_file(path: str | os.PathLike[str]) -> str:
    """Return the SHA-256 of a regular file; raise OSError if it cannot be read."""
    with open_regular_file(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_regular_file(path: Path, max_bytes: int | None = None) -> bytes:
    """Return the content of a regular file.

    Raises
    ------
    OSError
        If it cannot be read, is not a regular file, or has more than `max_bytes` (None: any size).
    """
    with open_regular_file(path) as file:
        if max_bytes is None:
            return file.read()
        size = os.fstat(file.fileno()).st_size
        content = file.read(size + 1) if size <= max_bytes else b""
    if max(size, len(content)) > max_bytes:
        raise OSError(errno.EFBIG, f"it has more than {max_bytes:,} bytes", str(path))
    return content


def map_npy(path: Path, mode: Literal["r", "c"] = "r") -> "np.ndarray":
    """Return the array of a .npy file, memory-mapped.

    NumPy evaluates a header as Python text, so a damaged file may raise any exception.

    Parameters
    ----------
    path : Path
        The file.
    mode : {"r", "c"}
        Read-only, or with changes that stay in memory.
    """
    import numpy as np

    open_regular_file(path).close()
    return np.load(path, mmap_mode=mode, allow_pickle=False)


def read_bytes(path: Path, file_info: FileInfo) -> bytes:
    """Return the content of a file after comparing it with its size and SHA-256 from a record.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    StoreError
        If it differs, or cannot be read.
    """
    data = read_existing(path)
    if {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()} != file_info:
        raise StoreError(f"{path} is damaged ({MISMATCH_TEXT}): {_repair_hint(path)}")
    return data


def compute_file_info(path: Path) -> FileInfo:
    """Return the size and SHA-256 of a file, as a record lists them."""
    with open_regular_file(path) as file:
        return {
            "bytes": os.fstat(file.fileno()).st_size,
            "sha256": hashlib.file_digest(file, "sha256").hexdigest(),
        }


def find_damaged_file(folder: Path, files: Mapping[str, FileInfo]) -> tuple[str, str] | None:
    """Return the first file that is not as its record says, and what is wrong; None if all are.

    Parameters
    ----------
    folder : Path
        The folder of a result. A link in it counts as missing, and so does a file elsewhere.
    files : mapping
        The size and checksum of each file by its name, from the record.
    """
    present = {
        path.relative_to(folder).as_posix(): path
        for path in folder.rglob("*")
        if path.is_file() and not path.is_symlink()
    }
    for name, info in files.items():
        if name not in present:
            return name, "missing"
        try:
            is_intact = compute_file_info(present[name]) == info
        except OSError as error:
            return name, f"cannot be read ({error.strerror})"
        if not is_intact:
            return name, "damaged, not what the record of its run says"
    return None


def _compute_content_digest(arrays: Arrays, metadata: object) -> str:
    total = hashlib.sha256(json.dumps(metadata, sort_keys=True).encode())
    for name in sorted(arrays):
        array = arrays[name]
        total.update(json.dumps([name, str(array.dtype), list(array.shape)]).encode())
        total.update(array.tobytes())
    return total.hexdigest()


def _repair_hint(path: Path) -> str:
    return (
        f"restore it from a backup, or remove the folder {Path(path).parent}: what it held is then "
        "made again"
    )


def _get_umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
