"""Which code this is: the commit of its source tree, and digests of what results rest on.

A registration stores the digest of each part of the source that numbers and verdicts come from, so
that a report can say which parts are no longer what was registered. A part that has another name
since then is one of them.
"""

import hashlib
import subprocess
from pathlib import Path

PACKAGE_ROOT = Path(__file__).parent
# The packages that turn the numbers of a study into verdicts.
VERDICT_PARTS = ("stats", "analysis")
# These, and the packages and files that make, read and tabulate the numbers.
RESULT_PARTS = (
    *VERDICT_PARTS,
    *("data", "losses", "models", "plan", "training", "jobs"),
    *("runs/spec.py", "runs/recipe.py", "runs/execution_options.py"),
    *("runs/metrics.py", "runs/records.py"),
    *("report/table.py", "report/tables"),
)
# What plans and registers a study makes no number and no verdict.
EXCLUDED_PARTS = ("analysis/preregistration", "analysis/search")


def git_revision() -> str | None:
    """Return the commit of the source tree of this package, with `+` where it was changed."""
    command = ["git", "-C", str(PACKAGE_ROOT), "describe", "--always", "--dirty=+"]
    try:
        process = _run_git(command)
    except (OSError, subprocess.SubprocessError):
        return None
    return process.stdout.strip()


def find_commit_date(path: Path) -> str | None:
    """Return the date of the commit that added a file, in ISO 8601; None if git knows of none."""
    command = ["git", "log", "--diff-filter=A", "--format=%cI", "-1", "--", path.name]
    try:
        process = _run_git(command, path.parent)
    except (OSError, subprocess.SubprocessError):
        return None
    return process.stdout.strip() or None


def _run_git(command: list[str], folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        cwd=folder,
        capture_output=True,
        text=True,
        encoding="utf-8",
        errors="replace",
        timeout=10,
        check=True,
    )


def hash_verdict_code() -> str:
    """Return the SHA-256 of the source that turns numbers into verdicts."""
    return _hash_sources(*VERDICT_PARTS)


def hash_result_code() -> dict[str, str]:
    """Return the SHA-256 of each part of the source that numbers and verdicts come from."""
    return {part: _hash_sources(part) for part in RESULT_PARTS}


def find_changed_parts(registered: dict[str, str]) -> list[str]:
    """Return the parts of the source that are not what was registered, by their registered names.

    Parameters
    ----------
    registered : dict
        The digest of each part in a registration.
    """
    current = hash_result_code()
    return [part for part in sorted(registered) if registered[part] != current.get(part)]


def _hash_sources(*parts: str) -> str:
    """Return the SHA-256 of the names and contents of all sources in some parts."""
    checksum = hashlib.sha256()
    excluded = [PACKAGE_ROOT / part for part in EXCLUDED_PARTS]
    for part in parts:
        top = PACKAGE_ROOT / part
        for path in [top] if top.is_file() else sorted(top.rglob("*")):
            if path.suffix in (".py", ".json") and not set(excluded) & set(path.parents):
                checksum.update(f"{path.relative_to(PACKAGE_ROOT).as_posix()}\n".encode())
                checksum.update(path.read_bytes())
    return checksum.hexdigest()


def hash_package() -> str:
    """Return the SHA-256 of every file of this package that is source code or a template."""
    checksum = hashlib.sha256()
    for path in sorted(PACKAGE_ROOT.rglob("*")):
        if path.suffix in (".py", ".jinja", ".json"):
            checksum.update(f"{path.relative_to(PACKAGE_ROOT)} {path.stat().st_size} ".encode())
            checksum.update(path.read_bytes())
    return checksum.hexdigest()
