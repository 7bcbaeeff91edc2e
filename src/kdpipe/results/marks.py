"""What of a results folder is kdpipe's own: it has the name that kdpipe gives, and its marks.

Somebody's files may lie among them: raw images, the logs of another program, a run that was moved
aside. They are told from what kdpipe has made, so that nothing else is removed or called whole.
"""

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path

from kdpipe.errors import KdpipeError, StoreError
from kdpipe.results import records, registrations, run_folder
from kdpipe.results.archived import FILE, KINDS
from kdpipe.results.files import DAMAGED, about_in
from kdpipe.results.store import OUTCOMES, Store

FOLDERS = (*KINDS, "data", "tables")  # below a results folder
ABOUT = "about.json"  # of a teacher table
STUDENTS = "students"  # in its workshop: a folder of empty files, one a student that waits for it
CARD = "card.json"  # of a data set
REMOVED = ".removed"  # how the name of a folder ends that is being removed

_NAME = re.compile(r"\.?[^.].*-[0-9a-f]{12}")
_GONE = re.compile(rf"\.{_NAME.pattern}{re.escape(REMOVED)}")
_TEMPORARY = r"(.*/)?\..+\.tmp"
_AT_WORK = r"\.lock|failure\.json"
_RUN = (
    rf"record\.json|\.record\.json|curve\.jsonl|\.state.*|"
    r"((best|unaveraged)-)?(weights|outputs)\.safetensors|"
    rf"checkpoints(/epoch-\d+(-outputs)?\.safetensors)?|{_AT_WORK}|{_TEMPORARY}"
)
_TABLE = r"(table/?)?(table\.npy|about\.json)?"
# By kind, what may lie in a folder of kdpipe's, and which of it is enough to know it by.
_FILES = dict.fromkeys(KINDS, re.compile(_RUN)) | {
    "data": re.compile(rf"card\.json|\w+\.npy|{_AT_WORK}|{_TEMPORARY}"),
    "tables": re.compile(
        rf"{_TABLE}|{STUDENTS}(/.*)?|[0-9a-f]{{12}}-\d+\.(npy|safetensors)|{_AT_WORK}|{_TEMPORARY}"
    ),
}
_MARKS = {
    *(run_folder.RECORD, run_folder.KEPT_RECORD, run_folder.FAILURE, run_folder.LOCK),
    *(CARD, ABOUT),
}


def no_folder(place: Store, kind: str) -> str | None:
    """What stands where kdpipe has a folder of folders, if that is something else."""
    base = place.root / kind
    if base.is_dir():
        return None
    if base.is_symlink():
        return f"a link that leads nowhere ({base.readlink()})"
    return "a file" if base.exists() else None


def entries(place: Store, kind: str) -> list[Path]:
    """All that lies where kdpipe makes folders of a kind."""
    return [path for path in _all(place, kind) if not _is_gone(path, kind)]


def half_removed(place: Store, kind: str) -> list[Path]:
    """Folders of kdpipe's that a process was killed over while it removed them."""
    return [path for path in _all(place, kind) if _is_gone(path, kind)]


def _all(place: Store, kind: str) -> list[Path]:
    base = place.root / kind
    return sorted(base.iterdir()) if base.is_dir() else []


def _is_gone(path: Path, kind: str) -> bool:
    """Whether a folder has the name that `leftovers.discard` gives, and nothing of others in it."""
    renamed = bool(_GONE.fullmatch(path.name)) and path.is_dir() and not path.is_symlink()
    return renamed and all(is_written(each, path, kind) for each in path.rglob("*"))


def foreign(path: Path, kind: str) -> str | None:
    """Why an entry of the folder of a kind is not kdpipe's own; None if it is."""
    if path.is_symlink() or not path.is_dir():
        return "a link" if path.is_symlink() else "a file"
    if not _is_named(path, kind):
        return "not a name that kdpipe gives"
    for each in path.rglob("*"):
        if not is_written(each, path, kind):
            name = each.relative_to(path).as_posix()
            return f"holds {name}, which kdpipe has not written"
    if not _is_marked(path):
        return "holds no record, no lock, no card"
    return moved_aside(path) if kind in KINDS else None


def is_strange(path: Path, kind: str) -> bool:
    """Whether a folder never was kdpipe's: it has another kind of name, or none of the marks."""
    return not _is_named(path, kind) or not _is_marked(path)


def is_written(path: Path, folder: Path, kind: str) -> bool:
    """Whether a file or folder below a folder has a name that kdpipe gives there."""
    name = path.relative_to(folder).as_posix()
    return bool(_FILES[kind].fullmatch(name)) and not path.is_symlink()


def _is_named(path: Path, kind: str) -> bool:
    hidden = path.name.startswith(".") and kind != "tables"  # there they are workshops
    return not hidden and bool(_NAME.fullmatch(path.name))


def _is_marked(path: Path) -> bool:
    """An empty folder is: whoever made it was killed before anything else."""
    inside = {each.name for each in path.iterdir()}
    return not inside or bool(_MARKS & inside)


def moved_aside(folder: Path) -> str | None:
    """Whose run a folder holds, if that has another name: it was moved or copied.

    Its record says so, or what an unfinished run has: the lock, with the name of the folder that it
    was made in, and arrays, with the digest of their run.
    """
    try:
        record = records.finished(folder, None)
    except StoreError:
        return None
    called = record.get("name") if record else run_folder.locked_as(folder)
    if called not in (None, folder.name):
        what = "the record of another run" if record else "another run"
        return f"it holds {what}, {called} (moved aside, or copied)"
    if record is None:
        for path in sorted(folder.rglob("*.safetensors")):
            if not is_written(path, folder, "runs"):
                continue
            with contextlib.suppress(*DAMAGED):
                run = about_in(path)["run"][:12]
                if not folder.name.endswith(f"-{run}"):
                    name = path.relative_to(folder)
                    return f"its {name} is of another run, {run} (moved aside, or copied)"
    return None


def refuse_another_folder(place: Store) -> None:
    """Raise KdpipeError if nothing in a folder is kdpipe's: it is no results folder."""
    if not place.root.is_dir():
        raise KdpipeError(f"--results {place.root}: there is no such folder")
    known = any((place.root / name).is_file() for name in (FILE, OUTCOMES))
    if not known and not registrations.paths(place) and not any(_own(place)):
        raise KdpipeError(
            f"--results {place.root}: no results folder (no run, no data set and no archive of "
            "kdpipe is in it): give the folder that has runs/ in it"
        )


def _own(place: Store) -> Iterator[Path]:
    for kind in FOLDERS:
        for path in entries(place, kind):
            if foreign(path, kind) is None or (kind in KINDS and moved_aside(path)):
                yield path
