"""Which files of a results folder kdpipe has written, and which of them are leftovers.

Other files may lie among them: raw images, the logs of another program, a run that was moved aside.
A folder is kdpipe's if it has a name that kdpipe gives, holds a file that marks it, and nothing
that kdpipe does not write; nothing else is ever removed or reported as whole.

Leftovers are what killed processes left in a folder and nothing uses any more. The state of an
unfinished run is none, since the run resumes from it; next to a finished record it is one. A folder
is renamed before it is removed, so it is whole under its name, or a leftover.
"""

import contextlib
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

from kdpipe.errors import KdpipeError, StoreError
from kdpipe.runs import records, registrations, run_folder
from kdpipe.runs.files import READ_ERRORS, find_temporary_files, read_header
from kdpipe.runs.records import RECORD_KINDS
from kdpipe.runs.store import Store

STORE_FOLDERS = (*RECORD_KINDS, "data", "tables")  # below a results folder
CACHE_INFO_FILE = "about.json"  # of a logit cache
# In the build folder of a logit cache: an empty file for each student that waits for it.
STUDENTS_FOLDER = "students"
CARD_FILE = "card.json"  # of a data set
# Of an exception, as `shutil.rmtree` hands it on.
ExceptionInfo = tuple[type[BaseException], BaseException, TracebackType]
REMOVED_SUFFIX = ".removed"  # how the name of a folder ends that is being removed

_FOLDER_NAME = re.compile(r"\.?[^.].*-[0-9a-f]{12}")
_REMOVED_NAME = re.compile(rf"\.{_FOLDER_NAME.pattern}{re.escape(REMOVED_SUFFIX)}")
_TEMPORARY_FILES = r"(.*/)?\..+\.tmp"
_JOB_FILES = r"\.lock|failure\.json"
_RUN_FILES = (
    rf"record\.json|\.record\.json|curve\.jsonl|\.state.*|\.progress\.json|"
    r"((best|unaveraged)-)?(weights|outputs)\.safetensors|validation-errors\.safetensors|"
    rf"checkpoints(/epoch-\d+(-outputs)?\.safetensors)?|{_JOB_FILES}|{_TEMPORARY_FILES}"
)
_CACHE_FILES = r"(table/?)?(table\.npy|about\.json)?"
# By kind, the paths that may lie in a folder of kdpipe.
_ALLOWED_FILES = dict.fromkeys(RECORD_KINDS, re.compile(_RUN_FILES)) | {
    "data": re.compile(rf"card\.json|\w+\.npy|{_JOB_FILES}|{_TEMPORARY_FILES}"),
    "tables": re.compile(
        rf"{_CACHE_FILES}|{STUDENTS_FOLDER}(/.*)?|[0-9a-f]{{12}}-\d+\.(npy|safetensors)|"
        rf"{_JOB_FILES}|{_TEMPORARY_FILES}"
    ),
}
# Any of these files marks a folder as kdpipe's.
_MARKER_FILES = {
    run_folder.RECORD_FILE,
    run_folder.RECORD_COPY_FILE,
    run_folder.FAILURE_FILE,
    run_folder.LOCK_FILE,
    CARD_FILE,
    CACHE_INFO_FILE,
}


def not_a_folder_reason(store: Store, kind: str) -> str | None:
    """Return what lies in the place of the folder of a kind if it is no folder, else None."""
    base = store.root / kind
    if base.is_dir():
        return None
    if base.is_symlink():
        return f"a link that leads nowhere ({base.readlink()})"
    return "a file" if base.exists() else None


def list_entries(store: Store, kind: str) -> list[Path]:
    """Return all that lies in the folder of a kind, without what is half deleted."""
    return [path for path in _list_all(store, kind) if not _is_half_deleted(path, kind)]


def list_half_deleted(store: Store, kind: str) -> list[Path]:
    """Return the folders of kdpipe whose removal was interrupted."""
    return [path for path in _list_all(store, kind) if _is_half_deleted(path, kind)]


def _list_all(store: Store, kind: str) -> list[Path]:
    base = store.root / kind
    return sorted(base.iterdir()) if base.is_dir() else []


def _is_half_deleted(path: Path, kind: str) -> bool:
    """Return whether `remove_tree` has renamed a folder, and only files of kdpipe are in it."""
    is_renamed = (
        bool(_REMOVED_NAME.fullmatch(path.name)) and path.is_dir() and not path.is_symlink()
    )
    return is_renamed and all(is_kdpipe_file(file, path, kind) for file in path.rglob("*"))


def foreign_reason(path: Path, kind: str) -> str | None:
    """Return why an entry of the folder of a kind is not kdpipe's; None if it is.

    Parameters
    ----------
    path : Path
        The entry.
    kind : str
        One of `STORE_FOLDERS`.
    """
    if path.is_symlink() or not path.is_dir():
        return "a link" if path.is_symlink() else "a file"
    if not _has_kdpipe_name(path, kind):
        return "not a name that kdpipe gives"
    for file in path.rglob("*"):
        if not is_kdpipe_file(file, path, kind):
            name = file.relative_to(path).as_posix()
            return f"holds {name}, which kdpipe has not written"
    if not _has_marker_file(path):
        return "holds no record, no lock, no card"
    return moved_reason(path) if kind in RECORD_KINDS else None


def is_foreign_folder(path: Path, kind: str) -> bool:
    """Return whether a folder never was kdpipe's: it has another name or no marker file."""
    return not _has_kdpipe_name(path, kind) or not _has_marker_file(path)


def is_kdpipe_file(path: Path, folder: Path, kind: str) -> bool:
    """Return whether a file or folder below `folder` has a name that kdpipe gives there."""
    name = path.relative_to(folder).as_posix()
    return bool(_ALLOWED_FILES[kind].fullmatch(name)) and not path.is_symlink()


def _has_kdpipe_name(path: Path, kind: str) -> bool:
    is_hidden = path.name.startswith(".") and kind != "tables"  # there they are build folders
    return not is_hidden and bool(_FOLDER_NAME.fullmatch(path.name))


def _has_marker_file(path: Path) -> bool:
    """Return whether a folder has a marker file or is empty, as a killed job may leave it."""
    names = {file.name for file in path.iterdir()}
    return not names or bool(_MARKER_FILES & names)


def moved_reason(folder: Path) -> str | None:
    """Return which run a folder holds if that is not the one of its name; else None.

    Such a folder was moved or copied. A record states its run. Of an unfinished run the lock holds
    the name of the folder in which it was started, and arrays hold the digest of their run.
    """
    try:
        record = records.read_finished_record(folder, None)
    except StoreError:
        return None
    recorded_name = record.get("name") if record else run_folder.read_locked_name(folder)
    if recorded_name not in (None, folder.name):
        content = "the record of another run" if record else "another run"
        return f"it holds {content}, {recorded_name} (moved aside, or copied)"
    if record is None:
        for path in sorted(folder.rglob("*.safetensors")):
            if not is_kdpipe_file(path, folder, "runs"):
                continue
            with contextlib.suppress(*READ_ERRORS):
                digest = read_header(path)["run"][:12]
                if not folder.name.endswith(f"-{digest}"):
                    name = path.relative_to(folder)
                    return f"its {name} is of another run, {digest} (moved aside, or copied)"
    return None


def require_results_folder(store: Store, option: str = "--results ") -> None:
    """Raise KdpipeError if a folder holds nothing of kdpipe, so is no results folder.

    Parameters
    ----------
    store : Store
        The folder.
    option : str
        What it was given as, for the message.

    Raises
    ------
    KdpipeError
        Also if there is no such folder.
    """
    if not store.root.is_dir():
        raise KdpipeError(f"{option}{store.root}: there is no such folder")
    store.refuse_old_form()
    if (
        not store.archive_path.is_file()
        and not registrations.list_registrations(store)
        and not any(_iter_kdpipe_folders(store))
    ):
        raise KdpipeError(
            f"{option}{store.root}: not a results folder (it has no run, data set or archive of "
            "kdpipe): give the folder that contains runs/"
        )


def _iter_kdpipe_folders(store: Store) -> Iterator[Path]:
    for kind in STORE_FOLDERS:
        for path in list_entries(store, kind):
            if foreign_reason(path, kind) is None or (kind in RECORD_KINDS and moved_reason(path)):
                yield path


# Leftovers, and the removal of folders


def remove_tree(folder: Path) -> None:
    """Remove a folder if it exists; raise OSError if that is not allowed."""
    renamed = folder.with_name(f".{folder.name}{REMOVED_SUFFIX}")
    remove_renamed_tree(renamed)
    if folder.exists():
        os.rename(folder, renamed)
        remove_renamed_tree(renamed)


def remove_renamed_tree(renamed: Path) -> None:
    """Remove a folder that `remove_tree` has renamed; another process may do the same."""

    def raise_error(_call: object, _path: str, error_info: ExceptionInfo) -> None:
        if not isinstance(error_info[1], FileNotFoundError):
            raise error_info[1]

    shutil.rmtree(renamed, onerror=raise_error)


def list_orphans(folder: Path, kind: str) -> list[Path]:
    """Return the leftovers in one folder; none if it is not kdpipe's.

    No process may work in the folder meanwhile.
    """
    if foreign_reason(folder, kind):
        return []
    if kind in RECORD_KINDS:
        return _list_run_orphans(folder)
    cache_folder = folder.with_name(folder.name.removeprefix("."))
    if kind == "tables" and cache_folder != folder and (cache_folder / CACHE_INFO_FILE).exists():
        return list_build_leftovers(folder)
    return find_temporary_files(folder, below=True)


def find_orphan_caches(store: Store) -> Iterator[Path]:
    """Yield the build folders of logit caches whose students all ended, but were killed."""
    for build_folder in list_entries(store, "tables"):
        students = list((build_folder / STUDENTS_FOLDER).glob("*"))
        if students and all(store.has_record("runs", student.name) for student in students):
            yield build_folder


def list_build_leftovers(folder: Path) -> list[Path]:
    """Return what a finished logit cache was built from: not the lock, nor its students."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    kept_names = (run_folder.LOCK_FILE, STUDENTS_FOLDER)
    return [path for path in files if path.relative_to(folder).parts[0] not in kept_names]


def _list_run_orphans(folder: Path) -> list[Path]:
    record = records.find_whole_record(folder)
    if record is None:
        return find_temporary_files(folder, below=True)
    listed_files = record.get("files", {})
    checkpoints = sorted(folder.glob("checkpoints/*.safetensors"))
    surplus = [
        path for path in checkpoints if path.relative_to(folder).as_posix() not in listed_files
    ]
    return [path for path in run_folder.list_job_leftovers(folder) if path.exists()] + surplus
