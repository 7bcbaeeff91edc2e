"""The results folder: where every file of a run lies, and how it is written and trusted.

Files are written beside their place, synced and renamed, so a reader sees the old file or the
new one and never half of one. Arrays are safetensors whose header carries the SHA-256 of their
content: a flipped bit is found before the array is used. Nothing is ever unpickled.
"""

"""TODO results.store, from watch."""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from kdpipe.errors import StoreError
from kdpipe.results.records import RECORD, _parse_record


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


def is_running(folder: Path) -> bool:
    """Whether a process holds the lock of a run."""
    try:
        with open(folder / ".lock", "rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # no such folder, no lock in it
        return False
    return False
