"""Which code this is: the commit of its source tree, and digests of what results rest on."""

import hashlib
import subprocess
from pathlib import Path

ROOT = Path(__file__).parent
JUDGING = ("statistics", "evidence")  # the rooms by which the numbers of a study become verdicts
# Those, and the rooms and files by which the numbers are made, read and put into tables.
TELLING = (
    *JUDGING,
    *("data", "learning", "networks", "specs", "plan", "training", "jobs"),
    *("results/metrics.py", "results/readings.py", "report/rows.py", "report/tables"),
)


def git_revision() -> str | None:
    """The commit of the source tree that this package runs from, `+` where it was changed."""
    command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty=+"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def judging() -> str:
    """SHA-256 of the source of all that turns numbers into verdicts."""
    return _digest(*JUDGING)


def code() -> dict[str, str]:
    """By each part of the source that numbers or verdicts come from, its SHA-256."""
    return {part: _digest(part) for part in TELLING}


def _digest(*parts: str) -> str:
    total = hashlib.sha256()
    for part in parts:
        top = ROOT / part
        for path in [top] if top.is_file() else sorted(top.rglob("*")):
            if path.suffix in (".py", ".json"):
                total.update(f"{path.relative_to(ROOT).as_posix()}\n".encode())
                total.update(path.read_bytes())
    return total.hexdigest()
