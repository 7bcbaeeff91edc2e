"""An export's folder: written beside its place and renamed, so that it is there whole or not.

What a process was killed over lies beside it under a name with a dot, and goes with the next
export to that place.
"""

import contextlib
import fcntl
import json
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

from kdpipe.errors import KdpipeError, StoreError
from kdpipe.results.files import write_bytes


def refuse_taken(target: Path) -> None:
    """Raise KdpipeError where something is in the place of an export already."""
    if target.exists() or target.is_symlink():
        raise KdpipeError(
            f"{target} is there already: remove it, or export to another folder with --to"
        )


def as_json(value: dict) -> bytes:
    """A mapping as a file of the folder has it."""
    return (json.dumps(value, indent=1, allow_nan=False, ensure_ascii=False) + "\n").encode()


def write(target: Path, files: Mapping[str, bytes]) -> None:
    """Write a new folder with these files. Raises KdpipeError if it is there, or cannot be."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        for left in _left(target):
            shutil.rmtree(left, ignore_errors=True)
        with _beside(target) as new:
            for name, content in files.items():
                write_bytes(new / name, content)
            refuse_taken(target)
            os.rename(new, target)
            _sync(target.parent)
    except OSError as error:
        raise StoreError(f"{target} cannot be written: {error.strerror}") from None


@contextlib.contextmanager
def _beside(target: Path) -> Iterator[Path]:
    """A new folder beside a place, held while it is worked in; gone if it was not renamed."""
    new = target.parent / f".{target.name}.{secrets.token_hex(4)}.tmp"
    new.mkdir()
    held = os.open(new, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(held, fcntl.LOCK_EX)
        yield new
    finally:
        os.close(held)
        shutil.rmtree(new, ignore_errors=True)


def _left(target: Path) -> Iterator[Path]:
    """Folders beside a place that no process works in any more."""
    for path in target.parent.iterdir():
        if path.name.startswith(f".{target.name}.") and path.suffix == ".tmp" and path.is_dir():
            held = os.open(path, os.O_RDONLY)
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                continue
            else:
                yield path
            finally:
                os.close(held)


def _sync(folder: Path) -> None:
    held = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(held)
    finally:
        os.close(held)
