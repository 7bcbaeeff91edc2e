"""The results folder: where the files of every run lie, and what is known of it.

A run is known by its own folder, or by its line in an archive beside the folders
(`records.jsonl.gz`); where both are there, the folder speaks. An archive alone is a results folder
that a report can be rendered from.
"""

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from kdpipe.errors import Missing, StoreError
from kdpipe.results import archived, readings, records, run_folder
from kdpipe.results.files import read_bytes
from kdpipe.results.readings import Reading

# Of a folder of records as kdpipe 0.1 made it: the wrong test images of all runs in one file.
OUTCOMES = "outcomes.jsonl"


@dataclass(frozen=True)
class Store:
    """Paths below one results folder, and what is known of the runs in it."""

    root: Path = Path("results")
    # By kind and name, what is the matter with a file of it: it counts as damaged.
    altered: Mapping[str, Mapping[str, str]] = field(default_factory=dict, compare=False)

    def run(self, name: str) -> Path:
        return self.root / "runs" / name

    def ensemble(self, name: str) -> Path:
        return self.root / "ensembles" / name

    def probe(self, name: str) -> Path:
        return self.root / "probes" / name

    def gauge(self, name: str) -> Path:
        return self.root / "gauges" / name

    def table(self, name: str) -> Path:
        return self.root / "tables" / name

    def data(self, name: str) -> Path:
        return self.root / "data" / name

    @property
    def archive(self) -> Path:
        return self.root / archived.FILE

    def find_run(self, digest: str) -> Path:
        """The folder of the run with this digest: the one that has the name in its record.

        One that was moved aside (`old-<name>`) has another. Raises StoreError if there is none.
        """
        aside, unnamed = None, None
        for folder in sorted((self.root / "runs").glob(f"*-{digest[:12]}")):
            try:
                record = records.finished(folder, digest)
            except StoreError:  # said by whoever reads it
                record = None
            if record is None:
                unnamed = unnamed or folder
            elif records.is_at_home(record, folder.name):
                return folder
            else:
                aside = folder, record["name"]
        if unnamed is not None:
            return unnamed
        if aside is not None:
            raise Missing(
                f"{self.root}/runs holds the run with digest {digest[:12]} under another name, and "
                f"a parent is looked for under its own: rename {aside[0]} to {aside[1]}, or run "
                "the study again"
            )
        raise Missing(
            f"{self.root}/runs holds no run with digest {digest[:12]}: a parent is missing; "
            "run the study again, or restore the folder"
        )

    def archived(self) -> archived.Entries:
        """What the archive holds, by kind and name. Raises StoreError if it is damaged."""
        return archived.read(self.archive)

    def records(self, kind: str) -> dict[str, dict]:
        """Every record of a kind ("runs", "ensembles", "probes") by name, in one scan."""
        return self.scan(kind)[0]

    def scan(self, kind: str) -> tuple[dict[str, dict], dict[str, str]]:
        """The records of a kind by name; and by name what is the matter with those not to be used.

        A record that is damaged or gone is put back from its copy, if that is whole.
        """
        entries = self.archived()
        found: dict[str, dict] = {}
        damaged: dict[str, str] = {}
        for name, record in ((e.name, e.record) for e in entries.values() if e.kind == kind):
            if record is not None and (why := records.of_another(record, name)):
                damaged[name] = f"{self.archive}: {why}: restore it (git, a backup), or remove it"
            elif record is not None:
                found[name] = record
        folder, altered = self.root / kind, self.altered.get(kind, {})
        if not folder.is_dir():
            return found, damaged
        left_out = self.leaves_weights_out
        for there in os.scandir(folder):
            path, record, wrong = Path(there.path), None, ""
            try:
                record = records.kept(path)
            except StoreError as error:
                wrong = str(error)
            if record is None and not wrong:
                continue
            if record is not None:
                entry = entries.get((kind, there.name))
                wrong = records.unusable(record, path, left_out, entry)
                wrong = wrong or altered.get(there.name, "")
            if record is None or wrong:
                found.pop(there.name, None)
                damaged[there.name] = wrong
            else:
                found[there.name] = record
                damaged.pop(there.name, None)
        return found, damaged

    @property
    def leaves_weights_out(self) -> bool:
        """Whether these are records as kdpipe 0.1 kept them: without weights, on purpose."""
        return (self.root / OUTCOMES).exists()

    def has_record(self, kind: str, name: str) -> bool:
        entry = self.archived().get((kind, name))
        return self._lies(kind, name) or (entry is not None and entry.record is not None)

    def only_archived(self, kind: str) -> set[str]:
        """Names of what has a record in the archive and none in a folder, so no weights either."""
        known = [entry for entry in self.archived().values() if entry.record is not None]
        return {e.name for e in known if e.kind == kind and not self._lies(kind, e.name)}

    def _lies(self, kind: str, name: str) -> bool:
        folder = self.root / kind / name
        return any((folder / each).exists() for each in (run_folder.RECORD, run_folder.KEPT_RECORD))

    def curve(self, name: str) -> list[dict] | None:
        """What a run noted after each epoch; None if it is not there.

        Raises StoreError if it is not what the record of the run says.
        """
        folder = self.run(name)
        if name in self.altered.get("runs", {}):
            return None
        try:
            record = records.finished(folder, None)
        except StoreError:  # said of the record
            return None
        path = run_folder.curve(folder)
        facts = records.facts(record, folder, path) if record else None
        try:
            data = read_bytes(path, facts) if facts else b""
        except FileNotFoundError:
            data = b""
        if data:
            return [json.loads(line) for line in data.splitlines()]
        entry = self.archived().get(("runs", name))
        return entry.curve if entry else None

    def failure(self, kind: str, name: str) -> str | None:
        """Why the last try of a job ended in a fault, if it did."""
        path = run_folder.failure(self.root / kind / name)
        try:
            return str(json.loads(path.read_bytes())["reason"])
        except FileNotFoundError:
            pass
        except (OSError, ValueError, LookupError, TypeError, RecursionError):
            return f"the reason cannot be read: {path} is damaged"
        entry = self.archived().get((kind, name))
        return entry.failure if entry else None

    def wrong_images(self, reading: Reading = "last") -> dict[str, dict]:
        """By name {"digest", "images", "wrong", "missed"} of the runs and ensembles whose wrong
        test images are listed in that reading, as bits; `missed` is None where it is not kept.
        Raises StoreError if the file is damaged.
        """
        path = self.root / OUTCOMES
        found = {}
        for entry in self.archived().values():
            wrong, missed = entry.wrong, entry.missed
            if reading == "best" and not readings.is_last(entry.record):
                wrong, missed = entry.wrong_at_best, entry.missed_at_best
            if wrong is not None:
                found[entry.name] = {"digest": entry.digest, **wrong, "missed": missed}
        if reading == "best" or not path.exists():  # kdpipe 0.1 listed those of the last epoch
            return found
        try:
            listed = [json.loads(line) for line in path.read_bytes().splitlines()]
            return found | {line["name"]: _of_wrong_images(line) for line in listed}
        except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
            raise StoreError(
                f"{path} is damaged ({error}): restore it, or remove it; the report is then "
                "rendered without the intervals that rest on it"
            ) from None


def _of_wrong_images(line: dict) -> dict:
    """A line of outcomes.jsonl. Raises ValueError or TypeError if it cannot be."""
    digest, images, wrong = line["digest"], line["images"], line["wrong"]
    if type(digest) is not str or type(images) is not int:
        raise TypeError("digest is a text, images a number")
    if images < 0 or len(bytes.fromhex(wrong)) != (images + 7) // 8:
        raise ValueError(f"the bits of {line['name']} are not those of {images} images")
    return {"digest": digest, "images": images, "wrong": wrong, "missed": None}


@contextlib.contextmanager
def only_one(folder: Path) -> Iterator[None]:
    """Hold the folder's lock; wait while another process holds it. It dies with its process."""
    path = folder / run_folder.LOCK
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        with open(path, "a") as file:
            _lock(file, folder)
            # Who held it may have removed the folder: then this is the lock of nothing.
            if path.exists() and os.path.samestat(os.fstat(file.fileno()), path.stat()):
                _say_whose(file, folder)
                yield
                return


def _say_whose(file: IO, folder: Path) -> None:
    """An unfinished run that is moved aside is known by its lock: it holds the folder's name."""
    with contextlib.suppress(OSError):  # a full disk, said by what the job writes
        os.ftruncate(file.fileno(), 0)
        os.write(file.fileno(), folder.name.encode())


def _lock(file: IO, folder: Path) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        print(f"{folder}: another process works on it; waiting for it to end", flush=True)
        fcntl.flock(file, fcntl.LOCK_EX)
    except OSError as error:
        raise StoreError(
            f"{folder} cannot be locked ({error.strerror}): two jobs could write into it at "
            "once; put the results on a file system that has locks (NFS: mounted without "
            "nolock, with its lock daemon running)"
        ) from None


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Hold a folder of what is published, which is to have no lock in it, while it is changed."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        held = os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise StoreError(f"{folder} cannot be written into: {error.strerror}") from None
    try:
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(held, fcntl.LOCK_EX)
        yield
    finally:
        os.close(held)


def is_running(folder: Path) -> bool:
    """Whether a process holds the lock of a run."""
    try:
        with open(folder / run_folder.LOCK, "rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # no such folder, no lock in it
        return False
    return False
