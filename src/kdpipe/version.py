"""Which code this is: the commit of its source tree, and the digest of what judges a study."""

import hashlib
import subprocess
from pathlib import Path

ROOT = Path(__file__).parent
JUDGING = ("statistics", "evidence")  # the rooms by which the numbers of a study become verdicts


def git_revision() -> str | None:
    """The commit of the source tree that this package runs from, `+` where it was changed."""
    command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty=+"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def judging() -> str:
    """SHA-256 of the source of all that judges: another one may judge otherwise."""
    total = hashlib.sha256()
    for room in JUDGING:
        for path in sorted((ROOT / room).rglob("*")):
            if path.suffix in (".py", ".json"):
                total.update(f"{path.relative_to(ROOT).as_posix()}\n".encode())
                total.update(path.read_bytes())
    return total.hexdigest()
