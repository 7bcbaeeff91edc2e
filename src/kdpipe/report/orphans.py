"""Temporary files that killed processes left among reports, under names that never became final.

A report that is rendered again removes its own. Those of a study that is gone or was renamed would
stay. They are recognized by the exact names that kdpipe gives, in the folders where it gives them;
any other file is the user's.
"""

import re
from pathlib import Path

from kdpipe import registry
from kdpipe.report.fingerprint import CHECKSUM_FILE, CUSTOM_FILES_LIST, PAGE_FILE
from kdpipe.runs.files import find_temporary_files
from kdpipe.runs.records import ARCHIVE_FILE

PUBLISHED_DIR = "published"  # in the folder of reports: reports that stand beside their archive

_TABLE_NAMES = "|".join(
    [
        *registry.list_names("kdpipe.report.tables"),
        *registry.list_names("kdpipe.report.builtin_tables"),
    ]
)
_FIGURE_NAMES = "|".join(registry.list_names("kdpipe.report.figures"))
_FILE_NAMES = "|".join(
    [
        *map(re.escape, (PAGE_FILE, CUSTOM_FILES_LIST, CHECKSUM_FILE, ARCHIVE_FILE)),
        *(r"index\.html", r"results\.csv", r"claims\.json"),
    ]
)
_TEMPORARY_PATTERNS = {  # by the subfolder of a report
    "": rf"\.({_FILE_NAMES})",
    "tables": rf"\.({_TABLE_NAMES})\.(csv|md|tex)",
    "figures": rf"\.({_FIGURE_NAMES})\.(svg|png)",
    "registrations": r"\..+\.json",
}


def find_report_orphans(reports: Path) -> list[Path]:
    """Return the orphans in a folder of reports and its published ones; no link is followed."""
    published = reports / PUBLISHED_DIR
    roots = [root for root in (reports, published) if not root.is_symlink()]
    folders = [folder for root in roots for folder in sorted(root.glob("*"))]
    return [path for folder in folders for path in find_orphans_of_report(folder)]


def find_orphans_of_report(report: Path) -> list[Path]:
    """Return the orphans in the folder of one report."""
    paths = []
    for subfolder, pattern in _TEMPORARY_PATTERNS.items():
        folder = report / subfolder
        if folder.is_dir() and not (report.is_symlink() or folder.is_symlink()):
            regex = re.compile(rf"{pattern}\.[a-z0-9_]{{8}}\.tmp")
            paths += [path for path in find_temporary_files(folder) if regex.fullmatch(path.name)]
    return paths
