"""What processes that were killed have left in a folder, and nothing will use any more.

An unfinished run goes on from its state, so that is none; beside a finished record it is one.
"""

from pathlib import Path

from kdpipe.errors import StoreError
from kdpipe.results import marks, records, run_folder
from kdpipe.results.archived import KINDS


def of(folder: Path, kind: str) -> list[Path]:
    """The leftovers in one folder of kdpipe's; none in another's. Nobody may work in it."""
    if marks.foreign(folder, kind):
        return []
    if kind in KINDS:
        return _of_run(folder)
    made = folder.with_name(folder.name.removeprefix("."))
    if kind == "tables" and made != folder and (made / marks.ABOUT).exists():
        return of_workshop(folder)
    return run_folder.temporary(folder)


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
        return run_folder.temporary(folder)
    listed = record.get("files", {})
    checkpoints = sorted(folder.glob("checkpoints/*.safetensors"))
    surplus = [path for path in checkpoints if path.relative_to(folder).as_posix() not in listed]
    return [path for path in run_folder.leftovers(folder) if path.exists()] + surplus
