"""The preregistrations in a results folder, which seal test numbers until an interim analysis.

`kdpipe register` leaves a copy here of the file that it writes next to the study file. So a run is
known to be registered whatever the name of the study, or its file, that it is planned from. A
registration lists the names of its runs for each interim analysis (key `looks`); until all of one
have a record, its test numbers are sealed: not shown, though the records hold them.
"""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from kdpipe.errors import KdpipeError
from kdpipe.runs.files import write_bytes
from kdpipe.runs.records import RECORD_KINDS
from kdpipe.runs.store import Store

REGISTRATIONS_FOLDER = "registrations"
REGISTRATION_FORMAT = 2
# A registration of this format lists no names: it seals the runs of its own study.
FORMAT_WITHOUT_NAMES = 1


def list_registrations(store: Store) -> list[Path]:
    """Return the paths of all registrations in a results folder, sorted."""
    return sorted((store.root / REGISTRATIONS_FOLDER).glob("*.json"))


def registration_path(study: str, store: Store) -> Path:
    """Return the path of the registration of a study in a results folder."""
    return store.root / REGISTRATIONS_FOLDER / f"{study}.json"


def copy_registration(path: Path, study: str, store: Store) -> None:
    """Copy the registration of a study into a results folder, unless one exists there."""
    target = registration_path(study, store)
    if not target.exists():
        write_bytes(target, path.read_bytes())


def read_registration(path: Path) -> dict[str, Any]:
    """Return the content of a registration, without its checksum.

    Raises
    ------
    KdpipeError
        If it is not as `kdpipe register` wrote it.
    """
    try:
        registration = json.loads(path.read_bytes())
        is_intact = registration.pop("sha256") == compute_registration_digest(
            registration
        ) and registration["format"] in (FORMAT_WITHOUT_NAMES, REGISTRATION_FORMAT)
    except OSError as error:
        raise KdpipeError(f"registration: {path} cannot be read: {error.strerror}") from None
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError):
        is_intact, registration = False, dict[str, Any]()
    if not is_intact:
        raise KdpipeError(
            f"registration: {path} is not what kdpipe register has written (altered, cut off or of "
            "another version): restore it, from git or a backup"
        )
    return registration


def find_registration_errors(store: Store) -> Iterator[str]:
    """Yield a message for each registration that was altered or renamed."""
    for path in list_registrations(store):
        try:
            registration = read_registration(path)
        except KdpipeError as error:
            yield str(error)
        else:
            if path != registration_path(registration["study"], store):
                yield (
                    f"{path}: the registration of the study {registration['study']}: rename it back"
                )


def encode_registration(registration: dict[str, Any]) -> bytes:
    """Return the bytes of a registration's file, whose last key is the checksum of the others."""
    body = json.dumps(registration, indent=1, allow_nan=False).removesuffix("\n}")
    return f'{body},\n "sha256": "{compute_registration_digest(registration)}"\n}}\n'.encode()


def compute_registration_digest(registration: dict[str, Any]) -> str:
    """Return the SHA-256 of the canonical JSON of a registration."""
    compact = json.dumps(registration, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(compact.encode()).hexdigest()


def load_registration(study: str, store: Store) -> dict[str, Any] | None:
    """Return the registration of a study in a results folder, or None.

    Raises
    ------
    KdpipeError
        If it was altered.
    """
    path = registration_path(study, store)
    return read_registration(path) if path.exists() else None


def list_registered_names(registration: dict[str, Any], interim: int | None = None) -> set[str]:
    """Return the names that a registration lists.

    Parameters
    ----------
    registration : dict
        Its content.
    interim : int or None
        The number of seeds of an interim analysis, up to which names are listed; None lists all.
    """
    stages = zip(registration["looks"], registration.get("names", ()), strict=False)
    return {
        name
        for count, stage_names in stages
        if interim is None or count <= interim
        for name in stage_names
    }


def list_recorded_names(store: Store) -> set[str]:
    """Return the names of all results with a usable record."""
    return {name for kind in RECORD_KINDS for name in store.load_records(kind)}


def find_sealed_names(store: Store) -> dict[str, tuple[str, int]]:
    """Return what is sealed in a results folder.

    A name of an interim analysis that is complete in one registration is sealed by no other.

    Returns
    -------
    dict
        By name (study, number of seeds): the interim analysis that it waits for.
    """
    reasons: dict[str, tuple[str, int]] = {}
    if not (registrations := [read_registration(path) for path in list_registrations(store)]):
        return reasons
    recorded, unsealed = list_recorded_names(store), set[str]()
    for registration in registrations:
        for interim in registration["looks"]:
            registered_names = list_registered_names(registration, interim)
            if registered_names <= recorded:
                unsealed |= registered_names
            else:
                reasons = (
                    dict.fromkeys(registered_names, (registration["study"], interim)) | reasons
                )
    return {name: reason for name, reason in reasons.items() if name not in unsealed}
