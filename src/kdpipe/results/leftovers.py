"""What processes that were killed have left in a folder, and nothing will use any more.

An unfinished run goes on from its state, so that is none; beside a finished record it is one. A
folder that is to go is renamed first: it is there whole, or it is a leftover.
"""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from kdpipe.errors import StoreError
from kdpipe.results import marks, records, run_folder
from kdpipe.results.archived import KINDS
from kdpipe.results.files import temporary_files
from kdpipe.results.store import Store


def discard(folder: Path) -> None:
    """Remove a folder, if it is there. Raises OSError if that is not allowed."""
    aside = folder.with_name(f".{folder.name}{marks.REMOVED}")
    remove(aside)
    if folder.exists():
        os.rename(folder, aside)
        remove(aside)


def remove(aside: Path) -> None:
    """Remove what `discard` has renamed; another process may be about it too."""

    def refused(_call, _path, why) -> None:
        if not isinstance(why[1], FileNotFoundError):
            raise why[1]

    shutil.rmtree(aside, onerror=refused)


def of(folder: Path, kind: str) -> list[Path]:
    """The leftovers in one folder of kdpipe's; none in another's. Nobody may work in it."""
    if marks.foreign(folder, kind):
        return []
    if kind in KINDS:
        return _of_run(folder)
    made = folder.with_name(folder.name.removeprefix("."))
    if kind == "tables" and made != folder and (made / marks.ABOUT).exists():
        return of_workshop(folder)
    return temporary_files(folder, below=True)


def unawaited(place: Store) -> Iterator[Path]:
    """Workshops of tables whose students have all ended, and none took it away: killed before."""
    for work in marks.entries(place, "tables"):
        students = list((work / marks.STUDENTS).glob("*"))
        if students and all(place.has_record("runs", student.name) for student in students):
            yield work


def of_workshop(folder: Path) -> list[Path]:
    """What a table was made from, once it is made: all but the lock, and who waits for it."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    stay = (run_folder.LOCK, marks.STUDENTS)
    return [path for path in files if path.relative_to(folder).parts[0] not in stay]


def _of_run(folder: Path) -> list[Path]:
    try:
        record = records.finished(folder, None)
    except StoreError:
        record = None
    if record is None:
        return temporary_files(folder, below=True)
    listed = record.get("files", {})
    checkpoints = sorted(folder.glob("checkpoints/*.safetensors"))
    surplus = [path for path in checkpoints if path.relative_to(folder).as_posix() not in listed]
    return [path for path in run_folder.leftovers(folder) if path.exists()] + surplus
