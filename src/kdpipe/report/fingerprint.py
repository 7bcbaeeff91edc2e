"""The fingerprint of a report: whether it is up to date, and whether its files are intact.

The last line of a report holds one digest of all that it was rendered from: the study, every
record and the version of kdpipe. The files that a record lists enter by their checksums. Times do
not enter: records come back from an archive or another machine with times of their own, and two
studies may have one name.
"""

import hashlib
import json
import re
from pathlib import Path

from kdpipe import __version__
from kdpipe.analysis.preregistration import registration
from kdpipe.config import report_items
from kdpipe.plan import status
from kdpipe.plan.nodes import Plan
from kdpipe.runs.store import OUTCOMES_FILE, Store

PAGE_FILE = "index.md"  # written after all other files of a report
CUSTOM_FILES_LIST = ".own"  # in a report: the files that custom tables and figures may have in it
CHECKSUM_FILE = ".files"  # in a report: SHA-256 and name of every file, as sha256sum -c reads them
# Keys of a study that say how it is run.
EXCLUDED_KEYS = {"device", "runs_per_gpu", "kernels", "workers", "registration"}


def compute_digest(plan: Plan, store: Store) -> str:
    """Return the SHA-256 of all that a report of the plan shows."""
    study = plan.study.model_dump_json(exclude_defaults=True, exclude=EXCLUDED_KEYS)
    checksum = hashlib.sha256(json.dumps([__version__, study]).encode())
    for line in (
        *registration.describe_registration(plan, store),
        str(registration.find_blinding_reason(plan, store)),
    ):
        checksum.update(line.encode())
    for kind, items in plan.recorded_nodes.items():
        records, damaged = store.scan_records(kind)
        for name, item in items.items():
            content = records.get(name) or status.find_missing_reason(item, plan, store, damaged)[1]
            checksum.update(json.dumps([name, content], sort_keys=True).encode())
    for path in report_items.find_custom_files(
        [*plan.study.tables, *plan.study.figures], plan.study.code
    ):
        checksum.update(path.read_bytes())
    if (store.root / OUTCOMES_FILE).exists():
        checksum.update((store.root / OUTCOMES_FILE).read_bytes())
    return checksum.hexdigest()


def format_footer(digest: str) -> str:
    """Return the last line of the text of a report."""
    return (
        f"Rendered by kdpipe {__version__} from the records alone (sha256 {digest}); the page: "
        "index.html."
    )


def read_digest(folder: Path) -> str | None:
    """Return the digest in the last line of a report; None if it is missing or cut off."""
    try:
        text = (folder / PAGE_FILE).read_bytes()[-200:].decode(errors="replace")
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
        lines = (folder / CHECKSUM_FILE).read_text().splitlines()
        return bool(lines) and all(
            hashlib.sha256((folder / name).read_bytes()).hexdigest() == sha256
            for sha256, name in (line.split("  ", 1) for line in lines)
        )
    except (OSError, ValueError):
        return False
