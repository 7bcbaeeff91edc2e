"""What a report was rendered from, as one digest in its last line: so it is known to be up to date.

By content and never by time: records come back from an archive or another machine with times of
their own, and two studies may have one name. The study, every record and the version are in it; the
files that a record lists are so by their checksums.
"""

import hashlib
import json
import re
from pathlib import Path

from kdpipe import __version__
from kdpipe.beforehand import registered
from kdpipe.plan import hindrances
from kdpipe.plan.items import Plan
from kdpipe.results.store import OUTCOMES, Store
from kdpipe.study import asked

PAGE = "index.md"  # written last of a report
LISTED = ".own"  # in a report: the files of tables and figures of one's own, as it may have them
FILES = ".files"  # in a report: SHA-256 and name of every file of it, as sha256sum -c reads them
NOT_SHOWN = {"device", "runs_per_gpu", "kernels", "workers", "registration"}  # how a study is run


def digest(plan: Plan, place: Store) -> str:
    """SHA-256 of all that a report of the plan shows."""
    study = plan.study.model_dump_json(exclude_defaults=True, exclude=NOT_SHOWN)
    total = hashlib.sha256(json.dumps([__version__, study]).encode())
    for line in (*registered.said(plan, place), str(registered.sealed(plan, place))):
        total.update(line.encode())
    for kind, items in plan.recorded.items():
        known, damaged = place.scan(kind)
        for name, item in items.items():
            said = known.get(name) or hindrances.of(item, plan, place, damaged)[1]
            total.update(json.dumps([name, said], sort_keys=True).encode())
    for path in asked.files([*plan.study.tables, *plan.study.figures], plan.study.code):
        total.update(path.read_bytes())
    if (place.root / OUTCOMES).exists():
        total.update((place.root / OUTCOMES).read_bytes())
    return total.hexdigest()


def last_line(digest: str) -> str:
    """What the text of a report ends with."""
    return (
        f"Rendered by kdpipe {__version__} from the records alone (sha256 {digest}); the page: "
        "index.html."
    )


def listed(files: dict[str, bytes]) -> bytes:
    """What FILES says of the files of a report, by name."""
    lines = (f"{hashlib.sha256(data).hexdigest()}  {name}\n" for name, data in files.items())
    return "".join(sorted(lines)).encode()


def is_whole(folder: Path) -> bool:
    """Whether every file of a report is as it was rendered; not if that was never noted."""
    try:
        lines = (folder / FILES).read_text().splitlines()
        return bool(lines) and all(
            hashlib.sha256((folder / name).read_bytes()).hexdigest() == sha256
            for sha256, name in (line.split("  ", 1) for line in lines)
        )
    except (OSError, ValueError):
        return False


def of(folder: Path) -> str | None:
    """The digest that a report ends with; None if it is not there or not whole."""
    try:
        text = (folder / PAGE).read_bytes()[-200:].decode(errors="replace")
    except OSError:
        return None
    found = re.search(r"\(sha256 ([0-9a-f]{64})\); the page: index\.html\.\n$", text)
    return found[1] if found else None
