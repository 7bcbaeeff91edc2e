"""The results folder: where the files of every run lie, and which runs have a record.

A run is known by its own folder, or by its line in the archive (`records.jsonl.gz`) next to the
folders; where both exist, the folder counts. An archive alone is a results folder from which a
report can be rendered.
"""

import contextlib
import fcntl
import io
import json
import os
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kdpipe.errors import MissingRunError, StoreError
from kdpipe.json_types import JsonObject
from kdpipe.runs import records, run_folder
from kdpipe.runs.files import open_lock_file, open_regular_file, read_bytes, read_regular_file
from kdpipe.runs.records import EvalPoint

# In a folder of records of kdpipe 0.1, which this version does not read.
OLD_FORM_FILE = "outcomes.jsonl"
PUBLISHED_EXPORTS = "export"  # beside a published report: folders of runs that it recommends
# Locked by each Snakemake that works in a folder, the one of `results`.
HEAD_LOCK_FILE = Path(".snakemake") / "kdpipe.lock"


@dataclass(frozen=True)
class Store:
    """The paths below one results folder, and the records of the runs in it.

    Parameters
    ----------
    root : Path
        The results folder.
    altered : mapping
        By kind and name, what is wrong with a file of a run, which then counts as damaged.
    """

    root: Path = Path("results")
    altered: Mapping[str, Mapping[str, str]] = field(
        default_factory=dict[str, Mapping[str, str]], compare=False
    )

    def run(self, name: str) -> Path:
        """Return the folder of a run."""
        return self.root / "runs" / name

    def ensemble(self, name: str) -> Path:
        """Return the folder of an ensemble."""
        return self.root / "ensembles" / name

    def probe(self, name: str) -> Path:
        """Return the folder of a linear probe."""
        return self.root / "probes" / name

    def export_eval(self, name: str) -> Path:
        """Return the folder of the evaluation of an exported network."""
        return self.root / "gauges" / name

    def logit_cache(self, name: str) -> Path:
        """Return the folder of a logit cache."""
        return self.root / "tables" / name

    def list_folders(self, kind: str) -> set[str]:
        """Return the names of all folders of a kind, of unfinished results too."""
        try:
            return {entry.name for entry in os.scandir(self.root / kind)}
        except OSError:  # there may be none yet
            return set()

    def data(self, name: str) -> Path:
        """Return the folder of a prepared data set."""
        return self.root / "data" / name

    @property
    def archive_path(self) -> Path:
        """Return the path of the archive, which need not exist."""
        return self.root / records.ARCHIVE_FILE

    def find_run(self, digest: str) -> Path:
        """Return the folder of the run with this digest whose name is the one in its record.

        A folder that was moved aside (`old-<name>`) has another name. An unfinished run is returned
        too.

        Raises
        ------
        MissingRunError
            If there is none.
        """
        moved, unfinished = None, None
        for folder in sorted((self.root / "runs").glob(f"*-{digest[:12]}")):
            record = records.find_whole_record(folder, digest)  # damage is reported when it is read
            if record is None:
                unfinished = unfinished or folder
            elif records.has_matching_name(record, folder.name):
                return folder
            else:
                moved = folder, record["name"]
        if unfinished is not None:
            return unfinished
        if moved is not None:
            raise MissingRunError(
                f"{self.root}/runs holds the run with digest {digest[:12]} under another name, and "
                f"a parent is looked for under its own: rename {moved[0]} to {moved[1]}, or run "
                "the study again"
            )
        raise MissingRunError(
            f"{self.root}/runs holds no run with digest {digest[:12]}: a parent is missing; "
            "run the study again, or restore the folder"
        )

    def read_archive(self) -> records.ArchiveEntries:
        """Return the entries of the archive by (kind, name).

        Raises
        ------
        StoreError
            If the archive is damaged, or the folder one of kdpipe 0.1.
        """
        self.refuse_old_form()
        return records.read_archive(self.archive_path)

    def refuse_old_form(self) -> None:
        """Raise StoreError for a folder of records as kdpipe 0.1 published them."""
        if (path := self.root / OLD_FORM_FILE).exists():
            raise StoreError(
                f"{path}: a folder of records as kdpipe 0.1 kept them, which the source up to "
                f"commit 834bd78 reads: make an archive of it there (kdpipe archive STUDY "
                f"--results {self.root} --to NEW) and give NEW; beside an archive this file is not "
                "needed: remove it"
            )

    def load_records(self, kind: str) -> dict[str, dict[str, Any]]:
        """Return every usable record of a kind (`records.RECORD_KINDS`) by name."""
        return self.scan_records(kind)[0]

    def scan_records(self, kind: str) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
        """Read every record of a kind.

        A record that is damaged or missing is restored from its copy, if that is whole.

        Parameters
        ----------
        kind : str
            One of `records.RECORD_KINDS`.

        Returns
        -------
        usable : dict
            The records by name.
        damaged : dict
            By name, why a record cannot be used.
        """
        entries = self.read_archive()
        usable: dict[str, dict[str, Any]] = {}
        damaged: dict[str, str] = {}
        archived = [entry for entry in entries.values() if entry.kind == kind]
        for name, record in ((entry.name, entry.record) for entry in archived):
            if record is not None and (reason := records.wrong_owner_reason(record, name)):
                damaged[name] = (
                    f"{self.archive_path}: {reason}: restore it (git, a backup), or remove it"
                )
            elif record is not None:
                usable[name] = record
        folder, altered = self.root / kind, self.altered.get(kind, {})
        if not folder.is_dir():
            return usable, damaged
        for entry_dir in os.scandir(folder):
            path, record, problem = Path(entry_dir.path), None, ""
            try:
                record = records.read_or_repair_record(path)
            except StoreError as error:
                problem = str(error)
            if record is None and not problem:
                continue
            if record is not None:
                entry = entries.get((kind, entry_dir.name))
                problem = records.record_problem(record, path, entry)
                problem = problem or altered.get(entry_dir.name, "")
            if record is None or problem:
                usable.pop(entry_dir.name, None)
                damaged[entry_dir.name] = problem
            else:
                usable[entry_dir.name] = record
                damaged.pop(entry_dir.name, None)
        return usable, damaged

    def has_record(self, kind: str, name: str) -> bool:
        """Return whether a result has a record, in its folder or in the archive."""
        entry = self.read_archive().get((kind, name))
        return self._has_record_file(kind, name) or (entry is not None and entry.record is not None)

    def archive_only_runs(self) -> set[str]:
        """Return the names of runs that only the archive has, so without weights."""
        return {
            name
            for (kind, name), entry in self.read_archive().items()
            if kind == "runs" and entry.record and not self._has_record_file(kind, name)
        }

    def _has_record_file(self, kind: str, name: str) -> bool:
        folder = self.root / kind / name
        return any(
            (folder / filename).exists()
            for filename in (run_folder.RECORD_FILE, run_folder.RECORD_COPY_FILE)
        )

    def load_curve(self, name: str) -> list[dict[str, Any]] | None:
        """Return what a run noted after each epoch; None if it is not there or the run is damaged.

        Raises
        ------
        StoreError
            If the file is not the one that the record of the run lists.
        """
        folder = self.run(name)
        if name in self.altered.get("runs", {}):
            return None
        try:
            record = records.read_finished_record(folder, None)
        except StoreError:  # reported with the record
            return None
        path = run_folder.curve_path(folder)
        file_info = records.find_file_info(record, folder, path) if record else None
        try:
            data = read_bytes(path, file_info) if file_info else b""
        except FileNotFoundError:
            data = b""
        if data:
            return [json.loads(line) for line in data.splitlines()]
        entry = self.read_archive().get(("runs", name))
        return entry.curve if entry else None

    def failure_reason(self, kind: str, name: str) -> str | None:
        """Return why the last attempt of a job failed; None if it did not."""
        path = run_folder.failure_path(self.root / kind / name)
        try:
            return str(json.loads(read_regular_file(path))["reason"])
        except FileNotFoundError:
            pass
        except (OSError, ValueError, LookupError, TypeError, RecursionError):
            return f"the reason cannot be read: {path} is damaged"
        entry = self.read_archive().get((kind, name))
        return entry.failure if entry else None

    def load_wrong_images(self, eval_point: EvalPoint = "last") -> dict[str, dict[str, Any]]:
        """Return the misclassified test images of the runs and ensembles at an evaluation point.

        Parameters
        ----------
        eval_point : str
            `last` or `best`.

        Returns
        -------
        dict
            By name {"digest", "images", "wrong", "missed"}: `images` is their number, `wrong` a bit
            for each in hexadecimal, and `missed` (see `records.ArchiveEntry`) None where it is not
            kept.
        """
        by_name: dict[str, JsonObject] = {}
        for entry in self.read_archive().values():
            wrong, missed = entry.wrong, entry.missed
            if eval_point == "best" and not records.is_best_last(entry.record):
                wrong, missed = entry.wrong_at_best, entry.missed_at_best
            if wrong is not None:
                by_name[entry.name] = {"digest": entry.digest, **wrong, "missed": missed}
        return by_name

    def load_per_image(self, name: str, digest: str, kind: str = "runs") -> JsonObject | None:
        """Return what the archive holds of the single images of a run; None where it holds none.

        Parameters
        ----------
        name, digest : str
            The run, or ensemble.
        kind : {"runs", "ensembles"}
            Which of the two.

        Returns
        -------
        dict or None
            `ArchiveEntry.per_image`; that of another digest counts as none.
        """
        entry = self.read_archive().get((kind, name))
        return None if entry is None or entry.digest != digest else entry.per_image

    def load_archived_labels(self) -> dict[str, JsonObject]:
        """Return the labels that the archive holds by their SHA-256, see `runs.per_image`."""
        return {
            entry.digest: entry.labels
            for entry in self.read_archive().values()
            if entry.kind == records.LABELS_KIND and entry.labels is not None
        }


@contextlib.contextmanager
def lock_run_folder(folder: Path) -> Generator[None, None, None]:
    """Hold the lock of a folder; wait while another process holds it.

    The lock ends with the process that holds it.

    Raises
    ------
    StoreError
        If the file system has no locks.
    """
    path = folder / run_folder.LOCK_FILE
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        with open_lock_file(path) as file:
            _acquire_lock(file, folder)
            # Its last holder may have removed the folder: then this file locks nothing.
            if path.exists() and os.path.samestat(os.fstat(file.fileno()), path.stat()):
                _write_lock_owner(file, folder)
                yield
                return


def _write_lock_owner(file: io.FileIO, folder: Path) -> None:
    """Write the name of the folder into its lock, to know an unfinished run that was moved."""
    with contextlib.suppress(OSError):  # a full disk, reported when the job writes
        os.ftruncate(file.fileno(), 0)
        os.write(file.fileno(), folder.name.encode())


def _acquire_lock(file: io.FileIO, folder: Path) -> None:
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
def lock_published_folder(folder: Path) -> Generator[None, None, None]:
    """Lock a published folder, which must not hold a lock file, while it is changed.

    Raises
    ------
    StoreError
        If the folder cannot be written into.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise StoreError(f"{folder} cannot be written into: {error.strerror}") from None
    try:
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def is_running(folder: Path) -> bool:
    """Return whether a process holds the lock of a run."""
    try:
        with open_regular_file(folder / run_folder.LOCK_FILE) as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # no such folder, no lock in it
        return False
    return False
