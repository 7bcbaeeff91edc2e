"""What processes that were killed have left among reports: files that never got their names.

A report that is rendered again takes away its own. Those of a study that is not, or was renamed,
stay. They are known by the very names that kdpipe gives, in the very folders; all else is somebody
else's.
"""

import re
from pathlib import Path

from kdpipe import discovery
from kdpipe.report.source import FILES, LISTED, PAGE
from kdpipe.results.archived import FILE
from kdpipe.results.files import temporary_files

PUBLISHED = "published"  # among reports the folder of those that stand beside their archive

_TABLES = "|".join(
    [*discovery.names("kdpipe.report.tables"), *discovery.names("kdpipe.report.unasked")]
)
_FIGURES = "|".join(discovery.names("kdpipe.report.figures"))
_TEMPORARY = {  # by the folder below that of a report
    "": rf"\.({re.escape(PAGE)}|{re.escape(LISTED)}|{re.escape(FILES)}|index\.html|results\.csv"
    rf"|claims\.json|{re.escape(FILE)})",
    "tables": rf"\.({_TABLES})\.(csv|md|tex)",
    "figures": rf"\.({_FIGURES})\.(svg|png)",
    "registrations": r"\..+\.json",
}


def of(reports: Path) -> list[Path]:
    """The leftovers in a folder of reports, published ones too. No link is followed."""
    published = reports / PUBLISHED
    rooms = [room for room in (reports, published) if not room.is_symlink()]
    folders = [folder for room in rooms for folder in sorted(room.glob("*"))]
    return [path for folder in folders for path in of_one(folder)]


def of_one(report: Path) -> list[Path]:
    """The leftovers in the folder of one report."""
    found = []
    for below, pattern in _TEMPORARY.items():
        folder = report / below
        if folder.is_dir() and not (report.is_symlink() or folder.is_symlink()):
            given = re.compile(rf"{pattern}\.[a-z0-9_]{{8}}\.tmp")
            found += [path for path in temporary_files(folder) if given.fullmatch(path.name)]
    return found
