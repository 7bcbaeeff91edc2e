"""The fingerprint of a report: whether it is up to date, and whether its files are intact.

The last line of a report holds one digest of all that it was rendered from: the study, every
record and the version of kdpipe. The files that a record lists enter by their checksums. Times do
not enter: records come back from an archive or another machine with times of their own, and two
studies may have one name.

Temporary files that killed processes left among reports, under names that never became final.

A report that is rendered again removes its own. Those of a study that is gone or was renamed would
stay. They are recognized by the exact names that kdpipe gives, in the folders where it gives them;
any other file is the user's.
"""

import contextlib
import hashlib
import json
import os
import re
import sys
from importlib import metadata
from pathlib import Path

from kdpipe import __version__, registry, version
from kdpipe.analysis.preregistration import registration
from kdpipe.config import paths
from kdpipe.models.pretrained import origin
from kdpipe.plan import status
from kdpipe.plan.nodes import Plan
from kdpipe.runs.files import (
    find_temporary_files,
    hash_regular_file,
    open_regular_file,
    read_regular_file,
)
from kdpipe.runs.records import ARCHIVE_FILE
from kdpipe.runs.store import Store

PAGE_FILE = "index.md"  # written after all other files of a report
CUSTOM_FILES_LIST = ".own"  # in a report: the files that custom tables and figures may have in it
INPUTS_FILE = ".inputs"  # in a report: the digest of all that its bytes depend on
CHECKSUM_FILE = ".files"  # in a report: SHA-256 and name of every file, as sha256sum -c reads them
MAX_INPUTS_BYTES, MAX_CHECKSUMS_BYTES = 2**10, 2**20
LIBRARIES = ("jinja2", "matplotlib", "numpy", "pandas", "scipy")  # they compute and draw
# Keys of a study that say how it is run.
EXCLUDED_KEYS = {
    "device",
    "runs_per_gpu",
    "processes_per_run",
    "kernels",
    "workers",
    "registration",
}


def compute_digest(plan: Plan, store: Store) -> str:
    """Return the SHA-256 of all that a report of the plan shows."""
    study = plan.study.model_dump_json(exclude_defaults=True, exclude=EXCLUDED_KEYS)
    checksum = hashlib.sha256(json.dumps([__version__, study]).encode())
    for line in (
        *registration.describe_registration(plan, store),
        str(registration.find_blinding_reason(plan, store)),
        *status.find_students_of_copies(plan, store).values(),
        *origin.describe_restrictions(plan.study.pretrained, plan.study.starts),
    ):
        checksum.update(line.encode())
    for kind, items in plan.recorded_nodes.items():
        records, damaged = store.scan_records(kind)
        for name, item in items.items():
            content = records.get(name) or status.find_missing_reason(item, plan, store, damaged)[1]
            checksum.update(json.dumps([name, content], sort_keys=True).encode())
    for path in paths.find_custom_files([*plan.study.tables, *plan.study.figures], plan.study.code):
        checksum.update(read_regular_file(path))
    if (kept := registration.load_kept_verdicts(plan, store)) is not None:
        checksum.update(json.dumps(kept.claims, sort_keys=True).encode())
    return checksum.hexdigest()


def compute_inputs_digest(plan: Plan, store: Store, study_file: str, digest: str) -> str | None:
    """Return the SHA-256 of all that the bytes of a report depend on.

    Parameters
    ----------
    plan : Plan
        The planned study.
    store : Store
        The results folder, checked by `status.hide_altered`.
    study_file : str
        The study's file, as the page names it.
    digest : str
        The digest of what the report shows, by `compute_digest`.

    Returns
    -------
    str or None
        None if such a report is to be rendered each time: of a study with custom tables or
        figures, whose code may read anything, with files that were altered, and of a sealed one,
        of which no file may depend on test results.
    """
    study = plan.study
    if paths.select_custom([*study.tables, *study.figures]) or any(store.altered.values()):
        return None
    if registration.find_blinding_reason(plan, store) is not None:
        return None
    registered = registration.find_registration(study, store)
    inputs = [digest, study_file, study.model_dump_json(), repr(plan.card), repr(registered)]
    inputs += [sys.version, *map(metadata.version, LIBRARIES), version.hash_package()]
    for kind, nodes in plan.recorded_nodes.items():
        records = store.load_records(kind)
        for name, node in nodes.items():
            inputs += [name, node.digest, repr(getattr(node, "cost", None))]
            # A record says what is in its files, and not whether they were removed since.
            names = records.get(name, {}).get("files", {})
            inputs += [file for file in names if (store.root / kind / name / file).exists()]
    with contextlib.suppress(FileNotFoundError):
        inputs.append(hashlib.sha256(read_regular_file(store.archive_path)).hexdigest())
    return hashlib.sha256(json.dumps(inputs).encode()).hexdigest()


def is_unchanged(plan: Plan, store: Store, folder: Path, study_file: str) -> bool:
    """Return whether rendering a report again would give the files that are there, bit for bit."""
    try:
        recorded = read_regular_file(folder / INPUTS_FILE, MAX_INPUTS_BYTES).decode().strip()
    except (OSError, ValueError):
        return False
    inputs = compute_inputs_digest(plan, store, study_file, compute_digest(plan, store))
    return recorded == inputs and is_intact(folder)


def format_footer(digest: str) -> str:
    """Return the last line of the text of a report."""
    return (
        f"Rendered by kdpipe {__version__} from the records alone (sha256 {digest}); the page: "
        "index.html."
    )


def read_digest(folder: Path) -> str | None:
    """Return the digest in the last line of a report; None if it is missing or cut off."""
    try:
        with open_regular_file(folder / PAGE_FILE) as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - 200))
            text = file.read(200).decode(errors="replace")
    except OSError:
        return None
    match = re.search(r"\(sha256 ([0-9a-f]{64})\); the page: index\.html\.\n$", text)
    return match[1] if match else None


def format_checksums(files: dict[str, bytes]) -> bytes:
    """Return the content of the checksum file for the files of a report, by name."""
    lines = (f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in files.items())
    return "".join(sorted(lines)).encode()


def is_intact(folder: Path) -> bool:
    """Return whether every file of a report is as it was rendered; False without checksums."""
    try:
        content = read_regular_file(folder / CHECKSUM_FILE, MAX_CHECKSUMS_BYTES)
        lines = content.decode().splitlines()
        return bool(lines) and all(
            hash_regular_file(folder / name) == sha256
            for sha256, name in (line.split("  ", 1) for line in lines)
        )
    except (OSError, ValueError):
        return False


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
        *map(
            re.escape,
            (PAGE_FILE, CUSTOM_FILES_LIST, INPUTS_FILE, CHECKSUM_FILE, ARCHIVE_FILE),
        ),
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
